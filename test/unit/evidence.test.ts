/** What a fault of a PMBus rail leaves in the record, and how it is told. */
import { describe, expect, it } from 'vitest';
import { transferFailed, transferTimeout } from '../../hw/i2c/errors.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { jsonReporter, lineReporter, linesOf } from '../../src/report/lines.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { Recorded } from '../../src/run/record.ts';
import { createBench, shippedBoard } from './bench.ts';
import { answering } from './i2c-answers.ts';

type EvidenceEntry = Extract<Recorded, { type: 'evidence' }>;

/** The evidence of a run of the reference board, whose PVDDQ is switched and seen over PMBus. */
async function evidenceOf(fault: string, job: 'on' | 'watch' = 'on'): Promise<EvidenceEntry> {
  const bench = createBench('reference', { faults: [fault], initially: job === 'on' ? 'off' : 'on' });
  await bench.run(JOBS[job]);
  expect(bench.enabled()).toEqual([]);
  const [entry, ...others] = bench.recording.filter((each) => each.type === 'evidence');
  expect(others).toEqual([]);
  if (entry === undefined) throw new Error('no evidence');
  return entry;
}

describe('the evidence of a PMBus rail names the bits of its status registers', () => {
  it.each([
    ['on', 'rail PVDDQ never good'],
    ['on', 'rail PVDDQ shorts 5ms after good'],
    ['watch', 'rail PVDDQ droops at 100ms'],
  ] as const)('power %s, %s: in the record, though the output is off by then', async (job, fault) => {
    const { evidence } = await evidenceOf(fault, job);
    const [only] = evidence;
    expect(only).toMatchObject({ device: 'vr_ddr', page: 0, error: null });
    expect(only?.status.map(({ register, bits }) => [register, bits.map(({ name }) => name)])).toEqual([
      ['STATUS_WORD', ['VOUT', 'POWER_GOOD#', 'OFF']],
      ['STATUS_VOUT', ['VOUT_UV_FAULT']],
    ]);
  });

  it('in words in the line for people', async () => {
    const [line] = linesOf(await evidenceOf('rail PVDDQ never good'));
    expect(line?.text).toMatch(
      /^evidence: vr_ddr page 0: STATUS_WORD 0x8840 \(output voltage, power not good, off\), STATUS_VOUT 0x10 \(undervoltage fault\), READ_VOUT \d\.\d{3} V, /,
    );
  });

  it('in words in the line of JSON', async () => {
    const lines: string[] = [];
    const out = { write: (text: string) => void lines.push(text) };
    jsonReporter(out as Parameters<typeof jsonReporter>[0])(await evidenceOf('rail PVDDQ never good'));
    expect(JSON.parse(lines.join('')).evidence[0].status[1]).toEqual({
      register: 'STATUS_VOUT',
      value: 0x10,
      bits: [{ name: 'VOUT_UV_FAULT', means: 'undervoltage fault' }],
    });
  });

  it('and nothing more where another rail failed: a register that has nothing to tell is not asked for', async () => {
    const { evidence } = await evidenceOf('rail P1V8 never good');
    expect(evidence[0]?.status.map(({ register }) => register)).toEqual(['STATUS_WORD']);
    expect(evidence[0]?.status[0]?.bits.map(({ name }) => name)).toEqual(['POWER_GOOD#', 'OFF']);
  });
});

describe('the evidence of several pages', () => {
  it.each([true, false])('has a line for each of them (in the journal: %s)', async (journal) => {
    const bench = createBench('power-ucd90320', { faults: ['rail VDDA_DCM0 shorts 50ms after good'] });
    await bench.run(JOBS.on);
    const entry = bench.recording.find((each) => each.type === 'evidence');
    if (entry?.type !== 'evidence') throw new Error('no evidence');
    let text = '';
    lineReporter({ write: (piece) => (text += piece), columns: null, journal }, 0)(entry);
    const head = journal ? '<5>chassis 0: ' : '      0.0 ms  ';
    const begins = entry.evidence.map(
      ({ device, page }) => `${head}evidence: ${device} page ${page}: STATUS_WORD `,
    );
    expect(begins).toHaveLength(18);
    expect(text.endsWith('\n')).toBe(true);
    expect(text.trimEnd().split('\n')).toEqual(begins.map((begin) => expect.stringContaining(begin)));
  });
});

