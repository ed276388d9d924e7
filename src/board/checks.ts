import { lineKey, lineLabel } from '../../hw/lines.ts';
import type { LineRef } from '../../hw/ports.ts';
import { suggestName } from '../near.ts';
import { checkLogOnly } from './check-log-only.ts';
import { checkOffAfter, checkOffOrder, checkOffSettle } from './check-off-order.ts';
import { checkPanel } from './check-panel.ts';
import {
  checkPgoodHasSource,
  checkPgoodOfLatch,
  checkPgoodOfOthers,
  checkPgoodWindow,
  pgoodParts,
} from './check-pgood.ts';
import { checkPresences } from './check-presence.ts';
import { checkResets } from './check-resets.ts';
import {
  type BoardPart,
  type ChassisPart,
  type Check,
  eachChassis,
  type Finding,
  type PartOf,
  railsOf,
} from './findings.ts';
import { HOST_RESET, PANEL_POWER, PANEL_RESET, PLATFORM_RESET, POST_COMPLETE } from './lines.ts';
import { nextOff } from './off-order.ts';
import type { PgoodSource } from './pgood.ts';
import { checkPulse, hasSleepState, pulseOffMs, pulseOnMs } from './pulse-checks.ts';
import type { EnableBoard, GoodBoard, LineBoard, RailBoard } from './schema.ts';
import { isSensor } from './sensor-ref.ts';
import type { SetupBoard } from './setup.ts';
import { checkSetups } from './setup-checks.ts';
import { checkSwitched, checkWatched } from './watched.ts';

/**
 * Longest time of a stage. Its unit has TimeoutStartSec= of 240 s: 60 s of it are for the lock of another process, and 30 s
 * for a slow BMC to start the program and to carry out its decisions. A power-on that fails or is stopped at its very end
 * takes the power down within TimeoutStopSec= of 180 s, less the same 30 s.
 */
export const STAGE_BUDGET_MS = 150_000;

type LinePart = PartOf<LineBoard | EnableBoard | GoodBoard>;

/** Every name in `needs` is a rail of the same chassis, and not the rail itself. */
export const checkNeedsExist: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    if (chassis.rails === undefined) return [];
    const names = Object.keys(chassis.rails);
    return railsOf(chassis).flatMap(([rail, { needs = [] }]) =>
      needs.flatMap((need, index): Finding[] => {
        const at = [...path, 'rails', rail, 'needs', String(index)];
        if (need === rail) {
          return [{ at, message: `rail ${rail} needs itself`, suggestion: `remove "${need}" from needs` }];
        }
        if (need === undefined || names.includes(need)) return [];
        const others = names.filter((name) => name !== rail);
        return [
          {
            at,
            message: `rail ${rail} needs "${need}", which is not a rail of this chassis`,
            suggestion: suggestName(need, others, 'rails of this chassis'),
            absent: true,
          },
        ];
      }),
    );
  });

/** No rail needs itself through others: such rails could never be enabled. */
export const checkNeedsAcyclic: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    const rails = new Map(railsOf(chassis));
    const done = new Set<string>();
    const findings: Finding[] = [];
    const walk = (rail: string, trail: readonly string[]): void => {
      if (done.has(rail)) return;
      const start = trail.indexOf(rail);
      if (start >= 0) {
        const cycle = [...trail.slice(start), rail];
        findings.push({
          at: [...path, 'rails', rail, 'needs'],
          message: `rails need each other in a circle: ${cycle.join(' → ')}`,
          suggestion: `remove "${cycle[1] ?? rail}" from the needs of ${rail}, or break the circle elsewhere`,
        });
        return;
      }
      // checkNeedsExist reports a rail that needs itself.
      for (const need of rails.get(rail)?.needs ?? []) {
        if (need !== undefined && need !== rail) walk(need, [...trail, rail]);
      }
      done.add(rail);
    };
    for (const rail of rails.keys()) walk(rail, []);
    return findings;
  });

interface LineUse {
  readonly at: readonly string[];
  readonly role: string;
  readonly ref: LineRef;
}

/** The line that a part names; null where it names none, or only half of one. */
function refOf(part: LinePart): LineRef | null {
  if ('pmbus' in part || 'pulse' in part || isSensor(part)) return null;
  if ('name' in part && part.name !== undefined) return { name: part.name };
  if (!('chip' in part) || part.chip === undefined || part.line === undefined) return null;
  return { chip: part.chip, line: part.line };
}

