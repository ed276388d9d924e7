/** What the evidence of a fault says, for everything that it can say. */
import { describe, expect, it } from 'vitest';
import { STATUS_REGISTERS, STATUS_WORD, statusReading } from '../../hw/pmbus/status.ts';
import { failureFields } from '../../src/report/events.ts';
import { linesOf } from '../../src/report/lines.ts';
import { diagnose, type LevelsAtFault } from '../../src/run/diagnosis.ts';
import type { Evidence } from '../../src/run/evidence.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { expectDone, faultError } from '../../src/run/outcome.ts';
import type { Plan } from '../../src/sequence/plan.ts';
import type { Fault } from '../../src/sequence/state.ts';
import { createBench } from './bench.ts';

const rail = (name: string, ...needs: string[]): Plan['rails'][number] => ({
  name,
  needs,
  neededBy: [],
  offAfter: [],
  watched: null,
  followers: [],
  poweredBy: [],
  switchedBy: [],
  seenBy: [],
  settleMs: 0,
  onTimeoutMs: 100,
  offTimeoutMs: 100,
  offSettleMs: 0,
  observable: true,
  pulsed: null,
  isSetUp: false,
  isOptional: false,
  isLogOnly: false,
});
/** A, then B behind it, then C behind B. */
const PLAN: Plan = {
  rails: [rail('A'), rail('B', 'A'), rail('C', 'B')],
  pgood: { deglitchMs: 0, onTimeoutMs: 100, offTimeoutMs: 100, rails: [], hasSignals: true, poweredBy: [] },
  resets: [],
  sleep: null,
  latched: false,
  minOffMs: 0,
  absent: [],
};

const faultOf = (kind: Fault['kind'], of: string | null = null): Fault => ({
  kind,
  rail: of,
  state: 'pgood',
  atMs: 0,
  reason: `${kind} ${of}`,
  errorCode: null,
});
const UP = { enabled: true, good: true, wasUp: true, wasMissed: false, isFresh: true };
const LOST = { ...UP, good: false };
const STALE = { ...UP, isFresh: false };
const OFF = { enabled: false, good: false, wasUp: false, wasMissed: false, isFresh: true };
const RISING = { ...LOST, wasUp: false };
const levels = (...of: LevelsAtFault['rails'][string][]): LevelsAtFault => ({
  rails: Object.fromEntries(PLAN.rails.map(({ name }, index) => [name, of[index] ?? UP])),
  pgood: false,
  pgoodLacks: [],
});

/** What a page says whose registers have these values, by their names. */
function page(shows: string | null, values: Readonly<Record<string, number>>, more: Partial<Evidence> = {}) {
  const { STATUS_WORD: statusWord = 0 } = values;
  const registers = [STATUS_WORD, ...STATUS_REGISTERS].filter(({ name }) => values[name] !== undefined);
  const said: Evidence = {
    device: `vr_${shows ?? 'watcher'}`,
    page: 0,
    rails: shows === null ? {} : { [shows]: {} },
    statusWord,
    status: registers.map((register) => statusReading(register, values[register.name] ?? 0)),
    voutVolts: 0,
    voltsBefore: null,
    limits: [],
    readings: {},
    error: null,
    ...more,
  };
  return said;
}
const SILENT: Partial<Evidence> = {
  statusWord: null,
  status: [],
  voutVolts: null,
  error: 'nothing acknowledges',
};
const UNDER = { STATUS_WORD: 0x8840, STATUS_VOUT: 1 << 4 };
const OVERCURRENT = { STATUS_WORD: 0x4010, STATUS_IOUT: 1 << 7 };
const QUIET = { STATUS_WORD: 0x0840 };

