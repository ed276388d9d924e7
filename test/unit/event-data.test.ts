import { describe, expect, it } from 'vitest';
import { createEventData, eventData } from '../../src/cli/event-data.ts';
import { PowerError } from '../../src/errors.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { faultError } from '../../src/run/outcome.ts';
import type { Recorded } from '../../src/run/record.ts';
import { createBench } from './bench.ts';

/** What the runs of a job on the reference board say of what failed, and the error of the last one. */
async function failing(fault: string, initially: 'off' | 'on', ...jobs: readonly (keyof typeof JOBS)[]) {
  const bench = createBench('reference', { faults: [fault], initially });
  const chassis = bench.board.chassis['0'];
  if (chassis === undefined) throw new RangeError('no chassis 0');
  let result = await bench.run(JOBS[jobs[0] ?? 'on']);
  for (const job of jobs.slice(1)) result = await bench.run(JOBS[job]);
  return { chassis, entries: bench.recording, error: faultError(0, result.sequence) };
}

describe('the additional data of an entry in the event log', () => {
  it('of a rail behind PMBus has its registers, voltage and limit, as phosphor-power writes them', async () => {
    const { chassis, entries } = await failing('rail PVDDQ never good', 'off', 'on');
    const data = eventData(chassis, entries);
    expect(data).toMatchObject({
      DEVICE: expect.any(String),
      PAGE: '0',
      STATUS_WORD: expect.stringMatching(/^0x[0-9a-f]{4}$/),
      READ_VOUT: expect.stringMatching(/^\d+(\.\d+)?$/),
      VOUT_UV_FAULT_LIMIT: expect.stringMatching(/^\d+(\.\d+)?$/),
    });
    for (const [name, value] of Object.entries(data)) {
      if (name.startsWith('STATUS_') && name !== 'STATUS_WORD') expect(value).toMatch(/^0x[0-9a-f]{2}$/);
    }
    expect(data.GPIO_LINE).toBeUndefined();
  });

  it('of a rail behind a line has the line, and the level that it should not have', async () => {
    const { chassis, entries } = await failing('rail P1V8 never good', 'off', 'on');
    const good = chassis.rails.P1V8?.good;
    expect(eventData(chassis, entries)).toEqual({
      GPIO_LINE: expect.stringContaining(good && 'line' in good ? String(good.line) : '?'),
      GPIO_VALUE: '0',
    });
  });

  it('of a low-active line has the level 1', async () => {
    const { chassis, entries } = await failing('rail P1V8 never good', 'off', 'on');
    const rail = chassis.rails.P1V8;
    if (rail?.good === undefined) throw new TypeError('P1V8 has no signal');
    const low = {
      ...chassis,
      rails: { ...chassis.rails, P1V8: { ...rail, good: { ...rail.good, active: 'low' } } },
    };
    expect(eventData(low as typeof chassis, entries).GPIO_VALUE).toBe('1');
  });

  it('of a power-off that fails has that of the rail that stays', async () => {
    const { chassis, entries } = await failing('rail PVDDQ slow off 600s', 'on', 'off');
    expect(eventData(chassis, entries)).toMatchObject({
      DEVICE: expect.any(String),
      STATUS_WORD: expect.any(String),
    });
  });

  it('of no rail is none', async () => {
    const { chassis, entries } = await failing('pgood never', 'off', 'on');
    expect(eventData(chassis, entries)).toEqual({});
    expect(eventData(chassis, [])).toEqual({});
  });

  it('of a run is that of its error, whoever makes it of the same fault again, and of no other', async () => {
    const { chassis, entries, error } = await failing('rail P1V8 never good', 'off', 'on');
    const known = createEventData(chassis);
    known.remember(error, entries);
    const again = new PowerError(error.code, 'the same fault', { fault: error.details.fault });
    expect(known.of(again)).toEqual(known.of(error));
    expect(known.of(error).GPIO_VALUE).toBe('0');
    expect(known.of(new PowerError('PGOOD_LOST', 'another'))).toEqual({});
    expect(known.of(null)).toEqual({});
    const bare = new PowerError('HARDWARE_FAULT', 'no fault');
    known.remember(bare, entries as readonly Recorded[]);
    expect(known.of(bare).GPIO_VALUE).toBe('0');
  });
});