function lineUses(chassis: ChassisPart, path: readonly string[]): LineUse[] {
  const uses: LineUse[] = [];
  const use = (role: string, line: LinePart | undefined, ...keys: string[]): void => {
    const ref = line === undefined ? null : refOf(line);
    if (ref !== null) uses.push({ at: [...path, ...keys], role, ref });
  };
  const presences = new Set<string>();
  for (const [rail, { enable, good, presence }] of railsOf(chassis)) {
    // Rails of one part name the same line.
    const isLine = presence !== undefined && ('chip' in presence || 'name' in presence);
    const shown = isLine ? JSON.stringify(presence) : undefined;
    if (shown !== undefined && !presences.has(shown)) {
      presences.add(shown);
      use(`presence of ${rail}`, presence as LinePart, 'rails', rail, 'presence');
    }
    if (enable && 'pulse' in enable) {
      use(`power button of ${rail}`, enable.pulse, 'rails', rail, 'enable', 'pulse');
      use(`state of ${rail}`, enable.state, 'rails', rail, 'enable', 'state');
    } else use(`enable of ${rail}`, enable, 'rails', rail, 'enable');
    use(`good of ${rail}`, good, 'rails', rail, 'good');
  }
  for (const { source, role, keys } of pgoodParts(chassis)) {
    if ('chip' in source || 'name' in source) use(role, source, ...keys);
  }
  use('latch', chassis.latch, 'latch');
  for (const [reset, line] of Object.entries(chassis.resets ?? {})) {
    use(`reset ${reset}`, line, 'resets', reset);
  }
  use(HOST_RESET, chassis.hostReset, 'hostReset');
  use(POST_COMPLETE, chassis.hostSignals?.postComplete, 'hostSignals', 'postComplete');
  use(PLATFORM_RESET, chassis.hostSignals?.platformReset, 'hostSignals', 'platformReset');
  use(PANEL_POWER, chassis.panel?.power, 'panel', 'power');
  use(PANEL_RESET, chassis.panel?.reset, 'panel', 'reset');
  return uses;
}

/** A line has one role: two enables on one line would switch rails that nobody asked for. */
export const checkLinesUnique: Check = (board) => {
  const first = new Map<string, LineUse>();
  const uses = Object.entries(board.chassis ?? {}).flatMap(([number, chassis]) =>
    chassis === undefined ? [] : lineUses(chassis, ['chassis', number]),
  );
  return uses.flatMap((use): Finding[] => {
    const key = lineKey(use.ref);
    const other = first.get(key);
    if (!other) {
      first.set(key, use);
      return [];
    }
    return [
      {
        at: use.at,
        message: `${use.role} uses ${lineLabel(use.ref)}, which is already ${other.role}`,
        suggestion: `give one of the two another line; the other is at ${other.at.join('.')}`,
        other: other.at,
      },
    ];
  });
};

/** Every PMBus device that a chassis names is in `devices`. */
export const checkDevicesExist: Check = (board) => {
  if (board.devices === undefined) return [];
  const names = Object.keys(board.devices);
  const missing = (device: string | undefined, ...at: string[]): Finding[] =>
    device === undefined || names.includes(device)
      ? []
      : [
          {
            at,
            message: `"${device}" is not in devices`,
            suggestion: suggestName(device, names, 'devices'),
            absent: true,
          },
        ];
  return eachChassis(board, (chassis, path) => [
    ...railsOf(chassis).flatMap(([rail, { enable, good, setup }]) => [
      ...(enable && 'pmbus' in enable
        ? missing(enable.pmbus, ...path, 'rails', rail, 'enable', 'pmbus')
        : []),
      ...missing(setup?.pmbus, ...path, 'rails', rail, 'setup', 'pmbus'),
      ...(good && 'pmbus' in good ? missing(good.pmbus, ...path, 'rails', rail, 'good', 'pmbus') : []),
    ]),
    ...pgoodParts(chassis).flatMap(({ source, keys }) =>
      'pmbus' in source ? missing(source.pmbus, ...path, ...keys, 'pmbus') : [],
    ),
    ...(chassis.evidence ?? []).flatMap((device, index) =>
      missing(device, ...path, 'evidence', String(index)),
    ),
  ]);
};