describe('what a device latched', () => {
  // PMBus specification 1.3.1, part II, 17.2 to 17.6: bit by bit.
  it.each([
    ['STATUS_VOUT', 7, 'overvoltage'],
    ['STATUS_VOUT', 4, 'undervoltage'],
    ['STATUS_VOUT', 2, 'neverCame'],
    ['STATUS_VOUT', 0, 'tracking'],
    ['STATUS_IOUT', 7, 'overcurrent'],
    ['STATUS_IOUT', 6, 'overcurrent'],
    ['STATUS_IOUT', 4, 'undercurrent'],
    ['STATUS_IOUT', 1, 'overpower'],
    ['STATUS_INPUT', 7, 'input'],
    ['STATUS_INPUT', 4, 'input'],
    ['STATUS_INPUT', 3, 'input'],
    ['STATUS_INPUT', 2, 'input'],
    ['STATUS_TEMPERATURE', 7, 'overtemperature'],
    ['STATUS_TEMPERATURE', 4, 'undertemperature'],
    ['STATUS_WORD', 5, 'overvoltage'],
    ['STATUS_WORD', 4, 'overcurrent'],
    ['STATUS_WORD', 3, 'input'],
  ] as const)('%s bit %i is %s of the rail', (register, bit, cause) => {
    const evidence = [page('B', { STATUS_WORD: 0, [register]: 1 << bit })];
    const found = diagnose(PLAN, { fault: faultOf('railLost', 'B'), evidence, levels: levels(UP, LOST, UP) });
    expect(found).toMatchObject({ rail: 'B', cause, unread: [] });
    expect(found.because).toContain(`${register} of vr_B page 0 says`);
  });

  it.each([
    // Warnings, limits that were asked for, and what the specification leaves to the device.
    ['STATUS_VOUT', 0b0110_1010],
    ['STATUS_IOUT', 0b0010_0101],
    ['STATUS_INPUT', 0b0110_0011],
    ['STATUS_TEMPERATURE', 0b0110_1111],
    ['STATUS_CML', 0xff],
    ['STATUS_MFR_SPECIFIC', 0xff],
    ['STATUS_WORD', 0xffc7],
  ])('%s %i is no fault', (register, value) => {
    const evidence = [page('B', { STATUS_WORD: 0, [register]: value })];
    const found = diagnose(PLAN, { fault: faultOf('pgoodLost'), evidence, levels: levels() });
    expect(found).toMatchObject({ rail: null, cause: 'unknown' });
  });

  it.each(['pgoodLost', 'pgoodTimeout'] as const)(
    '%s: names the signals of pgood that were missing, and none where their levels were not kept',
    (kind) => {
      const found = (kept: LevelsAtFault | null) =>
        diagnose(PLAN, { fault: faultOf(kind), evidence: [], levels: kept }).because;
      const lacking = (...pgoodLacks: string[]) => found({ ...levels(), pgoodLacks });
      expect(found(null)).toBe('every rail that has a good signal was good');
      expect(lacking('pgood 2')).toBe(`${found(null)}; pgood 2 was missing`);
      expect(lacking('pgood 1', 'pgood 3')).toBe(`${found(null)}; pgood 1 and pgood 3 were missing`);
    },
  );

  it('blames no rail that the chassis can do without for a fault of another, unless it draws the others down', () => {
    const [a, b, c] = PLAN.rails;
    const plan: Plan = { ...PLAN, rails: [a, b, c && { ...c, isLogOnly: true }].filter((each) => !!each) };
    const found = (evidence: Evidence[], kept: LevelsAtFault) =>
      diagnose(plan, { fault: faultOf('pgoodLost'), evidence, levels: kept });
    expect(found([], levels(UP, UP, LOST))).toEqual({
      rail: null,
      cause: 'unknown',
      because: 'every rail that has a good signal was good; C was missing, but the chassis does without it',
      unread: [],
    });
    expect(found([page('C', UNDER)], levels(UP, UP, LOST))).toMatchObject({ rail: null, cause: 'unknown' });
    expect(found([page('C', OVERCURRENT)], levels(UP, LOST, LOST))).toMatchObject({
      rail: 'C',
      cause: 'overcurrent',
    });
    const before = { ...LOST, wasMissed: true };
    expect(found([page('C', OVERCURRENT)], levels(UP, LOST, before))).toMatchObject({ rail: 'B' });
  });

  it('tells each rail that is missing and that the chassis can do without, and none that is there or was not on', () => {
    const [a, b, c] = PLAN.rails;
    if (!a || !b || !c) throw new RangeError('another plan');
    const plan: Plan = { ...PLAN, rails: [a, { ...b, isLogOnly: true }, { ...c, isLogOnly: true }] };
    const because = (kept: LevelsAtFault) =>
      diagnose(plan, { fault: faultOf('pgoodLost'), evidence: [], levels: kept }).because;
    const good = 'every rail that has a good signal was good';
    expect(because(levels(UP, LOST, LOST))).toBe(
      `${good}; B and C were missing, but the chassis does without them`,
    );
    expect(because(levels(UP, UP, { ...OFF, wasMissed: true }))).toBe(
      `${good}; C was missing, but the chassis does without it`,
    );
    expect(because(levels(UP, UP, OFF))).toBe(good);
    expect(because(levels(UP, UP, UP))).toBe(good);
  });

  it('blames a rail that the chassis can do without where the fault is its own', () => {
    const rails = PLAN.rails.map((each) => ({ ...each, isLogOnly: each.name === 'C' }));
    const facts = { fault: faultOf('railLost', 'C'), evidence: [], levels: levels(UP, UP, LOST) };
    expect(diagnose({ ...PLAN, rails }, facts)).toMatchObject({ rail: 'C', cause: 'dropped' });
  });

  it('blames a power supply that was reported first, where power went or did not come, and tells what was seen behind it', () => {
    const supplyError = 'xyz.openbmc_project.Power.PowerSupply.Error.PSKillFault';
    const evidence = [page('B', UNDER)];
    const seen = { evidence, levels: levels(UP, LOST, UP), supplyError };
    for (const kind of ['railLost', 'railTimeout'] as const) {
      expect(diagnose(PLAN, { fault: faultOf(kind, 'B'), ...seen })).toEqual({
        rail: null,
        cause: 'supply',
        because: `it is reported to have ${supplyError}; behind it, of rail B: ${
          diagnose(PLAN, { fault: faultOf(kind, 'B'), evidence, levels: seen.levels }).because
        }`,
        unread: [],
      });
    }
    for (const kind of ['pgoodLost', 'pgoodTimeout'] as const) {
      const found = (evidence: readonly Evidence[]) =>
        diagnose(PLAN, { fault: faultOf(kind), evidence, levels: levels(), supplyError });
      const told = `it is reported to have ${supplyError}`;
      expect(found([])).toEqual({ rail: null, cause: 'supply', because: told, unread: [] });
      // What belongs to no rail stays beside it as well.
      const input = page(null, { STATUS_WORD: 0, STATUS_INPUT: 1 << 4 });
      expect(found([input])).toMatchObject({ rail: null, cause: 'supply' });
      expect(found([input]).because).toMatch(
        /^it is reported to have [\w.]+; behind it, STATUS_INPUT of vr_watcher page 0 says /,
      );
    }
    // Power that does not go, and a line that failed, are no work of a supply.
    for (const kind of ['railStray', 'powerOffTimeout', 'hardware'] as const) {
      const alone = diagnose(PLAN, { fault: faultOf(kind, 'B'), evidence: [], levels: null });
      expect(diagnose(PLAN, { fault: faultOf(kind, 'B'), evidence: [], levels: null, supplyError })).toEqual(
        alone,
      );
    }
  });

  it('of several faults at once names the one that the others follow from', () => {
    const said = { ...UNDER, STATUS_IOUT: 1 << 7, STATUS_INPUT: 1 << 4 };
    const fault = faultOf('railLost', 'B');
    const cause = (values: Readonly<Record<string, number>>) =>
      diagnose(PLAN, { fault, evidence: [page('B', values)], levels: levels(UP, LOST, UP) }).cause;
    expect(cause(said)).toBe('overcurrent');
    expect(cause({ ...UNDER, STATUS_INPUT: 1 << 4 })).toBe('input');
    expect(cause({ ...UNDER, STATUS_VOUT: (1 << 4) | (1 << 2) })).toBe('neverCame');
    expect(cause({ ...UNDER, STATUS_VOUT: (1 << 4) | (1 << 7) })).toBe('overvoltage');
  });

  it('is not held against a rail that was good, nor against one that was off', () => {
    const facts = { fault: faultOf('railLost', 'C'), evidence: [page('B', UNDER), page('C', QUIET)] };
    const expected = { rail: 'C', cause: 'dropped' };
    expect(diagnose(PLAN, { ...facts, levels: levels(UP, UP, LOST) })).toMatchObject(expected);
    expect(diagnose(PLAN, { ...facts, levels: levels(UP, OFF, LOST) })).toMatchObject(expected);
  });
});

