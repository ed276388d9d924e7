import { lineKey, lineLabel } from '../../hw/lines.ts';
import type { LineRef } from '../../hw/ports.ts';
import { suggestName } from '../near.ts';
import type { Problem } from './problem.ts';
import type { Board, ChassisBoard } from './schema.ts';

/**
 * Longest way from the first enable to pgood that fits the units: their `TimeoutStartSec=` of 240 s, less the
 * 60 s for which a stage waits until another process leaves the chassis and what a slow BMC needs to start the
 * program.
 */
const START_BUDGET_MS = 150_000;

type Check = (board: Board) => Problem[];

function eachChassis(
  board: Board,
  visit: (chassis: ChassisBoard, path: string, number: string) => Problem[],
): Problem[] {
  return Object.entries(board.chassis).flatMap(([number, chassis]) =>
    visit(chassis, `chassis.${number}`, number),
  );
}

/** Every name in `needs` is a rail of the same chassis, and not the rail itself. */
export const checkNeedsExist: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    const names = Object.keys(chassis.rails);
    return Object.entries(chassis.rails).flatMap(([rail, { needs }]) =>
      needs.flatMap((need, index): Problem[] => {
        const at = `${path}.rails.${rail}.needs.${index}`;
        if (need === rail) {
          return [
            { path: at, message: `rail ${rail} needs itself`, suggestion: `remove "${need}" from needs` },
          ];
        }
        if (names.includes(need)) return [];
        return [
          {
            path: at,
            message: `rail ${rail} needs "${need}", which is not a rail of this chassis`,
            suggestion: suggestName(
              need,
              names.filter((name) => name !== rail),
              'rails of this chassis',
            ),
          },
        ];
      }),
    );
  });

/** No rail needs, through others, itself: such rails could never be enabled. */
export const checkNeedsAcyclic: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    const done = new Set<string>();
    const problems: Problem[] = [];
    const walk = (rail: string, trail: readonly string[]): void => {
      if (done.has(rail)) return;
      const start = trail.indexOf(rail);
      if (start >= 0) {
        const cycle = [...trail.slice(start), rail];
        problems.push({
          path: `${path}.rails.${rail}.needs`,
          message: `rails need each other in a circle: ${cycle.join(' → ')}`,
          suggestion: `remove "${cycle[1] ?? rail}" from the needs of ${rail}, or break the circle elsewhere`,
        });
        return;
      }
      // A rail that needs itself is the business of checkNeedsExist.
      for (const need of chassis.rails[rail]?.needs ?? []) if (need !== rail) walk(need, [...trail, rail]);
      done.add(rail);
    };
    for (const rail of Object.keys(chassis.rails)) walk(rail, []);
    return problems;
  });

interface LineUse {
  readonly path: string;
  readonly role: string;
  readonly ref: LineRef;
}

function lineUses(chassis: ChassisBoard, path: string): LineUse[] {
  const uses: LineUse[] = [];
  for (const [rail, { enable, good }] of Object.entries(chassis.rails)) {
    if (!('pmbus' in enable))
      uses.push({ path: `${path}.rails.${rail}.enable`, role: `enable of ${rail}`, ref: enable });
    if (good && !('pmbus' in good))
      uses.push({ path: `${path}.rails.${rail}.good`, role: `good of ${rail}`, ref: good });
  }
  uses.push({ path: `${path}.pgood`, role: 'pgood', ref: chassis.pgood });
  if (chassis.latch) uses.push({ path: `${path}.latch`, role: 'latch', ref: chassis.latch });
  for (const [reset, ref] of Object.entries(chassis.resets)) {
    uses.push({ path: `${path}.resets.${reset}`, role: `reset ${reset}`, ref });
  }
  return uses;
}

/** One line has one role: two enables on one line would switch rails nobody asked for. */
export const checkLinesUnique: Check = (board) => {
  const first = new Map<string, LineUse>();
  const uses = Object.entries(board.chassis).flatMap(([number, chassis]) =>
    lineUses(chassis, `chassis.${number}`),
  );
  return uses.flatMap((use): Problem[] => {
    const key = lineKey(use.ref);
    const other = first.get(key);
    if (!other) {
      first.set(key, use);
      return [];
    }
    return [
      {
        path: use.path,
        message: `${use.role} uses ${lineLabel(use.ref)}, which is already ${other.role}`,
        suggestion: `give one of the two another line; the other is at ${other.path}`,
      },
    ];
  });
};