/** Each device has an address of its bus for itself, and each rail a page of its own. */
export const checkPagesUnique: Check = (board) => {
  const findings: Finding[] = [];
  const addresses = new Map<string, string>();
  for (const [device, { bus, address } = {}] of Object.entries(board.devices ?? {})) {
    if (bus === undefined || address === undefined) continue;
    const key = `${bus}/${Number(address)}`;
    const other = addresses.get(key);
    if (other === undefined) addresses.set(key, device);
    else {
      findings.push({
        at: ['devices', device],
        message: `bus ${bus} address ${address} is already device "${other}"`,
        suggestion: `use "${other}" with another page, or correct bus or address`,
        other: ['devices', other],
      });
    }
  }
  const enables = new Map<string, { rail: string; at: readonly string[] }>();
  findings.push(
    ...eachChassis(board, (chassis, path) =>
      railsOf(chassis).flatMap(([rail, { enable }]): Finding[] => {
        if (!enable || !('pmbus' in enable) || enable.pmbus === undefined || enable.page === undefined) {
          return [];
        }
        const at = [...path, 'rails', rail, 'enable', 'page'];
        const key = `${enable.pmbus}/${enable.page}`;
        const other = enables.get(key);
        if (other === undefined) {
          enables.set(key, { rail, at });
          return [];
        }
        return [
          {
            at,
            message: `page ${enable.page} of ${enable.pmbus} already switches rail ${other.rail}`,
            suggestion: 'give this rail a page of its own',
            other: other.at,
          },
        ];
      }),
    ),
  );
  return findings;
};

/** What a chassis asks of a device: a rail that it switches or shows, or null where it shows pgood or is named as evidence. */
function usesOf(device: string, chassis: ChassisPart): (string | null)[] {
  const isIt = (part: PartOf<EnableBoard | GoodBoard | PgoodSource | SetupBoard> | undefined) =>
    part !== undefined && 'pmbus' in part && part.pmbus === device;
  return [
    ...railsOf(chassis).flatMap(([rail, { enable, good, setup }]) =>
      [enable, good, setup].some(isIt) ? [rail] : [],
    ),
    ...pgoodParts(chassis).flatMap(({ source }) => (isIt(source) ? [null] : [])),
    ...(chassis.evidence?.includes(device) ? [null] : []),
  ];
}

/** All that a rail needs, also through others. */
function allNeedsOf(rail: string, chassis: ChassisPart): ReadonlySet<string> {
  const found = new Set<string>();
  const add = (name: string): void => {
    for (const need of chassis.rails?.[name]?.needs ?? []) {
      if (need === undefined || found.has(need)) continue;
      found.add(need);
      add(need);
    }
  };
  add(rail);
  return found;
}

/**
 * The rail that powers a device is one of the chassis that the device is of, and is good before anything is asked of the
 * device: whatever the device switches or shows needs it.
 */
export const checkPoweredBy: Check = (board) =>
  Object.entries(board.devices ?? {}).flatMap(([device, { poweredBy } = {}]): Finding[] => {
    if (poweredBy === undefined) return [];
    const at = ['devices', device, 'poweredBy'];
    const all = Object.entries(board.chassis ?? {}).flatMap(([number, chassis]) =>
      chassis?.rails === undefined ? [] : [{ number, chassis, uses: usesOf(device, chassis) }],
    );
    const using = all.filter(({ uses }) => uses.length > 0);
    const [only, ...others] = using;
    if (only !== undefined && others.length > 0) {
      const numbers = using.map(({ number }) => number).join(' and ');
      return [
        {
          at,
          message: `${device} serves chassis ${numbers}, and a rail powers devices of its own chassis only`,
          suggestion: 'leave poweredBy out, or give each chassis a device of its own',
        },
      ];
    }
    const names = (only === undefined ? all : using).flatMap(({ chassis }) =>
      Object.keys(chassis.rails ?? {}),
    );
    if (!names.includes(poweredBy)) {
      return [
        {
          at,
          message: `"${poweredBy}", which powers ${device}, is not a rail${only === undefined ? '' : ' of its chassis'}`,
          suggestion: suggestName(poweredBy, names, 'rails'),
          absent: true,
        },
      ];
    }
    return only === undefined ? [] : powerBehind(device, poweredBy, only.number, only.chassis, only.uses, at);
  });

