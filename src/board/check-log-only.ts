import { type ChassisPart, type Check, eachChassis, type Finding, railsOf } from './findings.ts';

/**
 * Rails that the chassis can do without: a failure is told, and nothing else comes of it. So it has to be seen, and nothing may count
 * on it.
 */
export const checkLogOnly: Check = (board) =>
  eachChassis(board, (chassis, path) => [
    ...railsOf(chassis).flatMap(([rail, described]) => {
      if (described.logOnly === undefined) return [];
      const at = [...path, 'rails', rail, 'logOnly'];
      return [...unseen(rail, described, at), ...countedOn(rail, chassis, path)];
    }),
    ...nothingCounts(chassis, path),
  ]);

/** What is left of a chassis without them, and without parts that may be absent, is a chassis still. */
function nothingCounts(chassis: ChassisPart, path: readonly string[]): Finding[] {
  const switched = railsOf(chassis).filter(([, rail]) => 'enable' in rail);
  const first = switched.find(([, { logOnly }]) => logOnly !== undefined);
  const counts = ({ logOnly, presence }: (typeof switched)[number][1]) =>
    logOnly === undefined && presence === undefined;
  if (first === undefined || switched.some(([, rail]) => counts(rail))) return [];
  return [
    {
      at: [...path, 'rails', first[0], 'logOnly'],
      message:
        'the chassis can do without every rail that has an enable and is always there: there may be nothing to power on',
      suggestion: 'leave "logOnly" out of the rail that the chassis always needs',
    },
  ];
}

function unseen(
  rail: string,
  described: ReturnType<typeof railsOf>[number][1],
  at: readonly string[],
): Finding[] {
  if (described.enable && 'pulse' in described.enable) {
    const message = `rail ${rail} has a power button, and what comes of a press has to be waited for`;
    return [{ at, message, suggestion: 'leave "logOnly" out' }];
  }
  if ('good' in described) return [];
  const message = `rail ${rail} has no "good": nothing could tell that it failed`;
  return [{ at, message, suggestion: 'add how it is seen to be good, or leave "logOnly" out', absent: true }];
}

/** What needs it would be enabled behind a supply that is not there, or never. */
function countedOn(rail: string, chassis: ChassisPart, path: readonly string[]): Finding[] {
  return railsOf(chassis).flatMap(([other, { needs = [] }]): Finding[] => {
    const index = needs.indexOf(rail);
    if (index < 0 || other === rail) return [];
    return [
      {
        at: [...path, 'rails', other, 'needs', String(index)],
        message: `rail ${other} needs ${rail}, of which a failure is only logged`,
        suggestion: `leave "logOnly" of ${rail} out, or "${rail}" out of the needs of ${other}`,
        other: [...path, 'rails', rail, 'logOnly'],
      },
    ];
  });
}