describe('of several rails that are dead the first of the sequence is named', () => {
  const DEAD = levels(LOST, LOST, LOST);

  it('by its line, whatever the devices behind it latched', () => {
    const evidence = [page('B', UNDER), page('C', UNDER)];
    for (const fault of [faultOf('pgoodLost'), faultOf('railLost', 'A'), faultOf('railLost', 'C')])
      expect(diagnose(PLAN, { fault, evidence, levels: DEAD })).toMatchObject({
        rail: 'A',
        cause: 'dropped',
      });
  });

  it('by its device', () => {
    const evidence = [page('A', UNDER), page('B', UNDER), page('C', UNDER)];
    for (const order of [evidence, evidence.toReversed()])
      expect(diagnose(PLAN, { fault: faultOf('pgoodLost'), evidence: order, levels: DEAD })).toMatchObject({
        rail: 'A',
        cause: 'undervoltage',
      });
  });

  it('but a fault that no loss of another rail brings about comes before those that one does', () => {
    const evidence = [page('A', UNDER), page('C', { ...UNDER, STATUS_IOUT: 1 << 7 })];
    expect(diagnose(PLAN, { fault: faultOf('pgoodLost'), evidence, levels: DEAD })).toMatchObject({
      rail: 'C',
      cause: 'overcurrent',
    });
  });
});