/** Rails of a device that may be asked for while the device has no power. */
function powerBehind(
  device: string,
  poweredBy: string,
  number: string,
  chassis: ChassisPart,
  uses: readonly (string | null)[],
  at: readonly string[],
): Finding[] {
  if (chassis.rails?.[poweredBy]?.logOnly !== undefined) {
    return [
      {
        at,
        message: `rail ${poweredBy} is to power ${device}, and a failure of it is only logged`,
        suggestion: `leave "logOnly" of ${poweredBy} out`,
        other: ['chassis', number, 'rails', poweredBy, 'logOnly'],
      },
    ];
  }
  return uses.flatMap((rail): Finding[] => {
    if (rail === null || allNeedsOf(rail, chassis).has(poweredBy)) return [];
    const other = ['chassis', number, 'rails', rail];
    if (rail === poweredBy) {
      return [
        {
          at,
          message: `${device} switches or shows rail ${rail}, which is to power it: neither could come first`,
          suggestion: `name the rail that ${device} has its own power from, or leave poweredBy out`,
          other,
        },
      ];
    }
    return [
      {
        at,
        message: `rail ${rail} is of ${device}, which has its power from ${poweredBy}, and does not need ${poweredBy}`,
        suggestion: `add "${poweredBy}" to the needs of ${rail}`,
        other,
        absent: true,
      },
    ];
  });
}

/** A window of good voltages is not empty, and has the nominal voltage in it. */
export const checkVoltageWindow: Check = (board) =>
  eachChassis(board, (chassis, path) =>
    railsOf(chassis).flatMap(([rail, { good, nominalVolts }]): Finding[] => {
      // Limits that the device has are not known here.
      if (!good || !('minVolts' in good)) return [];
      const at = [...path, 'rails', rail, 'good', 'minVolts'];
      const { minVolts = 0, maxVolts = Number.POSITIVE_INFINITY } = good;
      if (minVolts > maxVolts) {
        return [
          { at, message: `minVolts ${minVolts} is above maxVolts ${maxVolts}`, suggestion: 'swap the two' },
        ];
      }
      if (nominalVolts !== undefined && (nominalVolts < minVolts || nominalVolts > maxVolts)) {
        return [
          {
            at,
            message: `nominalVolts ${nominalVolts} of ${rail} is outside ${minVolts} to ${good.maxVolts ?? 'any'} V`,
            suggestion: 'let the window hold the nominal voltage',
          },
        ];
      }
      return [];
    }),
  );

/** The longest chain of rails along `next`, where each rail takes `ownMs`. */
function longestChainMs(
  chassis: ChassisPart,
  next: (rail: string) => readonly string[],
  ownMs: (rail: PartOf<RailBoard>) => number,
): number {
  const rails = new Map(railsOf(chassis));
  const known = new Map<string, number>();
  const chainFrom = (name: string, trail: readonly string[]): number => {
    const before = known.get(name);
    if (before !== undefined) return before;
    const rail = rails.get(name);
    // checkNeedsAcyclic reports a circle.
    if (rail === undefined || trail.includes(name)) return 0;
    const total = ownMs(rail) + Math.max(0, ...next(name).map((other) => chainFrom(other, [...trail, name])));
    known.set(name, total);
    return total;
  };
  return Math.max(0, ...[...rails.keys()].map((name) => chainFrom(name, [])));
}

/** Longest time from the request to the release of the last reset, with each wait of the sequence at its limit. */
export function longestPowerOnMs(chassis: ChassisPart): number {
  const { rails = {}, pgood = {}, latch, minOffMs = 0 } = chassis;
  const needs = (rail: string) => (rails[rail]?.needs ?? []).filter((need) => need !== undefined);
  const railsMs = longestChainMs(
    chassis,
    needs,
    // A rail without a signal counts as good at its enable. A button always has one.
    ({ good, enable, onTimeoutMs = 0, settleMs = 0 }) =>
      pulseOnMs(enable) + (good === undefined && pulseOnMs(enable) === 0 ? 0 : onTimeoutMs) + settleMs,
  );
  const releaseMs = Math.max(
    0,
    // One that waits for the host is released when the power-on is over.
    ...Object.values(chassis.resets ?? {}).map((reset) =>
      reset?.heldUntil === undefined ? (reset?.releaseDelayMs ?? 0) : 0,
    ),
  );
  const { onTimeoutMs = 0, deglitchMs = 0 } = pgood;
  return minOffMs + railsMs + (latch?.pulseMs ?? 0) + onTimeoutMs + deglitchMs + releaseMs;
}

