import { pgoodParts } from './check-pgood.ts';
import { type Check, eachChassis, type Finding, type PartOf, railsOf } from './findings.ts';
import type { RailBoard } from './schema.ts';
import type { SetupBoard, SetupCommand } from './setup.ts';

/** What a page is told before its rail is enabled: voltages that the rail may have, on a page that is of this rail alone. */

type SetupPart = PartOf<SetupBoard>;
type RailPart = PartOf<RailBoard>;

/** Something that a page is used for. */
interface PageUse {
  readonly page: string;
  /** A rail by its path, or pgood by the path of its chassis. */
  readonly user: string;
  /** For messages. */
  readonly what: string;
  readonly at: readonly string[];
}

/** Where the set-up of a rail stands, and what says which rail it is. */
interface Place {
  readonly rail: string;
  readonly user: string;
  readonly at: readonly string[];
}

export const checkSetups: Check = (board) => {
  const uses: PageUse[] = [];
  const setups: (Place & { readonly described: RailPart; readonly setup: SetupPart })[] = [];
  eachChassis(board, (chassis, path) => {
    for (const [rail, described] of railsOf(chassis)) {
      const own = [...path, 'rails', rail];
      const { enable, good, setup } = described;
      for (const [key, part] of Object.entries({ enable, good, setup })) {
        const page = pageOf(part);
        if (page !== null) uses.push({ page, user: own.join('.'), what: `rail ${rail}`, at: [...own, key] });
      }
      if (setup !== undefined)
        setups.push({ rail, user: own.join('.'), at: [...own, 'setup'], described, setup });
    }
    for (const { source, role, keys } of pgoodParts(chassis)) {
      const page = pageOf(source);
      if (page !== null) uses.push({ page, user: path.join('.'), what: role, at: [...path, ...keys] });
    }
    return [];
  });
  return setups.flatMap(({ described, setup, ...place }) => [
    ...checkEnable(place, described),
    ...checkPage(place, setup, uses),
    ...checkWindow(place, setup, described),
    ...checkWrites(place, setup, described),
  ]);
};

function pageOf(part: object | undefined): string | null {
  if (part === undefined || !('pmbus' in part) || part.pmbus === undefined) return null;
  return `page ${('page' in part ? part.page : undefined) ?? 0} of ${part.pmbus}`;
}

/** Nobody can write before something that comes by itself. */
function checkEnable({ rail, at }: Place, { enable }: RailPart): Finding[] {
  if (enable !== undefined && !('pulse' in enable)) return [];
  const why =
    enable === undefined
      ? 'is only watched, and comes by itself'
      : 'has a power button, and what is behind that decides when it comes';
  return [
    {
      at,
      message: `rail ${rail} ${why}: nothing can be written just before`,
      suggestion: 'leave "setup" out, or give the rail an enable that is a line or a page',
      ...(enable === undefined && { absent: true }),
    },
  ];
}

/** Only an output that is off is written to, so that no other rail may be on by the same page. */
function checkPage({ rail, user, at }: Place, setup: SetupPart, uses: readonly PageUse[]): Finding[] {
  const page = pageOf(setup);
  if (page === null) return [];
  const other = uses.find((use) => use.page === page && use.user !== user);
  if (other !== undefined) {
    return [
      {
        at: [...at, 'page'],
        message: `${page} is of ${other.what} as well, which may be on while ${rail} is set up`,
        suggestion: `name the page that is of ${rail} alone`,
        other: other.at,
      },
    ];
  }
  const own = uses.find((use) => use.user === user && use.page !== page && isOf(use.page, setup.pmbus));
  if (own === undefined) return [];
  return [
    {
      at: [...at, 'page'],
      message: `${rail} is set up on ${page}, and switched or shown by ${own.page}`,
      suggestion: `set up ${own.page}`,
      other: own.at,
    },
  ];
}

function isOf(page: string, device: string | undefined): boolean {
  return page.endsWith(` of ${device}`);
}

