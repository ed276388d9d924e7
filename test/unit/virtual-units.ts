import type { Clock } from '../../hw/ports.ts';
import type { Wanted } from '../../src/service/resident.ts';
import { SystemError } from '../../src/system/errors.ts';
import type { UnitManager, UnitState } from '../../src/system/ports.ts';

/** Somewhat arbitrary: systemd and a host that take some time. */
const HOST_MS = 30;

/** A systemd with the units of chassis 0, over a chassis that `power` switches. */
export interface VirtualUnits extends Pick<UnitManager, 'startUnit' | 'unitStates' | 'watchUnits'> {
  /** Targets in the order they were started, each with the time since the one before. */
  readonly started: { readonly target: string; readonly afterMs: number }[];
  /** Targets that systemd refuses to start. */
  readonly refused: Set<string>;
  /** The host unit fails to start. */
  hostFails: boolean;
  /** Who watches hears of a change that much later, and of the end of a job before. */
  newsMs: number;
  /** As an event outside of any job. */
  change(unit: string, activeState: string): void;
}

const HOST = 'obmc-start-host@0.service';
const QUIESCE = 'obmc-quiesce-host@0.target';

export function createVirtualUnits(clock: Clock, power: (wanted: Wanted) => Promise<void>): VirtualUnits {
  const states = new Map<string, string>();
  const watches = new Set<() => void>();
  const started: VirtualUnits['started'][number][] = [];
  let lastMs = clock.nowMs();
  let turn = 0;

  const tellAll = () => {
    for (const tell of [...watches]) tell();
  };
  const change = (unit: string, activeState: string) => {
    states.set(unit, activeState);
    if (units.newsMs > 0) clock.after(units.newsMs, tellAll);
    else tellAll();
  };
  const pass = (ms: number) =>
    new Promise<void>((resolve) => {
      clock.after(ms, resolve);
    });

  const runs: Readonly<Record<string, () => Promise<string>>> = {
    'obmc-power-chassis-on@0.target': async () => {
      await power('on');
      return 'done';
    },
    'obmc-chassis-start@0.target': async () => {
      change(QUIESCE, 'inactive');
      await power('on');
      if (states.get(HOST) === 'active') return 'done';
      change(HOST, 'activating');
      await pass(HOST_MS);
      if (units.hostFails) {
        change(HOST, 'failed');
        change(QUIESCE, 'active');
        return 'dependency';
      }
      change(HOST, 'active');
      return 'done';
    },
    'obmc-power-chassis-off@0.target': () => powerOff(),
    'obmc-chassis-stop@0.target': () => powerOff(),
  };
  const powerOff = async () => {
    if (states.get(HOST) === 'active') {
      change(HOST, 'deactivating');
      await pass(HOST_MS);
      change(HOST, 'inactive');
    }
    await power('off');
    return 'done';
  };

  const statesOf = (names: readonly string[]): UnitState[] =>
    names.map((unit) => ({
      unit,
      isKnown: true,
      activeState: states.get(unit) ?? 'inactive',
      subState: 'dead',
    }));

  const units: VirtualUnits = {
    started,
    refused: new Set(),
    hostFails: false,
    newsMs: 0,
    change,

    async startUnit(target) {
      const run = runs[target];
      if (run === undefined || units.refused.has(target)) {
        throw new SystemError('SYSTEMD_FAILED', `StartUnit failed: ${target} not found`);
      }
      started.push({ target, afterMs: clock.nowMs() - lastMs });
      lastMs = clock.nowMs();
      turn += 1;
      const mine = turn;
      try {
        const result = await run();
        // The opposite request has taken the place of this one.
        return mine === turn ? result : 'canceled';
      } catch {
        change(QUIESCE, 'active');
        return mine === turn ? 'dependency' : 'canceled';
      }
    },

    unitStates: async (names) => statesOf(names),

    watchUnits(names, changed) {
      const tell = () => changed(statesOf(names));
      watches.add(tell);
      tell();
      return () => watches.delete(tell);
    },
  };
  return units;
}