/** Longest time from the first disable until no rail delivers any more, or the sequence knows which one does not end. */
export function longestPowerOffMs(chassis: ChassisPart): number {
  const next = (rail: string) => nextOff(chassis, rail);
  const railsMs = longestChainMs(chassis, next, (rail) => {
    const { enable, good, offTimeoutMs = 0, offSettleMs = 0 } = rail;
    const pressMs = pulseOffMs(rail);
    const isSeen = good !== undefined || pressMs > 0;
    return enable === undefined ? 0 : pressMs + (isSeen ? offTimeoutMs : 0) + offSettleMs;
  });
  // What is only watched goes with the enables of what it needs, one beside the other; a supply stays.
  const watchedMs = railsOf(chassis).map(([, { enable, needs: its, offTimeoutMs = 0 }]) =>
    enable !== undefined || its === undefined || its.length === 0 ? 0 : offTimeoutMs,
  );
  return (
    railsMs + Math.max(0, ...watchedMs) + (chassis.latch?.pulseMs ?? 0) + (chassis.pgood?.offTimeoutMs ?? 0)
  );
}

/** What shows that a button was taken shows it in time, and nothing takes the power of a host that is to shut down. */
export const checkPulses: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    const sleeper = railsOf(chassis).find(([, { enable }]) => hasSleepState(enable))?.[0] ?? null;
    return railsOf(chassis).flatMap(([rail, described]) => {
      if (described.enable === undefined || !('pulse' in described.enable)) return [];
      const needs = allNeedsOf(rail, chassis);
      const besides = railsOf(chassis).flatMap(([other]) =>
        other === rail || needs.has(other) ? [] : [other],
      );
      return checkPulse(rail, described, {
        at: [...path, 'rails', rail, 'enable'],
        resets: Object.keys(chassis.resets ?? {}),
        besides,
        sleeper,
        isPgoodLine: chassis.pgood !== undefined && ('chip' in chassis.pgood || 'name' in chassis.pgood),
      });
    });
  });

/** Power-on and power-off fit into the timeouts of the units, even with each wait at its limit. */
export const checkTimeBudgets: Check = (board) =>
  eachChassis(board, (chassis, at) => {
    const onMs = longestPowerOnMs(chassis);
    const offMs = longestPowerOffMs(chassis);
    return [
      ...(onMs <= STAGE_BUDGET_MS
        ? []
        : [
            {
              at,
              message: `power-on may take ${onMs} ms (minOffMs, the longest chain of rails with onTimeoutMs, settleMs and what their buttons take, the latch, pgood with onTimeoutMs and deglitchMs, releaseDelayMs); the units allow ${STAGE_BUDGET_MS} ms`,
              suggestion: `shorten these times by ${onMs - STAGE_BUDGET_MS} ms`,
            },
          ]),
      ...(offMs <= STAGE_BUDGET_MS
        ? []
        : [
            {
              at,
              message: `power-off may take ${offMs} ms (the longest chain of rails with offTimeoutMs, offSettleMs and what their buttons take, the latch, offTimeoutMs of pgood); the units allow ${STAGE_BUDGET_MS} ms`,
              suggestion: `shorten these times by ${offMs - STAGE_BUDGET_MS} ms`,
            },
          ]),
    ];
  });

/** A device of which nothing is known would be taken for the right one. */
const checkIdentities: Check = (board) =>
  Object.entries(board.devices ?? {}).flatMap(([device, { identity } = {}]): Finding[] => {
    if (identity === undefined || Object.keys(identity).length > 0) return [];
    const message = `the identity of ${device} names no register`;
    const suggestion = 'name one, as "MFR_ID", or leave "identity" out';
    return [{ at: ['devices', device, 'identity'], message, suggestion, absent: true }];
  });

const CHECKS: readonly Check[] = [
  checkNeedsExist,
  checkNeedsAcyclic,
  checkOffAfter,
  checkOffOrder,
  checkOffSettle,
  checkWatched,
  checkSwitched,
  checkLinesUnique,
  checkDevicesExist,
  checkPagesUnique,
  checkPoweredBy,
  checkIdentities,
  checkSetups,
  checkVoltageWindow,
  checkPgoodHasSource,
  checkPgoodWindow,
  checkPgoodOfLatch,
  checkPgoodOfOthers,
  checkPulses,
  checkPresences,
  checkLogOnly,
  checkPanel,
  checkResets,
  checkTimeBudgets,
];

/** Runs all checks between parts of a board, on the parts that fit the schema. */
export function crossCheck(board: BoardPart): Finding[] {
  return CHECKS.flatMap((check) => check(board));
}
