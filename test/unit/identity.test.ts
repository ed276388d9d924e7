/** PMBus devices of which the board file says what they are. */
import { describe, expect, it } from 'vitest';
import type { Board } from '../../src/board/schema.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench, shippedBoard } from './bench.ts';

const REPLACED = 'device vr_ddr replaced';

/** The reference board, whose regulator of PVDDQ has power by itself. */
function known(identity: Record<string, string> = { MFR_ID: 'TI', IC_DEVICE_ID: '0x00ff10' }): Board {
  const board = shippedBoard('reference');
  const { vr_ddr: device } = board.devices;
  if (device === undefined) throw new RangeError('no vr_ddr');
  return { ...board, devices: { vr_ddr: { ...device, identity } } };
}

const driven = ({ plant }: Bench) =>
  plant.history.flatMap((event) => (event.type === 'line' && event.role === 'enable' ? [event.line] : []));

describe('a device that says what the board file says', () => {
  it('comes on, goes off and is read as before', async () => {
    const bench = createBench(known());
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect([bench.plant.hazards, bench.plant.misuses]).toEqual([[], []]);
  });
});

describe('another device at its address', () => {
  it('ends a power-on before anything moves', async () => {
    const bench = createBench(known(), { faults: [REPLACED] });
    await expect(bench.run(JOBS.on)).rejects.toMatchObject({
      code: 'PMBUS_IDENTITY',
      details: { register: 'MFR_ID', found: '"OTHER"', expected: 'TI', chassis: 0 },
    });
    expect(driven(bench)).toEqual([]);
  });

  it('is told to switch off, and a power-off does not take its word for it', async () => {
    const bench = createBench(known(), { initially: 'on' });
    bench.plant.addFault(bench.fault(REPLACED));
    const { state, sequence } = await bench.run(JOBS.off);
    expect([state, sequence.fault]).toMatchObject([
      'failed',
      { kind: 'hardware', rail: 'PVDDQ', errorCode: 'PMBUS_IDENTITY' },
    ]);
    expect(bench.enabled()).toEqual([]);
  });

  it('that has its power from a rail is told nothing, and that ends the power-on', async () => {
    const bench = createBench(shippedBoard('point-of-load'), { faults: ['device vr_cpu replaced'] });
    const { state, sequence } = await bench.run(JOBS.on);
    expect([state, sequence.fault]).toMatchObject([
      'failed',
      { kind: 'hardware', rail: 'VDD', errorCode: 'PMBUS_IDENTITY' },
    ]);
    const told = bench.plant.history.filter((event) => event.type === 'drive' && event.rail === 'VDD');
    expect(told.some((event) => event.type === 'drive' && event.asserted)).toBe(false);
    expect(bench.enabled()).toEqual([]);
  });

  it('is no evidence: what it says of itself is all that is told of it', async () => {
    const bench = createBench(known(), { initially: 'on', faults: ['rail P1V8 shorts at 100ms'] });
    bench.plant.addFault(bench.fault(`${REPLACED} at 50ms`));
    await bench.run(JOBS.watch);
    // It was asked when the watch began, and no other one since.
    expect((await bench.run(JOBS.watch).catch((error: unknown) => error)) as object).toMatchObject({
      code: 'PMBUS_IDENTITY',
    });
  });
});

describe('an identity in a board file', () => {
  const problemsOf = (identity: unknown) => {
    const { vr_ddr } = shippedBoard('reference').devices;
    const board = { ...shippedBoard('reference'), devices: { vr_ddr: { ...vr_ddr, identity } } };
    return checkBoard(JSON.parse(JSON.stringify(board))).problems;
  };

  it.each([
    { MFR_ID: 'TI' },
    { MFR_ID: 'Texas Instruments', MFR_MODEL: 'TPS 1' },
    { IC_DEVICE_ID: '0x4D' },
    { MFR_REVISION: 'x'.repeat(30), IC_DEVICE_REV: `0x${'00'.repeat(30)}` },
  ])('is %j', (identity) => {
    expect(problemsOf(identity)).toEqual([]);
  });

  it.each([
    {},
    { MFR_ID: '' },
    { MFR_ID: 'TI ' },
    { MFR_ID: 'T\u00c4' },
    { MFR_ID: 17 },
    { MFR_DATE: '160301' },
    { MFR_ID: '0x4' },
    { MFR_ID: '0xTI' },
    { MFR_ID: 'x'.repeat(31) },
    { IC_DEVICE_ID: `0x${'00'.repeat(31)}` },
  ])('is not %j', (identity) => {
    expect(problemsOf(identity)).not.toEqual([]);
  });
});
