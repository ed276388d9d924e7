/** Rails of parts that may be absent: a riser by a line, a second power supply by an address that answers. */
import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import type { GpioBackend, I2cBackend, PropertyBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import type { Board } from '../../src/board/schema.ts';
import { type ChassisHardware, openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { expectDone } from '../../src/run/outcome.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench, shippedBoard } from './bench.ts';

const RISER = ['P12V_RISER', 'P3V3_RISER'];
const drivenOn = ({ plant }: Bench) =>
  plant.history.flatMap((event) =>
    event.type === 'drive' && event.role === 'enable' && event.asserted ? [event.rail] : [],
  );
const drivenOff = ({ plant }: Bench) =>
  plant.history.flatMap((event) =>
    event.type === 'drive' && event.role === 'enable' && !event.asserted ? [event.rail] : [],
  );

/** The board, with `edit` made to its chassis. */
function edited(
  edit: (chassis: Record<string, never> & { rails: Record<string, Record<string, unknown>> }) => void,
) {
  const board = structuredClone(shippedBoard('risers')) as never as { chassis: Record<string, never> };
  edit(board.chassis['0'] as never);
  return checkBoard(board);
}

describe('An absent rail is not blamed', () => {
  it('all parts there: all rails come, and the state file tells of none that is absent', async () => {
    const bench = createBench('risers');
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect(bench.enabled()).toEqual(['P12V', 'P3V3', ...RISER]);
    expect(bench.store.hint?.sequence).not.toHaveProperty('absent');
  });

  it.each([
    ['part P12V_RISER absent', RISER, ['P12V', 'P3V3']],
    ['part P3V3_RISER absent', RISER, ['P12V', 'P3V3']],
    ['part PSU2 absent', ['PSU2'], ['P12V', 'P3V3', ...RISER]],
  ])('%s: the chassis powers on without it, and off', async (fault, absent, enabled) => {
    const bench = createBench('risers', { faults: [fault] });
    const { state, sequence } = await bench.run(JOBS.on);
    expect(state).toBe('pgood');
    expect(sequence.absent).toEqual(absent);
    expect(bench.enabled()).toEqual(enabled);
    expect(drivenOn(bench)).toEqual(enabled);
    expect(bench.recording).toContainEqual(expect.objectContaining({ type: 'absent', rails: absent }));
    expect((await bench.run(JOBS.on)).answer?.outcome).toBe('unchanged');
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(bench.enabled()).toEqual([]);
    expect(bench.plant.hazards).toEqual([]);
  });

  it('power off drives the enable of an absent rail off as well, once, before what it needs', async () => {
    const bench = createBench('risers', { faults: ['part P12V_RISER absent'] });
    await bench.run(JOBS.on);
    await bench.run(JOBS.off);
    expect(drivenOff(bench)).toEqual(['P3V3_RISER', 'P3V3', 'P12V_RISER', 'P12V']);
    for (const rail of RISER)
      expect(bench.recording).toContainEqual(
        expect.objectContaining({ type: 'enable', rail, asserted: false }),
      );
    await bench.run(JOBS.off);
    expect(drivenOff(bench).slice(4).toSorted()).toEqual(['P12V', 'P12V_RISER', 'P3V3', 'P3V3_RISER']);
  });

  it('an absent enable that cannot be driven is told, and the power goes off', async () => {
    const bench = createBench('risers', { faults: ['part P12V_RISER absent'] });
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('enable P12V_RISER stuck on'));
    const result = await bench.run(JOBS.off);
    expect(result.state).toBe('off');
    const warnings = bench.recording.flatMap((entry) => (entry.type === 'warning' ? [entry.message] : []));
    expect(warnings).toEqual([expect.stringMatching(/P12V_RISER.* is absent, and the power-off goes on/)]);
  });

  it('a stage goes on with what the one before it found, whatever has come since', async () => {
    const bench = createBench('risers', { faults: ['part P12V_RISER absent for 40ms'] });
    expect((await bench.run(JOBS.start)).state).toBe('opWaitPowerOn');
    expect((await bench.run(JOBS.waitOn)).state).toBe('pgood');
    bench.plant.steer(0, 'P12V_RISER', false);
    expect((await bench.run(JOBS.on)).answer?.outcome).toBe('unchanged');
    expect(drivenOn(bench)).toEqual(['P12V', 'P3V3']);
    bench.plant.steer(0, 'P12V_RISER', null);
    await bench.run(JOBS.off);
    expect((await bench.run(JOBS.on)).sequence.absent).toBeUndefined();
    expect(bench.enabled()).toEqual(['P12V', 'P3V3', ...RISER]);
  });

  it('of a chassis that went off by itself it is read anew, also where the state file says on', async () => {
    const bench = createBench('risers', { faults: ['part P12V_RISER absent'] });
    await bench.run(JOBS.on);
    const on = bench.store.hint;
    await bench.run(JOBS.off);
    bench.plant.clearFaults();
    bench.store.hint = on;
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect(bench.enabled()).toEqual(['P12V', 'P3V3', ...RISER]);
  });

  it('a power-on right after a power-off that was killed reads it anew', async () => {
    const bench = createBench('risers', { faults: ['part P12V_RISER absent'] });
    await bench.run(JOBS.on);
    const { hint } = bench.store;
    if (hint === null) throw new RangeError('no state');
    bench.store.hint = { ...hint, state: 'opPowerStop' };
    bench.plant.clearFaults();
    const { state, sequence } = await bench.run(JOBS.on);
    expect(state).toBe('pgood');
    expect(sequence.absent).toBeUndefined();
  });

  it('without a state file a chassis that is on is taken for what it is', async () => {
    const bench = createBench('risers', { faults: ['part P12V_RISER absent'] });
    await bench.run(JOBS.on);
    bench.store.hint = null;
    expect(await bench.run(JOBS.on)).toMatchObject({ state: 'pgood', answer: { outcome: 'unchanged' } });
    expect(bench.store.hint).toMatchObject({ sequence: { absent: RISER } });
    bench.store.hint = null;
    expect((await bench.run(JOBS.off)).state).toBe('off');
  });
});

describe('a presence that cannot be read', () => {
  it.each([
    ['line rail P12V_RISER presence read error', 'GPIO_FAILED', RISER],
    // A supply that is there is seen to be on.
    ['presence PSU2 hang', 'I2C_TIMEOUT', []],
  ])('%s: no power-on begins, nothing is driven, and nothing told to be absent', async (fault, code, off) => {
    const bench = createBench('risers', { faults: [fault] });
    await expect(bench.run(JOBS.on)).rejects.toMatchObject({ code });
    expect(bench.plant.history.filter(({ type }) => type === 'drive')).toEqual([]);
    expect(bench.recording.filter(({ type }) => type === 'absent')).toEqual([]);
    const warnings = bench.recording.flatMap((entry) => (entry.type === 'warning' ? [entry.message] : []));
    const told = `whether the part of ${off.join(', ')} is there cannot be read (${code}): left out, for nothing of it is on`;
    expect(warnings).toEqual(off.length > 0 ? [told] : []);
  });

  it.each(['part P12V_RISER absent', 'rail P12V_RISER slow 1ms'])(
    'is no reason to end a chassis that is on, with "%s", nor to leave it on',
    async (fault) => {
      const bench = createBench('risers', { faults: [fault] });
      const { sequence } = await bench.run(JOBS.on);
      bench.store.hint = null;
      bench.plant.addFault(bench.fault('line rail P12V_RISER presence read error'));
      const again = await bench.run(JOBS.on);
      expect(again).toMatchObject({ state: 'pgood', answer: { outcome: 'unchanged' } });
      expect(again.sequence.absent).toEqual(sequence.absent);
      bench.store.hint = null;
      expect((await bench.run(JOBS.off)).state).toBe('off');
      expect(bench.enabled()).toEqual([]);
    },
  );
});

describe('a part that the inventory on D-Bus tells of', () => {
  const INVENTORY = '/xyz/openbmc_project/inventory/system/chassis';
  /** The second power supply and both rails of the riser are items of the inventory. */
  const items = (): Board => {
    const { board, problems } = edited(({ rails }) => {
      for (const rail of ['PSU2', ...RISER])
        Object.assign(rails[rail] ?? {}, { presence: { inventory: `${INVENTORY}/${partOf(rail)}` } });
    });
    if (!board) throw new TypeError(JSON.stringify(problems));
    return board;
  };
  const partOf = (rail: string) => (rail === 'PSU2' ? 'psu2' : 'riser0');
  it.each([
    [[], [], ['P12V', 'P3V3', ...RISER]],
    [['part P12V_RISER absent'], RISER, ['P12V', 'P3V3']],
    [
      ['part PSU2 absent', 'part P3V3_RISER absent'],
      ['PSU2', ...RISER],
      ['P12V', 'P3V3'],
    ],
  ])('%j: it is left out where it is absent', async (faults, absent, enabled) => {
    const bench = createBench(items(), { faults });
    const { state, sequence } = await bench.run(JOBS.on);
    expect(state).toBe('pgood');
    expect(sequence.absent ?? []).toEqual(absent);
    expect(bench.enabled()).toEqual(enabled);
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(bench.plant.misuses).toEqual([]);
  });

  it('no power-on begins where the inventory does not answer, and no power-off waits for it for long', async () => {
    const bench = createBench(items(), { faults: ['presence P12V_RISER hang', 'presence PSU2 hang'] });
    await expect(bench.run(JOBS.on)).rejects.toMatchObject({
      code: 'PROPERTY_UNREAD',
      message:
        'chassis 0: presence of rail PSU2: Present of /xyz/openbmc_project/inventory/system/chassis/psu2 cannot be read: ' +
        'Get of xyz.openbmc_project.Inventory.Manager did not answer within 2000 ms',
      details: { reason: 'DBUS_TIMEOUT', service: 'xyz.openbmc_project.Inventory.Manager', chassis: 0 },
    });
    expect(bench.plant.history.filter(({ type }) => type === 'drive')).toEqual([]);
    bench.plant.clearFaults();
    await bench.run(JOBS.on);
    for (const rail of ['P12V_RISER', 'PSU2']) bench.plant.addFault(bench.fault(`presence ${rail} hang`));
    const sinceMs = bench.clock.nowMs();
    const drivenSince = bench.plant.history.length;
    expect((await bench.run(JOBS.off)).state).toBe('off');
    const [first] = bench.plant.history.slice(drivenSince).filter(({ type }) => type === 'drive');
    // Both hang at the same time.
    expect((first?.atMs ?? 0) - sinceMs).toBeLessThan(2_500);
    expect(bench.enabled()).toEqual([]);
  });

  it('is asked at the begin of a power-on alone, and by no stage that goes on', async () => {
    const bench = createBench(items());
    let looks = 0;
    const hardware = (opened: ChassisHardware): ChassisHardware => ({
      ...opened,
      presence() {
        looks += 1;
        return opened.presence();
      },
    });
    expect((await bench.run(JOBS.start, { hardware })).state).toBe('opWaitPowerOn');
    expect(looks).toBe(1);
    expect((await bench.run(JOBS.waitOn, { hardware })).state).toBe('pgood');
    expect((await bench.run(JOBS.on, { hardware })).answer?.outcome).toBe('unchanged');
    expect(looks).toBe(1);
  });

  it('is asked once for a part of several rails, and for all parts at once', async () => {
    const { board, clock, plant } = createBench(items());
    const asked: string[] = [];
    const answers: ((isThere: boolean) => void)[] = [];
    const properties: PropertyBackend = {
      readBoolean: ({ path }) => {
        asked.push(path);
        return new Promise((resolve) => answers.push(resolve));
      },
      watch: () => expect.fail('a presence is not watched'),
    };
    const hardware = await openChassis(board, 0, {
      gpio: async () => createMockGpio(plant),
      i2c: () => expect.fail('no address tells of a part here'),
      properties: async () => properties,
      clock,
    });
    expect(asked).toEqual([]);
    const seen = hardware.presence();
    await clock.advance(1);
    expect(asked).toEqual([`${INVENTORY}/psu2`, `${INVENTORY}/riser0`]);
    for (const [index, answer] of answers.entries()) answer(index === 0);
    expect(Object.fromEntries(await seen)).toEqual({ PSU2: true, P12V_RISER: false, P3V3_RISER: false });
  });

  it('no bus is asked for on a board without the word, nor by a chassis that is only opened', async () => {
    const properties = () => expect.fail('the bus was asked for');
    for (const of of ['reference', 'two-chassis', 'relay-bench', items()]) {
      const { board, clock, plant } = createBench(of);
      const hardware = await openChassis(board, 0, {
        gpio: async () => createMockGpio(plant),
        i2c: async () => createMockI2c(plant),
        properties,
        clock,
      });
      if (typeof of === 'string') expect(await hardware.presence()).toEqual(new Map());
      await hardware.observe();
    }
  });

  it.each([
    [
      { inventory: 'xyz/riser0' },
      'presence.inventory',
      'write the path of an object on D-Bus, such as "/xyz/openbmc_project/inventory/…"',
    ],
    [{ inventory: '/' }, 'presence.inventory', 'write the path of an object'],
    [{ inventory: '/a', service: 'Manager' }, 'presence.service', 'write the name of a service on D-Bus'],
    [{ inventory: '/a', interface: 'Item' }, 'presence.interface', 'write the name of an interface on D-Bus'],
    [{ inventory: '/a', property: 'is-there' }, 'presence.property', 'write the name of a property on D-Bus'],
    [{ inventory: '/a', chip: 'gpio', line: 1 }, 'presence.inventory', 'remove one of the two'],
    [{ inventory: '/a', bus: 2, address: '0x51' }, 'presence.inventory', 'remove one of the two'],
    [{ inventry: '/a' }, 'presence.inventry', 'did you mean "inventory"?'],
  ])('check tells of %j', (presence, path, suggestion) => {
    const { problems } = edited(({ rails }) => Object.assign(rails.PSU2 ?? {}, { presence }));
    expect(problems.map((each) => [each.path, each.suggestion])).toEqual([
      [`chassis.0.rails.PSU2.${path}`, expect.stringContaining(suggestion)],
    ]);
  });
});

describe('a power-off', () => {
  it.each([[], ['line rail P12V_RISER presence read error']])(
    'waits for a part that has come since and is on: %j',
    async (...faults) => {
      const bench = createBench('risers', { faults: ['part P12V_RISER absent'] });
      await bench.run(JOBS.on);
      bench.plant.clearFaults();
      for (const fault of ['enable P12V_RISER stuck on', ...faults]) bench.plant.addFault(bench.fault(fault));
      const { state, sequence } = await bench.run(JOBS.off);
      expect(state).toBe('failed');
      expect(sequence.rails).toHaveProperty('P12V_RISER');
    },
  );

  it('does not miss what went with its part', async () => {
    const bench = createBench('risers');
    await bench.run(JOBS.on);
    const gone = [
      'part P12V_RISER absent',
      'line rail P12V_RISER enable busy',
      'line rail P12V_RISER good busy',
    ];
    for (const fault of gone) bench.plant.addFault(bench.fault(fault));
    const { state, sequence } = await bench.run(JOBS.off);
    expect(state).toBe('off');
    expect(sequence.absent).toEqual(RISER);
    expect(bench.enabled()).toEqual(['P12V_RISER']);
  });

  it('misses what cannot be driven of a part that is there', async () => {
    const bench = createBench('risers');
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('line rail P12V_RISER enable busy'));
    expect((await bench.run(JOBS.off)).state).toBe('failed');
  });
});

