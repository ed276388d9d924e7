import { pgoodParts } from './check-pgood.ts';
import { type ChassisPart, type Check, eachChassis, type Finding, railsOf } from './findings.ts';

/** Rails of parts that may be absent: what the chassis is without them has to be a chassis still. */

/** What stays does not hang on what may be absent, and nothing has to be pressed for it. */
export const checkPresences: Check = (board) =>
  eachChassis(board, (chassis, path) => [
    ...onOptional(chassis, path),
    ...ofButtons(chassis, path),
    ...nothingStays(chassis, path),
    ...shownBehind(board.devices ?? {}, chassis, path),
  ]);

function isOptional({ rails = {} }: ChassisPart, rail: string | undefined): boolean {
  // One that does not fit the schema is told of already, and is a presence all the same.
  return rail !== undefined && 'presence' in (rails[rail] ?? {});
}

/** Nothing is enabled whose supply is missing, so what needs an absent rail is absent, too: the file has to say so. */
function onOptional(chassis: ChassisPart, path: readonly string[]): Finding[] {
  return railsOf(chassis).flatMap(([rail, { needs = [] }]) =>
    needs.flatMap((need, index): Finding[] => {
      if (!isOptional(chassis, need) || isOptional(chassis, rail)) return [];
      return [
        {
          at: [...path, 'rails', rail, 'needs', String(index)],
          message: `rail ${rail} needs ${need}, whose part may be absent, and has to be there itself`,
          suggestion: `give ${rail} the "presence" of ${need} where it is of the same part, or remove "${need}" from its needs`,
          other: [...path, 'rails', need ?? '', 'presence'],
        },
      ];
    }),
  );
}

/** Power off drives every enable off, and a press of a host that is not there may switch one on that is. */
function ofButtons(chassis: ChassisPart, path: readonly string[]): Finding[] {
  return railsOf(chassis).flatMap(([rail, { enable }]) => {
    if (!isOptional(chassis, rail) || !enable || !('pulse' in enable)) return [];
    return [
      {
        at: [...path, 'rails', rail, 'presence'],
        message: `rail ${rail} has a power button, which cannot be driven off while its part is absent`,
        suggestion: 'leave "presence" out',
        other: [...path, 'rails', rail, 'enable'],
      },
    ];
  });
}

function nothingStays(chassis: ChassisPart, path: readonly string[]): Finding[] {
  const switched = railsOf(chassis).filter(([, rail]) => 'enable' in rail);
  const [first] = switched;
  if (first === undefined || !switched.every(([rail]) => isOptional(chassis, rail))) return [];
  return [
    {
      at: [...path, 'rails', first[0], 'presence'],
      message: 'every rail with an enable is of a part that may be absent: there may be nothing to power on',
      suggestion: 'leave "presence" out of the rail that the chassis always has',
    },
  ];
}

/** What tells of a part, and what pgood is taken from, tells the same with the part and without it. */
function shownBehind(
  devices: NonNullable<Parameters<Check>[0]['devices']>,
  chassis: ChassisPart,
  path: readonly string[],
): Finding[] {
  const addresses = railsOf(chassis).flatMap(([rail, { presence }]): Finding[] => {
    if (presence === undefined || !('bus' in presence)) return [];
    const behind = Object.entries(devices).find(
      ([, device]) =>
        device?.poweredBy !== undefined &&
        device.bus === presence.bus &&
        Number(device.address) === Number(presence.address),
    );
    if (behind === undefined) return [];
    const [name, device] = behind;
    return [
      {
        at: [...path, 'rails', rail, 'presence'],
        message: `the presence of rail ${rail} is ${name}, which has its power from ${device?.poweredBy} and answers nothing while that is off`,
        suggestion: 'name what answers while the chassis is off, such as the EEPROM of the part',
        other: ['devices', name, 'poweredBy'],
      },
    ];
  });
  const pgood = pgoodParts(chassis).flatMap(({ source, keys }): Finding[] => {
    const device = 'pmbus' in source ? source.pmbus : undefined;
    const power = device === undefined ? undefined : devices[device]?.poweredBy;
    if (!isOptional(chassis, power)) return [];
    return [
      {
        at: [...path, ...keys],
        message: `pgood is taken from ${device}, which has its power from ${power}, and the part of that may be absent`,
        suggestion: 'take pgood from a signal that is always there',
        other: [...path, 'rails', power ?? '', 'presence'],
      },
    ];
  });
  return [...addresses, ...pgood];
}