describe('a rail without a latched fault', () => {
  const limit = (name: string, volts: number, wrong: 'above' | 'below') => ({
    limit: name,
    volts,
    wrong,
    passed: null,
  });
  it.each([
    [0.5, [limit('VOUT_UV_FAULT_LIMIT', 0.9, 'below')], {}, 'undervoltage'],
    [1.5, [limit('VOUT_OV_FAULT_LIMIT', 1.1, 'above')], {}, 'overvoltage'],
    [0.5, [], { minVolts: 0.9 }, 'undervoltage'],
    [1.5, [], { minVolts: 0.9, maxVolts: 1.1 }, 'overvoltage'],
    // Warnings, and where power is good, are no faults.
    [0.95, [limit('VOUT_UV_WARN_LIMIT', 0.97, 'below'), limit('POWER_GOOD_ON', 1, 'below')], {}, 'dropped'],
    // On the limit is not beyond it.
    [0.9, [limit('VOUT_UV_FAULT_LIMIT', 0.9, 'below')], { minVolts: 0.9 }, 'dropped'],
  ] as const)('with %d V against %o and %o: %s', (voltsBefore, limits, ofBoard, cause) => {
    const evidence = [page('B', QUIET, { voltsBefore, limits, rails: { B: ofBoard } })];
    const found = diagnose(PLAN, { fault: faultOf('railLost', 'B'), evidence, levels: levels(UP, LOST, UP) });
    expect(found).toMatchObject({ rail: 'B', cause });
  });

  it('is told with the voltage, the limit and the side, and by its line with what that did', () => {
    const fault = faultOf('pgoodTimeout');
    const because = (evidence: readonly Evidence[], of: LevelsAtFault) =>
      diagnose(PLAN, { fault, evidence, levels: of }).because;
    const low = page('A', QUIET, { voltsBefore: 0.5, rails: { A: { minVolts: 0.9 } } });
    expect(because([low], levels())).toBe('0.500 V of vr_A page 0 was below minVolts 0.900 V');
    expect(because([], levels(LOST, UP, UP))).toBe('its good signal was gone');
    expect(because([], levels(UP, RISING, UP))).toBe('its good signal had not come');
  });

  it('that was still rising when another one was late is not blamed, and is where it was due', () => {
    const late = levels(UP, RISING, RISING);
    const of = (fault: Fault) => diagnose(PLAN, { fault, evidence: [], levels: late });
    expect(of(faultOf('railTimeout', 'C'))).toMatchObject({ rail: 'C', cause: 'neverCame' });
    expect(of(faultOf('pgoodTimeout'))).toMatchObject({ rail: 'B', cause: 'neverCame' });
  });

  it('that was still rising is blamed for a low voltage where its time was over, and for a high one in any case', () => {
    const rails = { B: { minVolts: 0.9, maxVolts: 1.1 } };
    const found = (fault: Fault, voltsBefore: number) => {
      const evidence = [page('B', QUIET, { voltsBefore, rails })];
      const { rail, cause } = diagnose(PLAN, { fault, evidence, levels: levels(UP, RISING, RISING) });
      return `${rail} ${cause}`;
    };
    expect(found(faultOf('railTimeout', 'C'), 0.5)).toBe('C neverCame');
    expect(found(faultOf('railTimeout', 'B'), 0.5)).toBe('B undervoltage');
    expect(found(faultOf('pgoodTimeout'), 0.5)).toBe('B undervoltage');
    expect(found(faultOf('railTimeout', 'C'), 1.5)).toBe('B overvoltage');
  });

  it('and power that does not go are what the fault says', () => {
    const of = (fault: Fault) => diagnose(PLAN, { fault, evidence: [page('A', UNDER)], levels: levels() });
    expect(of(faultOf('railStray', 'B'))).toMatchObject({ rail: 'B', cause: 'stray' });
    expect(of(faultOf('powerOffTimeout', 'B'))).toMatchObject({ rail: 'B', cause: 'stuck' });
    expect(of(faultOf('powerOffTimeout'))).toMatchObject({ rail: null, cause: 'stuck' });
  });
});

