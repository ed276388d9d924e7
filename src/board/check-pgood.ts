import { type ChassisPart, type Check, eachChassis, type Finding, type PartOf, railsOf } from './findings.ts';
import type { PgoodSource } from './pgood.ts';
import { type NamedSource, railsOfPgood, sourcesOf } from './pgood-sources.ts';
import type { Board } from './schema.ts';
import { isSupply } from './watched.ts';

/** Cross checks of pgood. */

type SourcePart = NamedSource<PartOf<PgoodSource>>;

/** Of a chassis whose pgood fits the schema in part. */
export function pgoodParts({ pgood }: ChassisPart): readonly SourcePart[] {
  return pgood === undefined ? [] : sourcesOf(pgood);
}

/** pgood is taken from something: of nothing all would be good, and power would never be waited for. */
export const checkPgoodHasSource: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    if (chassis.pgood === undefined || pgoodParts(chassis).length > 0) return [];
    const key = 'all' in chassis.pgood ? 'all' : 'any';
    // A source that does not fit the schema is told of already.
    if ((key in chassis.pgood && (chassis.pgood as { all?: unknown[]; any?: unknown[] })[key]?.length) !== 0)
      return [];
    return [
      {
        at: [...path, 'pgood', key],
        message: 'names no signal',
        suggestion: `name what pgood is taken from, or leave pgood out to take it from the rails`,
      },
    ];
  });

/** A window of voltages is not empty. */
export const checkPgoodWindow: Check = (board) =>
  eachChassis(board, (chassis, path) =>
    pgoodParts(chassis).flatMap(({ source, keys }): Finding[] => {
      if (!('minVolts' in source) || source.minVolts === undefined || source.maxVolts === undefined)
        return [];
      const { minVolts, maxVolts } = source;
      if (minVolts <= maxVolts) return [];
      const message = `minVolts ${minVolts} is above maxVolts ${maxVolts}`;
      return [{ at: [...path, ...keys, 'minVolts'], message, suggestion: 'swap the two' }];
    }),
  );

/** Services that show what this program reads: read there again it would stay what it is. */
const OWN_SERVICES =
  /^(org\.openbmc\.control\.Power|xyz\.openbmc_project\.(State\.(Chassis|Host)|Chassis\.Buttons))\d*$/;

/** pgood is told by somebody else. */
export const checkPgoodOfOthers: Check = (board) =>
  eachChassis(board, (chassis, path) =>
    pgoodParts(chassis).flatMap(({ source, keys }): Finding[] => {
      if (!('dbus' in source) || source.service === undefined || !OWN_SERVICES.test(source.service))
        return [];
      return [
        {
          at: [...path, ...keys, 'service'],
          message: `${source.service} is a name of this program, which shows there what it reads of pgood`,
          suggestion: 'name the service that knows it from the board',
        },
      ];
    }),
  );

/**
 * On a board with a latch the enables read off after a restart of the BMC, while the power stands. pgood then has to tell,
 * and so must not hang on an enable.
 */
export const checkPgoodOfLatch: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    if (chassis.latch === undefined || chassis.rails === undefined) return [];
    return [...notSeen(chassis, path), ...hangingOnEnables(board.devices ?? {}, chassis, path)];
  });

function notSeen(chassis: ChassisPart, path: readonly string[]): Finding[] {
  const tells = ([rail, described]: ReturnType<typeof railsOf>[number]) =>
    described.good !== undefined &&
    !('presence' in described) &&
    described.logOnly === undefined &&
    !isSupply(chassis, rail);
  if (railsOf(chassis).some(tells)) return [];
  return pgoodParts(chassis).flatMap(({ source, keys }) =>
    'rails' in source
      ? [
          {
            at: [...path, ...keys],
            message:
              'pgood is to be taken from the rails, and none of them that counts, goes off with the power, and is always there, has a signal: behind the latch an enable does not tell whether there is power',
            suggestion: 'name a signal for pgood, or give a rail its "good"',
            other: [...path, 'latch'],
          },
        ]
      : [],
  );
}

/** Signals of pgood that come from a device behind a rail of which nothing but its enable tells. */
function hangingOnEnables(
  devices: PartOf<Board['devices']>,
  chassis: ChassisPart,
  path: readonly string[],
): Finding[] {
  const rails = chassis.rails ?? {};
  const unseenBehind = (device: string | undefined, trail: readonly string[] = []): string | null => {
    const power = device === undefined ? undefined : devices[device]?.poweredBy;
    if (power === undefined || rails[power] === undefined || trail.includes(power)) return null;
    const { good } = rails[power];
    if (good === undefined) return power;
    return 'pmbus' in good ? unseenBehind(good.pmbus, [...trail, power]) : null;
  };
  const finding = (at: readonly string[], device: string | undefined): Finding[] => {
    const rail = unseenBehind(device);
    if (rail === null) return [];
    const message = `pgood hangs on ${device}, which has its power from rail ${rail}: behind the latch nothing tells whether that rail is there`;
    return [{ at, message, suggestion: `give rail ${rail} its "good", or take pgood from another signal` }];
  };
  const own = pgoodParts(chassis).flatMap(({ source, keys }) =>
    'pmbus' in source ? finding([...path, ...keys], source.pmbus) : [],
  );
  const ofRails = railsOfPgood(chassis).flatMap((name) => {
    const good = rails[name]?.good;
    return good !== undefined && 'pmbus' in good ? finding([...path, 'rails', name, 'good'], good.pmbus) : [];
  });
  return [...own, ...ofRails];
}
