/** The times of a board against those of the units, so that neither changes without the other. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { longestPowerOffMs, longestPowerOnMs, STAGE_BUDGET_MS } from '../../src/board/checks.ts';
import { checkBoard } from '../check-board.ts';
import { shippedBoard } from './bench.ts';

const root = join(import.meta.dirname, '..', '..');
/** A slow BMC starts the program and carries out what it decides in this time. */
const MARGIN_MS = 30_000;
/** The same for busctl, which is no Node program. */
const BUSCTL_MARGIN_MS = 15_000;

const files = readdirSync(join(root, 'systemd'), { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.(service|conf)$/.test(file))
  .map((file) => ({ file, text: readFileSync(join(root, 'systemd', file), 'utf8') }));
const secondsOf = (text: string, setting: string) =>
  Number(new RegExp(`^${setting}=(\\d+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
/** Units that run a stage by themselves. */
const stages = files.filter(({ text }) =>
  /^ExecStart=.*chassis-power (start|wait-on|stop|wait-off)\b/m.test(text),
);
/** Units and drop-ins that have the resident service run one. */
const asking = files.filter(({ text }) => /busctl .*\bchassis_power\.Sequence1/.test(text));

/** Longest wait for another process that drives the chassis, of all parts of the program. */
const lockWaitMs = Math.max(
  ...['src/cli/verbs/power.ts', 'src/service/resident.ts'].map((file) => {
    const found = /LOCK_WAIT_MS = ([\d_]+);/.exec(readFileSync(join(root, file), 'utf8'))?.[1];
    return Number(found?.replaceAll('_', ''));
  }),
);

describe('the budget of a stage fits into the units that ship', () => {
  it('knows the units', () => {
    expect(stages.map(({ file }) => file).sort()).toEqual([
      'op-power-start@.service',
      'op-power-stop@.service',
      'op-wait-power-off@.service',
      'op-wait-power-on@.service',
    ]);
    expect(asking.length).toBeGreaterThanOrEqual(6);
    expect(lockWaitMs).toBeGreaterThan(0);
  });

  it.each(stages)('$file: the wait for another process, the budget and a slow start', ({ text }) => {
    expect(secondsOf(text, 'TimeoutStartSec') * 1_000).toBeGreaterThanOrEqual(
      lockWaitMs + STAGE_BUDGET_MS + MARGIN_MS,
    );
  });

  it.each([...stages, ...files.filter(({ file }) => file === 'chassis-power.service')])(
    '$file: what was begun is taken down before systemd kills',
    ({ text }) => {
      expect(secondsOf(text, 'TimeoutStopSec') * 1_000).toBeGreaterThanOrEqual(STAGE_BUDGET_MS + MARGIN_MS);
    },
  );

  it.each(asking)(
    '$file: busctl waits as long as the service may take, and less than its unit',
    ({ file, text }) => {
      const unit = files.find(
        ({ file: name }) => name === file.replace(/^resident\//, '').replace(/\.conf$/, ''),
      );
      const limitMs = secondsOf(unit?.text ?? '', 'TimeoutStartSec') * 1_000;
      for (const [, seconds] of text.matchAll(/busctl [^\n]*--timeout=(\d+)/g)) {
        const busctlMs = Number(seconds) * 1_000;
        expect(busctlMs).toBeGreaterThanOrEqual(lockWaitMs + STAGE_BUDGET_MS + BUSCTL_MARGIN_MS);
        expect(busctlMs).toBeLessThan(limitMs);
      }
    },
  );
});

// biome-ignore lint/suspicious/noExplicitAny: a board that is edited freely
type Loose = any;

describe('every time of a board counts towards its budget', () => {
  const times: readonly (readonly [
    what: string,
    way: 'on' | 'off',
    set: (chassis: Loose, ms: number) => void,
  ])[] = [
    ['minOffMs', 'on', (chassis, ms) => (chassis.minOffMs = ms)],
    ['onTimeoutMs of a rail', 'on', (chassis, ms) => (chassis.rails.P12V.onTimeoutMs = ms)],
    ['settleMs', 'on', (chassis, ms) => (chassis.rails.P12V.settleMs = ms)],
    ['onTimeoutMs of pgood', 'on', (chassis, ms) => (chassis.pgood.onTimeoutMs = ms)],
    ['deglitchMs', 'on', (chassis, ms) => (chassis.pgood.deglitchMs = ms)],
    ['releaseDelayMs', 'on', (chassis, ms) => (chassis.resets.CPU_RESET_L.releaseDelayMs = ms)],
    ['pulseMs', 'on', (chassis, ms) => (chassis.latch = { chip: 'x', line: 1, pulseMs: ms })],
    ['offTimeoutMs of a rail', 'off', (chassis, ms) => (chassis.rails.P12V.offTimeoutMs = ms)],
    ['offTimeoutMs of pgood', 'off', (chassis, ms) => (chassis.pgood.offTimeoutMs = ms)],
    ['pulseMs', 'off', (chassis, ms) => (chassis.latch = { chip: 'x', line: 1, pulseMs: ms })],
  ];

  it.each(times)('%s, on the way %s', (_, way, set) => {
    const longestMs = (ms: number) => {
      const chassis: Loose = structuredClone(shippedBoard('reference').chassis['0']);
      set(chassis, ms);
      return way === 'on' ? longestPowerOnMs(chassis) : longestPowerOffMs(chassis);
    };
    expect(longestMs(1_777) - longestMs(777)).toBe(1_000);
  });

  it.each(times)('%s of ten minutes is refused (%s)', (_, _way, set) => {
    const board: Loose = structuredClone(shippedBoard('reference'));
    set(board.chassis['0'], 600_000);
    expect(checkBoard(board).problems).not.toEqual([]);
  });

  it('the longest chain counts, and not the sum of all rails', () => {
    // P12V → P3V3 → P1V8 → PVDDQ → PVCORE, each with offTimeoutMs 2000 by default; pgood has 3000.
    const chassis = shippedBoard('reference').chassis['0'] as Loose;
    expect(longestPowerOffMs(chassis)).toBe(5 * 2_000 + 3_000);
  });
});