describe('it never guesses', () => {
  it('where every rail was good it says unknown', () => {
    for (const kind of ['pgoodLost', 'pgoodTimeout'] as const)
      expect(diagnose(PLAN, { fault: faultOf(kind), evidence: [], levels: levels() })).toEqual({
        rail: null,
        cause: 'unknown',
        because: 'every rail that has a good signal was good',
        unread: [],
      });
  });

  it('and is over at once where rails need each other in many ways', () => {
    // Two rails a layer, each needing both of the layer before: 2 to the power of 30 ways through them.
    const layers = Array.from({ length: 30 }, (_, layer) =>
      ['L', 'R'].map((side) =>
        rail(`${side}${layer}`, ...(layer === 0 ? [] : [`L${layer - 1}`, `R${layer - 1}`])),
      ),
    );
    const rails = [...layers.flat(), rail('LAST', 'L29', 'R29')];
    const found = diagnose(
      { ...PLAN, rails },
      { fault: faultOf('pgoodLost'), evidence: [page('LAST', UNDER)], levels: null },
    );
    expect(found).toMatchObject({ rail: null, cause: 'unknown' });
  });

  it.each([
    ['every rail that has a good signal was good', [], PLAN],
    [
      'every rail that has a good signal was good',
      [],
      { ...PLAN, rails: PLAN.rails.map((each) => ({ ...each, observable: each.name === 'C' })) },
    ],
    [
      'no rail has a signal of its own',
      [],
      { ...PLAN, rails: PLAN.rails.map((each) => ({ ...each, observable: false })) },
    ],
    ['no device could be read', [page('A', {}, SILENT), page('B', {}, SILENT)], PLAN],
    ['no device says what it was', [page('A', {}, SILENT), page('B', QUIET)], PLAN],
    ['no device says what it was', [page('A', QUIET, { voutVolts: null })], PLAN],
    ['no device says what it was', [page('A', {}, { ...SILENT, voutVolts: 1 })], PLAN],
  ] as const)('and says what it has looked at: %s', (because, evidence, plan) => {
    const found = diagnose(plan, { fault: faultOf('pgoodLost'), evidence, levels: levels() });
    expect(found).toMatchObject({ rail: null, cause: 'unknown', because });
  });

  it('a rail before that was read by its line or by its device had nothing to say; else each of them is told', () => {
    const fault = faultOf('pgoodLost');
    const of = (evidence: readonly Evidence[], at: LevelsAtFault) =>
      diagnose(PLAN, { fault, evidence: [...evidence, page('C', UNDER)], levels: at });
    const byC = { rail: 'C', cause: 'undervoltage' };
    expect(of([page('A', QUIET), page('B', QUIET)], levels(STALE, STALE, UP))).toMatchObject(byC);
    expect(of([page('B', QUIET)], levels(UP, STALE, UP))).toMatchObject(byC);
    // A device that did not answer was not read, nor is it read where another one was.
    expect(of([page('A', QUIET), page('B', {}, SILENT)], levels(STALE, STALE, UP))).toMatchObject({
      rail: null,
      because: expect.stringMatching(/, but nobody read whether B before it went first$/),
    });
    expect(of([], levels(STALE, STALE, UP)).because).toMatch(/, but nobody read whether B, A before it/);
  });

  it('the rail of the fault was seen to fail, whatever else was not read', () => {
    const facts = { fault: faultOf('railLost', 'C'), evidence: [page('B', UNDER), page('C', UNDER)] };
    const expected = { rail: 'C', cause: 'undervoltage' };
    expect(diagnose(PLAN, { ...facts, levels: levels(STALE, STALE, LOST) })).toMatchObject(expected);
    // Another process found it, and nothing is known of those before it: they may have been off.
    expect(diagnose(PLAN, { ...facts, levels: null })).toMatchObject(expected);
    expect(diagnose(PLAN, { ...facts, evidence: [], levels: null })).toMatchObject({
      rail: 'C',
      cause: 'dropped',
    });
  });

  it('without a rail in the fault and without levels, what a device says that has power of no other is believed', () => {
    const found = diagnose(PLAN, { fault: faultOf('pgoodLost'), evidence: [page('A', UNDER)], levels: null });
    expect(found).toMatchObject({ rail: 'A', cause: 'undervoltage' });
  });

  it('what a good rail has latched is older than a line that fails', () => {
    const facts = { fault: faultOf('hardware'), evidence: [page('A', UNDER)], levels: levels() };
    expect(diagnose(PLAN, facts)).toMatchObject({ rail: null, cause: 'hardware', because: 'hardware null' });
  });

  it('what the device of a rail says that was off is nothing that watches the chassis', () => {
    const facts = { fault: faultOf('pgoodLost'), evidence: [page('B', UNDER)], levels: levels(UP, OFF, OFF) };
    expect(diagnose(PLAN, facts)).toMatchObject({ rail: null, cause: 'unknown' });
  });

  it('of devices that belong to no rail the first that says something is told', () => {
    const evidence = [
      page(null, QUIET, { device: 'input' }),
      page(null, { ...QUIET, STATUS_INPUT: 1 << 4 }, { device: 'hsc' }),
    ];
    expect(diagnose(PLAN, { fault: faultOf('pgoodLost'), evidence, levels: levels() })).toMatchObject({
      rail: null,
      cause: 'input',
      because: expect.stringContaining('of hsc page 0'),
    });
  });

  it('where the rail before was not read since the loss it says so, and names none', () => {
    const evidence = [page('B', UNDER)];
    const found = (of: LevelsAtFault | null) =>
      diagnose(PLAN, { fault: faultOf('pgoodLost'), evidence, levels: of });
    expect(found(levels(STALE, UP, UP))).toMatchObject({
      rail: null,
      cause: 'unknown',
      because:
        'rail B: STATUS_VOUT of vr_B page 0 says undervoltage fault, but nobody read whether A before it went first',
    });
    expect(found(null)).toMatchObject({ rail: null, cause: 'unknown' });
    expect(found(levels(UP, UP, UP))).toMatchObject({ rail: 'B', cause: 'undervoltage' });
  });

  it('a device that belongs to no rail tells the kind and names no rail', () => {
    const evidence = [page(null, { STATUS_WORD: 0x4010, STATUS_IOUT: 1 << 7 })];
    expect(diagnose(PLAN, { fault: faultOf('pgoodLost'), evidence, levels: levels() })).toMatchObject({
      rail: null,
      cause: 'overcurrent',
      because: 'STATUS_IOUT of vr_watcher page 0 says overcurrent fault',
    });
  });
});

