/** The x86 board with a power button: each fault of its plant is named, and the host ends as it was asked. */
import { describe, expect, it } from 'vitest';
import { JOBS } from '../../src/run/jobs.ts';
import type { RunResult } from '../../src/run/runner.ts';
import { createBench } from './bench.ts';

const told = ({ state, sequence: { fault } }: RunResult) =>
  fault === null ? state : `${state}: ${fault.reason}`;
const isHostOn = ({ plant }: ReturnType<typeof createBench>) =>
  plant.lines().some(({ line, asserted }) => line === 'host:0/HOST' && asserted);

describe('the x86 board with a power button', () => {
  it('powers on by a press of 200 ms and shuts down by another', async () => {
    const bench = createBench('x86-button');
    expect(told(await bench.run(JOBS.on))).toBe('pgood');
    expect(isHostOn(bench)).toBe(true);
    expect(told(await bench.run(JOBS.off))).toBe('off');
    expect(isHostOn(bench)).toBe(false);
    expect(bench.plant.hazards).toEqual([]);
    expect(bench.plant.misuses).toEqual([]);
    // Two presses, each down and up.
    expect(bench.changes()['name:POWER_OUT']).toBe(4);
  });

  it.each([
    ['rail HOST never good', 'rail HOST was not good within 8000 ms of its enable'],
    ['good HOST stuck off', 'rail HOST was not good within 8000 ms of its enable'],
    [
      'enable HOST stuck off',
      'enable of rail HOST: power button of rail HOST was pressed for 200 ms, and state of rail HOST does not show it within 1000 ms',
    ],
    [
      'state HOST stuck off',
      'enable of rail HOST: power button of rail HOST was pressed for 200 ms, and state of rail HOST does not show it within 1000 ms',
    ],
    [
      'button HOST stuck off',
      'power button of rail HOST: GPIO line "POWER_OUT" was driven low but reads high: another driver or a short holds it',
    ],
    ['pgood never', 'pgood did not come within 10000 ms though every rail is enabled'],
  ])('%s is told by a power-on, and the host is off', async (fault, expected) => {
    const bench = createBench('x86-button', { faults: [fault] });
    expect(told(await bench.run(JOBS.on))).toBe(`failed: ${expected}`);
    expect(isHostOn(bench)).toBe(false);
  });

  it.each([
    ['shutdown HOST ignored', 'off', false],
    [
      'enable HOST stuck on',
      'failed: enable of rail HOST: power button of rail HOST was held for 15000 ms, and state of rail HOST still shows the rail on',
      true,
    ],
    [
      'state HOST stuck on',
      'failed: enable of rail HOST: power button of rail HOST was held for 15000 ms, and state of rail HOST still shows the rail on',
      false,
    ],
    ['pgood stuck on', 'failed: pgood still stands 8000 ms after every rail was disabled', false],
    ['good HOST stuck on', 'failed: rail HOST did not go down after the disable', false],
  ])('%s is told by a power-off', async (fault, expected, staysOn) => {
    const bench = createBench('x86-button', { initially: 'on', faults: [fault] });
    expect(told(await bench.run(JOBS.off))).toBe(expected);
    expect(isHostOn(bench)).toBe(staysOn);
  });
});