/** Every PMBus device that a chassis names is in `devices`. */
export const checkDevicesExist: Check = (board) => {
  const names = Object.keys(board.devices);
  const missing = (path: string, device: string): Problem[] =>
    names.includes(device)
      ? []
      : [
          {
            path,
            message: `"${device}" is not in devices`,
            suggestion: suggestName(device, names, 'devices'),
          },
        ];
  return eachChassis(board, (chassis, path) => [
    ...Object.entries(chassis.rails).flatMap(([rail, { enable, good }]) => [
      ...('pmbus' in enable ? missing(`${path}.rails.${rail}.enable.pmbus`, enable.pmbus) : []),
      ...(good && 'pmbus' in good ? missing(`${path}.rails.${rail}.good.pmbus`, good.pmbus) : []),
    ]),
    ...chassis.evidence.flatMap((device, index) => missing(`${path}.evidence.${index}`, device)),
  ]);
};

/** Two devices at one address of one bus, and two rails switched by one page, are slips. */
export const checkPagesUnique: Check = (board) => {
  const problems: Problem[] = [];
  const addresses = new Map<string, string>();
  for (const [device, { bus, address }] of Object.entries(board.devices)) {
    const key = `${bus}/${Number(address)}`;
    const other = addresses.get(key);
    if (other === undefined) addresses.set(key, device);
    else {
      problems.push({
        path: `devices.${device}`,
        message: `bus ${bus} address ${address} is already device "${other}"`,
        suggestion: `use "${other}" with another page, or correct bus or address`,
      });
    }
  }
  const enables = new Map<string, string>();
  problems.push(
    ...eachChassis(board, (chassis, path) =>
      Object.entries(chassis.rails).flatMap(([rail, { enable }]): Problem[] => {
        if (!('pmbus' in enable)) return [];
        const key = `${enable.pmbus}/${enable.page}`;
        const other = enables.get(key);
        if (other === undefined) {
          enables.set(key, rail);
          return [];
        }
        return [
          {
            path: `${path}.rails.${rail}.enable.page`,
            message: `page ${enable.page} of ${enable.pmbus} already switches rail ${other}`,
            suggestion: 'give this rail a page of its own',
          },
        ];
      }),
    ),
  );
  return problems;
};

/** A voltage window that no voltage fits, or that leaves out the nominal voltage, can never be good. */
export const checkVoltageWindow: Check = (board) =>
  eachChassis(board, (chassis, path) =>
    Object.entries(chassis.rails).flatMap(([rail, { good, nominalVolts }]): Problem[] => {
      if (!good || !('pmbus' in good)) return [];
      const at = `${path}.rails.${rail}.good`;
      const { minVolts, maxVolts = Number.POSITIVE_INFINITY } = good;
      if (minVolts > maxVolts) {
        return [
          {
            path: `${at}.minVolts`,
            message: `minVolts ${minVolts} is above maxVolts ${maxVolts}`,
            suggestion: 'swap the two',
          },
        ];
      }
      if (nominalVolts !== undefined && (nominalVolts < minVolts || nominalVolts > maxVolts)) {
        return [
          {
            path: `${at}.minVolts`,
            message: `nominalVolts ${nominalVolts} of ${rail} is outside ${minVolts} to ${good.maxVolts ?? 'any'} V`,
            suggestion: 'let the window hold the nominal voltage',
          },
        ];
      }
      return [];
    }),
  );

/** The longest permitted power-on fits into what the units wait for. */
export const checkStartBudget: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    const longest = new Map<string, number>();
    const wayTo = (rail: string, seen: readonly string[]): number => {
      const known = longest.get(rail);
      if (known !== undefined) return known;
      const own = chassis.rails[rail];
      if (!own || seen.includes(rail)) return 0;
      const before = Math.max(0, ...own.needs.map((need) => wayTo(need, [...seen, rail])));
      const total = before + own.onTimeoutMs + own.settleMs;
      longest.set(rail, total);
      return total;
    };
    const railsMs = Math.max(0, ...Object.keys(chassis.rails).map((rail) => wayTo(rail, [])));
    const totalMs = chassis.minOffMs + railsMs + chassis.pgood.onTimeoutMs;
    if (totalMs <= START_BUDGET_MS) return [];
    return [
      {
        path,
        message: `power-on may take ${totalMs} ms (minOffMs, the longest chain of rails, pgood), the units wait ${START_BUDGET_MS} ms`,
        suggestion: 'shorten onTimeoutMs of the rails or of pgood',
      },
    ];
  });

const CHECKS: readonly Check[] = [
  checkNeedsExist,
  checkNeedsAcyclic,
  checkLinesUnique,
  checkDevicesExist,
  checkPagesUnique,
  checkVoltageWindow,
  checkStartBudget,
];

/** All that a schema cannot see, of a board whose shape is right. */
export function crossCheck(board: Board): Problem[] {
  return CHECKS.flatMap((check) => check(board));
}