it('a good signal that could not be read is not taken for gone', async () => {
  const unread = { ...UP, good: null };
  const facts = { fault: faultOf('hardware', 'B'), evidence: [page('B', {}, SILENT)] };
  expect(diagnose(PLAN, { ...facts, levels: levels(unread, unread, UP) })).toMatchObject({
    rail: 'B',
    cause: 'hardware',
  });
  for (const fault of ['i2c vr_ddr nack at 50ms', 'i2c vr_ddr hang at 50ms', 'i2c vr_ddr nack']) {
    const bench = createBench('reference', { faults: [fault], initially: 'on' });
    await bench.clock.advance(50);
    const { sequence } = await bench.run(JOBS.off);
    expect(sequence.fault?.diagnosis, fault).toMatchObject({ rail: 'PVDDQ', cause: 'hardware' });
  }
});

describe('the I2C device silent', () => {
  it('the diagnosis still comes, from the lines, and says what it could not read', () => {
    const evidence = [page('B', {}, SILENT), page('C', {}, { ...SILENT, page: 3 })];
    expect(
      diagnose(PLAN, { fault: faultOf('railLost', 'A'), evidence, levels: levels(LOST, UP, UP) }),
    ).toEqual({
      rail: 'A',
      cause: 'dropped',
      because: 'railLost A',
      unread: ['vr_B page 0', 'vr_C page 3'],
    });
  });

  it('names the rail whose device does not answer, unless one before it went', () => {
    const facts = { fault: faultOf('hardware', 'B'), evidence: [page('B', {}, SILENT)] };
    expect(diagnose(PLAN, { ...facts, levels: levels(UP, UP, UP) })).toMatchObject({
      rail: 'B',
      cause: 'hardware',
      unread: ['vr_B page 0'],
    });
    expect(diagnose(PLAN, { ...facts, levels: levels(LOST, UP, UP) })).toMatchObject({
      rail: 'A',
      cause: 'dropped',
    });
  });

  it.each(['nack', 'hang'])(
    '%s, on the reference board: the line of the rail that dropped is enough',
    async (does) => {
      const bench = createBench('reference', { initially: 'on', faults: ['rail P3V3 droops at 300ms'] });
      bench.plant.addFault(bench.fault(`i2c vr_ddr ${does} at 301ms`));
      const { sequence } = await bench.run(JOBS.watch);
      expect(sequence.fault?.diagnosis).toMatchObject({
        rail: 'P3V3',
        cause: 'dropped',
        unread: ['vr_ddr page 0'],
      });
    },
  );
});