describe('the evidence of a rail that did not come good, or dropped', () => {
  // hw/boards/reference.json: 1.2 V, good from 1.14 V; one that never comes good rises to half, and the plant takes its
  // limits from where it is good, and from 15 % above the nominal voltage. Linear with exponent -9: steps of 2 mV.
  it('shows the voltage that it had while it was on against the limits of the device', async () => {
    const { evidence } = await evidenceOf('rail PVDDQ never good');
    expect(evidence[0]?.voltsBefore).toBeCloseTo(0.6, 2);
    expect(evidence[0]?.limits).toEqual([
      { limit: 'VOUT_UV_FAULT_LIMIT', volts: 584 / 512, wrong: 'below', passed: true },
      { limit: 'VOUT_OV_FAULT_LIMIT', volts: 707 / 512, wrong: 'above', passed: false },
      { limit: 'POWER_GOOD_ON', volts: 584 / 512, wrong: 'below', passed: true },
    ]);
  });

  it('says so in words', async () => {
    expect(linesOf(await evidenceOf('rail PVDDQ never good'))[0]?.text).toMatch(
      /READ_VOUT \d\.\d{3} V, 0\.600 V while it was on, below VOUT_UV_FAULT_LIMIT 1\.141 V, below POWER_GOOD_ON 1\.141 V$/,
    );
  });

  it('does not judge by what is read of an output that is off', async () => {
    // Nobody reads the rail before it is found dead, and it is off when its device is asked.
    const board = structuredClone(shippedBoard('reference'));
    const { P1V8 } = board.chassis['0']?.rails ?? {};
    if (P1V8 === undefined) throw new RangeError('another board');
    P1V8.enable = { pmbus: 'vr_ddr', page: 1 };
    const bench = createBench(board, { faults: ['rail P1V8 never good'] });
    await bench.run(JOBS.on);
    const [entry] = bench.recording.filter((each) => each.type === 'evidence');
    const ofRail = entry?.evidence.find(({ page }) => page === 1);
    expect(ofRail).toMatchObject({ voltsBefore: null });
    expect(ofRail?.limits.map(({ limit, passed }) => [limit, passed])).toEqual([
      ['VOUT_UV_FAULT_LIMIT', null],
      ['VOUT_OV_FAULT_LIMIT', null],
      ['POWER_GOOD_ON', null],
    ]);
    if (entry !== undefined) expect(linesOf(entry)[0]?.text).not.toMatch(/below/);
  });

  it('knows no voltage of a rail that was not on, though it was looked at', async () => {
    const { evidence } = await evidenceOf('i2c vr_ddr nack at 20ms');
    expect(evidence[0]).toMatchObject({ statusWord: null, voltsBefore: null, limits: [] });
    expect(evidence[0]?.error).toMatch(/nothing acknowledges/);
  });

  it('asks for no limits of an output that nothing is said against', async () => {
    const { evidence } = await evidenceOf('rail P1V8 never good');
    expect(evidence[0]).toMatchObject({ limits: [], voltsBefore: null });
  });

  it('keeps the voltage before the rail was told to go off, and forgets it when it is told to come on', async () => {
    const board = shippedBoard('reference');
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
    const hardware = await clock.runUntil(openChassis(board, 0, ports));
    const told = async () => (await clock.runUntil(hardware.evidence('PVDDQ')))[0]?.voltsBefore ?? null;
    const look = () => clock.runUntil(hardware.readGood('PVDDQ'));
    const turn = async (on: boolean) => {
      await clock.runUntil(hardware.driveEnable('PVDDQ', on));
      await clock.advance(500);
      await look();
    };
    await clock.runUntil(hardware.observe());
    await look();
    await turn(false);
    // A rail that is told so twice, after it fell.
    await turn(false);
    expect(await told()).toBeCloseTo(1.2, 2);
    plant.addFault(parseFault('rail PVDDQ never good'));
    await turn(true);
    expect(await told()).toBeNull();
    await turn(false);
    expect(await told()).toBeCloseTo(0.6, 2);
  });
});