describe('a device on a part whose presence lies while the chassis is on', () => {
  const line = (offset: number) => ({ chip: 'gpio', line: offset });
  const times = { settleMs: 6, onTimeoutMs: 100, offTimeoutMs: 100 };
  const presence = line(20);
  const MAIN = { ...times, enable: line(0), good: line(1) };
  const page = (number: number) => ({ pmbus: 'vr', page: number });
  const CORE = { ...times, enable: page(0), good: line(5), needs: ['POWER'], presence };

  /** What switches CORE is powered by POWER, and both are of one part. */
  const POWERS = {
    'a rail with a signal': { POWER: { ...times, enable: line(2), good: line(3), presence } },
    'a rail without a signal': { POWER: { ...times, enable: line(2), presence } },
    'a follower': {
      FEED: { ...times, enable: line(2), good: line(3), presence },
      POWER: { ...times, good: line(4), needs: ['FEED'], presence },
    },
    'a rail that is switched over a bus': {
      POWER: { ...times, enable: { pmbus: 'other' }, good: line(3), presence },
    },
  };
  const boardWith = (power: object) => {
    const { board, problems } = checkBoard({
      name: 'parts',
      devices: {
        vr: { bus: 1, address: '0x40', poweredBy: 'POWER' },
        other: { bus: 1, address: '0x41' },
      },
      chassis: { 0: { rails: { MAIN, ...power, CORE }, pgood: line(9) } },
    });
    if (!board) throw new TypeError(JSON.stringify(problems));
    return board;
  };

  it.each(Object.entries(POWERS))(
    'is told to go off before the power that it has, by %s',
    async (_, power) => {
      for (const job of [JOBS.off, JOBS.stop]) {
        const bench = createBench(boardWith(power), {
          initially: 'on',
          faults: ['presence CORE stuck off'],
        });
        await bench.run(job);
        expect(bench.plant.hazards).toEqual([]);
        expect(bench.enabled()).toEqual([]);
        const [first] = drivenOff(bench).filter((rail) => rail !== 'MAIN');
        expect(first).toBe('CORE');
        expect(bench.recording.filter(({ type }) => type === 'warning')).toEqual([]);
      }
    },
  );

  it.each(Object.entries(POWERS))('is not asked where its part is not there, by %s', async (_, power) => {
    const bench = createBench(boardWith(power), { faults: ['part CORE absent'] });
    await bench.run(JOBS.on);
    await bench.run(JOBS.off);
    expect(bench.plant.history.filter(({ type }) => type === 'unpowered')).toEqual([]);
    expect(bench.recording.filter(({ type }) => type === 'warning')).toEqual([]);
    expect(drivenOff(bench)).not.toContain('CORE');
  });
});