describe('the diagnosis is told everywhere', () => {
  async function failed() {
    const bench = createBench('reference', {
      faults: ['rail PVDDQ trips overcurrent at 300ms'],
      initially: 'on',
    });
    const result = await bench.run(JOBS.watch);
    return { bench, result, error: faultError(0, result.sequence) };
  }
  const BECAUSE = 'STATUS_IOUT of vr_ddr page 0 says overcurrent fault';

  it('in the text of the error', async () => {
    const { error, result } = await failed();
    expect(error.message).toContain(`; rail PVDDQ: overcurrent (${BECAUSE}); the power was taken down`);
    expect(error.details.fault).toMatchObject({ diagnosis: { rail: 'PVDDQ', cause: 'overcurrent' } });
    expect(() => expectDone(0, 'watch', JOBS.watch, result)).toThrow(BECAUSE);
  });

  it('in the record, for people and as JSON, after the evidence', async () => {
    const { bench } = await failed();
    const [evidence, entry] = bench.recording.slice(-2);
    expect([evidence?.type, entry?.type]).toEqual(['evidence', 'diagnosis']);
    if (entry === undefined) throw new Error('no entry');
    expect(linesOf(entry)).toMatchObject([{ text: `diagnosis: rail PVDDQ: overcurrent (${BECAUSE})` }]);
    expect(JSON.parse(JSON.stringify(entry))).toMatchObject({
      diagnosis: { rail: 'PVDDQ', cause: 'overcurrent' },
    });
  });

  it('in the state file, so that a process that comes later tells it too', async () => {
    const { bench } = await failed();
    const later = await bench.run(JOBS.off);
    expect(later.sequence.fault?.diagnosis).toMatchObject({ rail: 'PVDDQ', because: BECAUSE });
    expect(faultError(0, later.sequence).message).toContain(BECAUSE);
  });

  it('in the fields of the journal', async () => {
    const { error } = await failed();
    expect(failureFields(error, { chassis: 0, verb: null, elapsedMs: null })).toMatchObject({
      RAIL: 'PVDDQ',
      CAUSE: 'overcurrent',
      DIAGNOSIS: BECAUSE,
    });
  });

  it('and what could not be read as well', () => {
    const fault = { ...faultOf('pgoodLost'), reason: 'pgood was lost' };
    const diagnosis = {
      rail: null,
      cause: 'unknown',
      because: 'no device could be read',
      unread: ['vr page 0'],
    } as const;
    const told = failureFields(faultErrorOf({ ...fault, diagnosis }), {
      chassis: 0,
      verb: null,
      elapsedMs: null,
    });
    expect(told).toMatchObject({ CAUSE: 'unknown', NOT_READ: 'vr page 0' });
    expect(told).not.toHaveProperty('RAIL');
  });
});

/** The error of a chassis that came to rest with this fault. */
function faultErrorOf(fault: Fault) {
  return faultError(0, {
    nowMs: 0,
    rails: {},
    pgood: { level: false, good: false, unread: false, sinceMs: 0 },
    resetsAsserted: {},
    stageDeadlineMs: null,
    readyMs: null,
    offSinceMs: null,
    latchPending: false,
    fault,
    contradictions: [],
  });
}