describe('evidence of a device that is sick', () => {
  /** The evidence of a rail that shorted, and how long it took. */
  async function sick(
    read: (command: number, wait: (ms: number) => Promise<undefined>) => Promise<number | undefined>,
    failed: string | null = 'PVDDQ',
  ) {
    const board = shippedBoard('reference');
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on', faults: [parseFault('rail PVDDQ shorts')] });
    const wait = (ms: number) =>
      new Promise<undefined>((resolve) => void clock.after(ms, () => resolve(undefined)));
    const hardware = await clock.runUntil(
      openChassis(board, 0, {
        gpio: async () => createMockGpio(plant),
        i2c: async () => answering(createMockI2c(plant), (command) => read(command, wait)),
        clock,
      }),
    );
    const fromMs = clock.nowMs();
    const [only] = await clock.runUntil(hardware.evidence(failed));
    if (only === undefined) throw new Error('no evidence');
    return { evidence: only, tookMs: clock.nowMs() - fromMs };
  }

  /** All that is asked for of this rail, in its order: PMBus specification 1.3.1 part II, table 31. */
  const ASKED = [0x79, 0x7a, 0x20, 0x8b, 0x44, 0x43, 0x40, 0x42, 0x5e, 0x5f];

  it('is asked for by these commands', async () => {
    const asked: number[] = [];
    const { evidence } = await sick(async (command) => {
      asked.push(command);
      return undefined;
    });
    expect(asked).toEqual(ASKED);
    expect(evidence.error).toBeNull();
  });

  it.each(ASKED)(
    'that hangs from command %i on is waited for once, and what was read before is kept',
    async (from) => {
      const { evidence, tookMs } = await sick(async (command, wait) => {
        if (ASKED.indexOf(command) < ASKED.indexOf(from)) return undefined;
        await wait(1_000);
        throw transferTimeout({ bus: 3, address: 0x60, command }, 1_000, 'something holds the bus');
      });
      expect(tookMs).toBe(1_000);
      expect(evidence.error).toMatch(
        /^0x60 on I2C bus 3 \(command 0x[0-9a-f]{2}\) did not answer within 1000 ms: [^;]*$/,
      );
      expect(evidence.statusWord === null).toBe(from === 0x79);
      expect(evidence.status).toHaveLength(Math.min(ASKED.indexOf(from), 2));
    },
  );

  it.each([
    [900, 6 * 900],
    // Nothing more is asked when five seconds are over.
    [1_000, 5_000],
  ])('that takes %i ms for each register is given up after five seconds', async (eachMs, expectedMs) => {
    const { evidence, tookMs } = await sick((_, wait) => wait(eachMs));
    expect(tookMs).toBe(expectedMs);
    expect(evidence.voutVolts).not.toBeNull();
    expect(evidence.error).toBe('the rest was not asked for: the evidence took more than 5000 ms');
  });

  it('that does not call its output off is not judged by what it reads after the enables are', async () => {
    // Undervoltage and not good, but the bit OFF is clear, as of a device that only watches.
    const { evidence } = await sick(async (command) => (command === 0x79 ? 0x8800 : undefined));
    expect(evidence).toMatchObject({ statusWord: 0x8800, voutVolts: 0, voltsBefore: null });
    expect(evidence.limits.map(({ passed }) => passed)).toEqual([null, null, null]);
  });

  it('that lacks the limits is no error', async () => {
    const { evidence } = await sick(async (command) => {
      if (ASKED.indexOf(command) < ASKED.indexOf(0x44)) return undefined;
      throw transferFailed(new Error('refused'), { bus: 3, address: 0x60, command });
    });
    expect(evidence).toMatchObject({ limits: [], error: null });
    expect(evidence.readings.VOUT_UV_FAULT_LIMIT).toEqual({ error: expect.stringContaining('refused') });
  });

  it('that refuses what a device has to have is told each of them', async () => {
    const refused = [0x7a, 0x8b];
    const { evidence } = await sick(async (command) => {
      if (!refused.includes(command)) return undefined;
      throw transferFailed(new Error('refused'), { bus: 3, address: 0x60, command });
    });
    expect(evidence.error?.split('; ')).toEqual(
      refused.map((command) => expect.stringContaining(`command 0x${command.toString(16)}`)),
    );
    expect(evidence).toMatchObject({ voutVolts: null, limits: [{}, {}, {}] });
  });

  it('has everything that it answered, by the name of its register', async () => {
    const { evidence } = await sick(async () => undefined);
    const { status, voutVolts, limits } = evidence;
    const expected = [
      ...status.map(({ register, value }) => [register, { value }] as const),
      ['READ_VOUT', { value: voutVolts }] as const,
      ...limits.map(({ limit, volts }) => [limit, { value: volts }] as const),
    ];
    expect(expected).toHaveLength(6);
    expect(evidence.readings).toMatchObject(Object.fromEntries(expected));
    // And what it has none of.
    const others = Object.entries(evidence.readings).filter(
      ([name]) => !expected.some(([has]) => has === name),
    );
    expect(others.map(([name]) => name)).toEqual([
      'VOUT_UV_WARN_LIMIT',
      'VOUT_OV_WARN_LIMIT',
      'POWER_GOOD_OFF',
    ]);
    for (const [, reading] of others) expect(reading).toHaveProperty('error');
  });

  it('has the measurement that goes with what its status speaks of', async () => {
    // 8 times 2 to the power of -3: 1 A (PMBus specification 1.3.1 part II, 7.3).
    const asked: Readonly<Record<number, number>> = { 121: 0x4800, 123: 1 << 7, 140: 0xe808 };
    const { evidence } = await sick(async (command) => asked[command]);
    expect(evidence.readings.READ_IOUT).toEqual({ value: 1 });
    expect(evidence.readings).not.toHaveProperty('READ_VIN');
  });

  it.each([
    // Nothing is said against its output.
    ['P1V8', 0x0840, 0],
    ['P1V8', 0x8840, 3],
    // Where no rail is known to have failed it may be any.
    [null, 0x0840, 3],
    ['PVDDQ', 0x0840, 3],
  ])('where %s failed, and whose STATUS_WORD is %i, is asked for %i limits', async (failed, word, limits) => {
    const { evidence } = await sick(async (command) => (command === 0x79 ? word : undefined), failed);
    expect(evidence.limits).toHaveLength(limits);
  });

  it('is one for each page, with the rails that it switches or shows and what the board takes for good', async () => {
    const board = structuredClone(shippedBoard('reference'));
    const { P1V8, PVCORE } = board.chassis['0']?.rails ?? {};
    if (P1V8 === undefined || PVCORE === undefined) throw new RangeError('another board');
    P1V8.good = { pmbus: 'vr_ddr', page: 0, status: true };
    PVCORE.enable = { pmbus: 'vr_ddr', page: 1 };
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
    const hardware = await clock.runUntil(openChassis(board, 0, ports));
    await clock.runUntil(hardware.observe());
    // Its status tells nothing of the voltage of P1V8; PVDDQ was seen with that of their page.
    await clock.runUntil(hardware.driveEnable('PVDDQ', false));
    const found = await clock.runUntil(hardware.evidence(null));
    expect(found.map(({ device, page, rails }) => ({ device, page, rails }))).toEqual([
      { device: 'vr_ddr', page: 0, rails: { P1V8: {}, PVDDQ: { minVolts: 1.14, maxVolts: 1.26 } } },
      { device: 'vr_ddr', page: 1, rails: { PVCORE: {} } },
    ]);
    expect(found.map(({ voltsBefore }) => voltsBefore)).toEqual([expect.closeTo(1.8, 2), null]);
  });
});