/** What the rail may be told to have is a voltage that counts as good. */
function checkWindow({ rail, at }: Place, setup: SetupPart, { good, nominalVolts }: RailPart): Finding[] {
  const { minVolts, maxVolts } = setup;
  if (minVolts === undefined || maxVolts === undefined) return [];
  if (minVolts > maxVolts) {
    const message = `minVolts ${minVolts} is above maxVolts ${maxVolts}`;
    return [{ at: [...at, 'minVolts'], message, suggestion: 'swap the two' }];
  }
  if (nominalVolts !== undefined && (nominalVolts < minVolts || nominalVolts > maxVolts)) {
    return [
      {
        at,
        message: `nominalVolts ${nominalVolts} of ${rail} is outside ${minVolts} to ${maxVolts} V, which it may be told`,
        suggestion: 'let the window hold the nominal voltage',
      },
    ];
  }
  if (good !== undefined && 'limits' in good) {
    return [
      {
        at,
        message: `${rail} is good by limits of its device, which are others after the set-up than before`,
        suggestion: 'give "minVolts" and "maxVolts" in the place of "limits" of "good"',
      },
    ];
  }
  if (good === undefined || !('minVolts' in good)) return [];
  const { minVolts: least = 0, maxVolts: most = Number.POSITIVE_INFINITY } = good;
  if (minVolts >= least && maxVolts <= most) return [];
  return [
    {
      at,
      message: `${rail} may be told ${minVolts} to ${maxVolts} V, and is good from ${least} to ${good.maxVolts ?? 'any'} V only`,
      suggestion: 'let the window of "setup" lie within that of "good"',
    },
  ];
}

/** Limits on which side of the output voltage they have to be. */
const SIDE: Readonly<Record<SetupCommand, 'below' | 'above' | null>> = {
  VOUT_COMMAND: null,
  VOUT_MAX: 'above',
  VOUT_OV_FAULT_LIMIT: 'above',
  VOUT_OV_WARN_LIMIT: 'above',
  VOUT_UV_WARN_LIMIT: 'below',
  VOUT_UV_FAULT_LIMIT: 'below',
  POWER_GOOD_ON: 'below',
  POWER_GOOD_OFF: 'below',
};

/** Each is written once, a voltage within the window, and a limit on its side of the voltage. */
function checkWrites({ rail, at }: Place, setup: SetupPart, { nominalVolts }: RailPart): Finding[] {
  const { minVolts, maxVolts, writes = [] } = setup;
  if (setup.writes?.length === 0) {
    const message = `the set-up of ${rail} writes nothing`;
    return [{ at: [...at, 'writes'], message, suggestion: 'name what is written, or leave "setup" out' }];
  }
  const commanded = writes.find((write) => write?.command === 'VOUT_COMMAND')?.volts ?? nominalVolts;
  return writes.flatMap((write, index): Finding[] => {
    const { command, volts } = write ?? {};
    if (command === undefined || volts === undefined) return [];
    const where = [...at, 'writes', String(index)];
    if (writes.findIndex((each) => each?.command === command) < index) {
      const message = `${command} of ${rail} is written twice`;
      return [{ at: where, message, suggestion: 'remove one of the two' }];
    }
    if (minVolts === undefined || maxVolts === undefined || minVolts > maxVolts) return [];
    if (command === 'VOUT_COMMAND') {
      if (volts >= minVolts && volts <= maxVolts) return [];
      return [
        {
          at: [...where, 'volts'],
          message: `VOUT_COMMAND ${volts} V of ${rail} is outside ${minVolts} to ${maxVolts} V`,
          suggestion: 'correct the voltage, or minVolts and maxVolts of "setup"',
        },
      ];
    }
    const side = SIDE[command];
    const [least, most] = [commanded ?? minVolts, commanded ?? maxVolts];
    if (side === 'below' ? volts < most : volts > least) return [];
    return [
      {
        at: [...where, 'volts'],
        message: `${command} ${volts} V of ${rail} is not ${side} ${side === 'below' ? most : least} V, which the rail is to have`,
        suggestion: `give a voltage ${side} it`,
      },
    ];
  });
}
