import { suggestName } from '../near.ts';
import { type ChassisPart, type Check, eachChassis, type Finding, railsOf } from './findings.ts';
import { nextOff } from './off-order.ts';

/** The order of the way down, where the board says more of it than what needs what. */

/** Every name in `offAfter` is another rail of the chassis with an enable, as is the rail that has it. */
export const checkOffAfter: Check = (board) =>
  eachChassis(board, (chassis, path) =>
    chassis.rails === undefined
      ? []
      : railsOf(chassis).flatMap(([rail, described]) => {
          const at = [...path, 'rails', rail, 'offAfter'];
          const { offAfter = [] } = described;
          if (offAfter.length > 0 && !('enable' in described)) {
            return [
              {
                at,
                message: `rail ${rail} is only watched: it goes off with what it needs, and not after anything else`,
                suggestion: 'give "offAfter" to the rail that switches it',
              },
            ];
          }
          return offAfter.flatMap((other, index) =>
            other === undefined ? [] : ofName(chassis, rail, other, { path, at: [...at, String(index)] }),
          );
        }),
  );

function ofName(
  chassis: ChassisPart,
  rail: string,
  other: string,
  { path, at }: { readonly path: readonly string[]; readonly at: readonly string[] },
): Finding[] {
  const { rails = {} } = chassis;
  if (other === rail) {
    const message = `rail ${rail} goes off after itself`;
    return [{ at, message, suggestion: `remove "${other}" from offAfter` }];
  }
  if (!Object.hasOwn(rails, other)) {
    const names = Object.keys(rails).filter((name) => name !== rail);
    return [
      {
        at,
        message: `rail ${rail} goes off after "${other}", which is not a rail of this chassis`,
        suggestion: suggestName(other, names, 'rails of this chassis'),
        absent: true,
      },
    ];
  }
  if (rails[other] === undefined || 'enable' in rails[other]) return [];
  return [
    {
      at,
      message: `rail ${rail} goes off after ${other}, which is only watched, and goes off with what it needs`,
      suggestion: `name the rail that switches ${other}`,
      other: [...path, 'rails', other],
    },
  ];
}

/** No two rails wait for each other on the way down: what a rail needs outlives it, whatever the board says besides. */
export const checkOffOrder: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    const done = new Set<string>();
    const findings: Finding[] = [];
    const walk = (rail: string, trail: readonly string[]): void => {
      if (done.has(rail)) return;
      const start = trail.indexOf(rail);
      if (start >= 0) findings.push(...ofCircle(chassis, path, [...trail.slice(start), rail]));
      else {
        // A rail that names itself is reported by itself.
        for (const next of nextOff(chassis, rail)) if (next !== rail) walk(next, [...trail, rail]);
        done.add(rail);
      }
    };
    for (const [rail] of railsOf(chassis)) walk(rail, []);
    return findings;
  });

/** One of needs alone is told by what looks at these. */
function ofCircle(chassis: ChassisPart, path: readonly string[], circle: readonly string[]): Finding[] {
  const isNeed = (first: string, then: string) => chassis.rails?.[first]?.needs?.includes(then) ?? false;
  const index = circle.findIndex((rail, each) => each > 0 && !isNeed(circle[each - 1] ?? '', rail));
  const [first, then] = [circle[index - 1], circle[index]];
  if (first === undefined || then === undefined) return [];
  return [
    {
      at: [...path, 'rails', then, 'offAfter'],
      message: `rails would wait for each other on the way down: ${circle.join(' before ')}`,
      suggestion: `remove "${first}" from the offAfter of ${then}: what a rail needs outlives it`,
    },
  ];
}

/** A rail that rests before others go is one that is switched off itself. */
export const checkOffSettle: Check = (board) =>
  eachChassis(board, (chassis, path) =>
    railsOf(chassis).flatMap(([rail, described]): Finding[] => {
      const { offSettleMs = 0 } = described;
      if (offSettleMs === 0 || 'enable' in described) return [];
      return [
        {
          at: [...path, 'rails', rail, 'offSettleMs'],
          message: `rail ${rail} is only watched: it goes off with what it needs, and nothing waits for it`,
          suggestion: 'give "offSettleMs" to a rail with an "enable"',
        },
      ];
    }),
  );