it('an absent enable that takes its time goes off before what it hangs on all the same', async () => {
  const line = (offset: number) => ({ chip: 'gpio', line: offset });
  const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 100 };
  const { board, problems } = checkBoard({
    name: 'slow',
    devices: { vr: { bus: 1, address: '0x40' } },
    chassis: {
      0: {
        rails: {
          MAIN: { ...times, enable: line(0), good: line(1) },
          RISER: { ...times, enable: { pmbus: 'vr' }, good: line(3), needs: ['MAIN'], presence: line(4) },
          OTHER: { ...times, enable: line(5), good: line(6) },
        },
        pgood: line(9),
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  const bench = createBench(board, { faults: ['part RISER absent'] });
  await bench.run(JOBS.on);
  bench.plant.addFault(bench.fault('i2c vr hang 1 times'));
  await bench.run(JOBS.off);
  const offMs = (rail: string) =>
    bench.plant.history.findLast((each) => each.type === 'drive' && each.rail === rail && !each.asserted)
      ?.atMs ?? 0;
  // The driver gives a transfer a second. What does not hang together does not wait.
  expect(offMs('MAIN') - offMs('OTHER')).toBeGreaterThanOrEqual(1_000);
});

describe('who has the chassis open for long', () => {
  const opened = async (ports: {
    gpio?: (real: GpioBackend) => GpioBackend;
    i2c?: (real: I2cBackend) => I2cBackend;
  }) => {
    const bench = createBench('risers');
    const { board, clock, plant } = bench;
    const gpio = createMockGpio(plant);
    const i2c = createMockI2c(plant);
    const hardware = await openChassis(board, 0, {
      gpio: async () => ports.gpio?.(gpio) ?? gpio,
      i2c: async () => ports.i2c?.(i2c) ?? i2c,
      clock,
    });
    return { ...bench, hardware };
  };

  it('finds the lines that come with a part, and misses them once it is there', async () => {
    let isThere = false;
    const noLine = new HardwareError('GPIO_NO_LINE', 'no line');
    const { hardware } = await opened({
      gpio: (real) => ({
        ...real,
        locate: async (refs) =>
          (await real.locate(refs)).map((place, index) => {
            const ref = refs[index];
            return !isThere && ref && 'line' in ref && ref.line === 'C2' ? noLine : place;
          }),
      }),
    });
    const without = await hardware.without(RISER);
    expect((await without.observe()).unreadable).toEqual([]);
    await expect(hardware.without([])).rejects.toMatchObject({
      code: 'GPIO_NO_LINE',
      details: { chassis: 0 },
    });
    isThere = true;
    const whole = await without.without([]);
    expect((await whole.observe()).unreadable).toEqual([]);
    await whole.driveEnable('P12V_RISER', true);
    expect((await whole.observe()).observation.rails.P12V_RISER?.enabled).toBe(true);
  });

  it('takes no device for absent that acknowledges nothing for a moment', async () => {
    let left = 1;
    const { hardware, clock } = await opened({
      i2c: (real) => ({
        async openBus(bus) {
          const open = await real.openBus(bus);
          return {
            ...open,
            transaction(...asked) {
              left -= 1;
              if (left >= 0) return Promise.reject(new HardwareError('I2C_NO_DEVICE', 'writes'));
              return open.transaction(...asked);
            },
          };
        },
      }),
    });
    const seen = await clock.runUntil(hardware.presence(), { limitMs: 1_000 });
    expect(seen.get('PSU2')).toBe(true);
    left = 2;
    expect((await clock.runUntil(hardware.presence(), { limitMs: 1_000 })).get('PSU2')).toBe(false);
  });
});

describe('a part that is pulled while the chassis is on', () => {
  it('is a loss of its rail, and the diagnosis says that the part is gone', async () => {
    const bench = createBench('risers');
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('part P12V_RISER absent'));
    const result = await bench.run(JOBS.watch);
    expect(result.sequence.fault).toMatchObject({
      kind: 'railLost',
      rail: 'P12V_RISER',
      diagnosis: { rail: 'P12V_RISER', cause: 'removed', because: 'its part is not there any more' },
    });
    expect(() => expectDone(0, 'watch', JOBS.watch, result)).toThrow(/P12V_RISER: part removed/);
    expect(bench.enabled()).toEqual([]);
    // The next power-on goes without it.
    expect((await bench.run(JOBS.on)).sequence.absent).toEqual(RISER);
  });

  it('one that dropped though its part is there is named as before', async () => {
    const bench = createBench('risers');
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('rail P12V_RISER shorts'));
    const result = await bench.run(JOBS.watch);
    expect(result.sequence.fault).toMatchObject({ rail: 'P12V_RISER', diagnosis: { cause: 'dropped' } });
  });

  it('a presence that lies that the part is there: its rail is named, for nothing says better', async () => {
    const bench = createBench('risers', {
      faults: ['part P12V_RISER absent', 'presence P12V_RISER stuck on'],
    });
    expect((await bench.run(JOBS.on)).sequence.fault).toMatchObject({
      kind: 'railTimeout',
      rail: 'P12V_RISER',
      diagnosis: { cause: 'neverCame' },
    });
  });
});

describe('pgood that is taken from rails', () => {
  const { board } = edited((chassis) => {
    Object.assign(chassis, { pgood: { rails: true, deglitchMs: 10, onTimeoutMs: 1000, offTimeoutMs: 1000 } });
  });

  it('leaves out those that are absent, and counts those that are there', async () => {
    if (!board) throw new RangeError('refused');
    const without = createBench(board, { faults: ['part P12V_RISER absent', 'part PSU2 absent'] });
    expect((await without.run(JOBS.on)).state).toBe('pgood');
    expect((await without.run(JOBS.watch, { signal: AbortSignal.timeout(0) })).state).toBe('pgood');
    const whole = createBench(board, { faults: ['good P3V3_RISER stuck off'] });
    expect((await whole.run(JOBS.on)).sequence.fault).toMatchObject({ rail: 'P3V3_RISER' });
  });
});

describe('what a board must not say of parts that may be absent', () => {
  const problems = (edit: Parameters<typeof edited>[0]) =>
    edited(edit).problems.map(({ message }) => message);
  const riser = (chassis: { rails: Record<string, Record<string, unknown>> }) =>
    chassis.rails.P12V_RISER ?? {};

  it('a rail that has to be there hangs on none that may be absent', () => {
    expect(
      problems((chassis) => {
        delete chassis.rails.P3V3_RISER?.presence;
      }),
    ).toEqual(['rail P3V3_RISER needs P12V_RISER, whose part may be absent, and has to be there itself']);
  });

  it('a part on a part may have its own presence, and is absent with the first', async () => {
    const { board } = edited((chassis) => {
      Object.assign(chassis.rails.P3V3_RISER ?? {}, { presence: { bus: 2, address: '0x52' } });
    });
    if (!board) throw new RangeError('refused');
    const bench = createBench(board, { faults: ['part P12V_RISER absent'] });
    expect((await bench.run(JOBS.on)).sequence.absent).toEqual(RISER);
    const upper = createBench(board, { faults: ['part P3V3_RISER absent'] });
    expect((await upper.run(JOBS.on)).sequence.absent).toEqual(['P3V3_RISER']);
  });

  it('not every rail with an enable may be absent', () => {
    expect(
      problems((chassis) => {
        const { presence } = riser(chassis);
        for (const name of ['P12V', 'P3V3']) Object.assign(chassis.rails[name] ?? {}, { presence });
      }),
    ).toEqual([
      'every rail with an enable is of a part that may be absent: there may be nothing to power on',
    ]);
  });

  it('a power button has no presence', () => {
    expect(
      problems((chassis) => {
        riser(chassis).enable = {
          pulse: { name: 'button' },
          state: { name: 'state' },
          onMs: 100,
          takenMs: 500,
          forceOffMs: 5000,
        };
      }),
    ).toContain('rail P12V_RISER has a power button, which cannot be driven off while its part is absent');
  });

  it('a line that tells of a part has no other role', () => {
    expect(
      problems((chassis) => {
        riser(chassis).good = { chip: '1e780000.gpio', line: 'D0', active: 'low' };
      }),
    ).toContainEqual(
      expect.stringMatching(
        /^presence of P12V_RISER uses .*, which is already good of P12V_RISER$|^good of P12V_RISER uses .*, which is already presence/,
      ),
    );
  });
});
