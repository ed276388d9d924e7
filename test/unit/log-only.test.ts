/** A rail that the chassis can do without: `logOnly`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { MESSAGE_IDS } from '../../src/report/events.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { Recorded } from '../../src/run/record.ts';
import { releaseResets } from '../../src/run/release-resets.ts';
import { SystemError } from '../../src/system/errors.ts';
import type { EventLog, EventLogEntry } from '../../src/system/ports.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench } from './bench.ts';
import { startResident } from './start-resident.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

const at = (line: number) => ({ chip: 'soc', line });
type Rails = Record<string, Record<string, unknown>>;

/** A, and AUX behind it that the chassis can do without. */
function described(edit: (rails: Rails) => void = () => undefined, chassis: object = {}) {
  const rails: Rails = {
    A: { nominalVolts: 1, enable: at(0), good: at(1), onTimeoutMs: 100 },
    AUX: { nominalVolts: 1, enable: at(2), good: at(3), needs: ['A'], onTimeoutMs: 100, logOnly: true },
  };
  edit(rails);
  return checkBoard({
    name: 'aux',
    chassis: { 0: { rails, pgood: { ...at(9), deglitchMs: 5 }, ...chassis } },
  });
}

function boardOf(edit?: (rails: Rails) => void, chassis?: object) {
  const { board, problems } = described(edit, chassis);
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

const told = ({ recording }: Bench) => recording.filter((entry) => entry.type === 'missed');

describe('a rail that the chassis can do without', () => {
  it.each(['rail AUX never good', 'good AUX stuck off', 'line rail AUX good read error'])(
    'fails no power-on: %s',
    async (fault) => {
      const bench = createBench(boardOf(), { faults: [fault] });
      const { state, sequence } = await bench.run(JOBS.on);
      expect(state).toBe('pgood');
      expect(sequence.fault).toBeNull();
      expect(told(bench)).toMatchObject([{ rail: 'AUX', miss: 'late' }]);
      // It cannot go that never came.
      const came = bench.recording.filter((entry) => entry.type === 'rail' && entry.rail === 'AUX');
      expect(came).toMatchObject([{ phase: 'rising' }]);
      expect(bench.plant.hazards).toEqual([]);
    },
  );

  it('is waited for between the stages, and told once', async () => {
    const bench = createBench(boardOf(), { faults: ['good AUX stuck off'] });
    await bench.run(JOBS.start);
    expect((await bench.run(JOBS.waitOn)).state).toBe('pgood');
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect(told(bench)).toHaveLength(1);
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(bench.enabled()).toEqual([]);
    await bench.run(JOBS.on);
    expect(told(bench)).toHaveLength(2);
  });

  it('takes no chassis down that is on', async () => {
    const bench = createBench(boardOf());
    await bench.run(JOBS.on);
    const ending = new AbortController();
    bench.clock.after(500, () => bench.plant.addFault(bench.fault('good AUX stuck off')));
    bench.clock.after(1_000, () => ending.abort('SIGTERM'));
    expect((await bench.run(JOBS.watch, { signal: ending.signal })).state).toBe('pgood');
    expect(told(bench)).toMatchObject([{ rail: 'AUX', miss: 'lost' }]);
    expect(bench.enabled()).toEqual(['A', 'AUX']);
  });

  it('that does not go off fails the power-off as any other does', async () => {
    const bench = createBench(boardOf());
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('good AUX stuck on'));
    const { state, sequence } = await bench.run(JOBS.off);
    expect([state, sequence.fault?.rail]).toEqual(['failed', 'AUX']);
  });

  it('hides no loss of another rail', async () => {
    const bench = createBench(boardOf(), { faults: ['good AUX stuck off'] });
    await bench.run(JOBS.on);
    bench.clock.after(500, () => bench.plant.addFault(bench.fault('good A stuck off')));
    expect((await bench.run(JOBS.watch)).sequence.fault?.rail).toBe('A');
    expect(bench.enabled()).toEqual([]);
  });

  it('may be one that is only watched, behind others or as a supply', async () => {
    for (const needs of [['A'], []]) {
      const board = boardOf((rails) => {
        rails.AUX = { nominalVolts: 1, good: at(3), needs, onTimeoutMs: 100, logOnly: true };
      });
      for (const fault of ['good AUX stuck off', 'rail AUX never good']) {
        const bench = createBench(board, { faults: [fault] });
        expect((await bench.run(JOBS.on)).state).toBe('pgood');
        expect(told(bench)).toMatchObject([{ rail: 'AUX' }]);
        expect((await bench.run(JOBS.off)).state).toBe('off');
        expect(bench.enabled()).toEqual([]);
      }
    }
  });

  it('is waited for until pgood is due, where its own time is longer', async () => {
    const board = boardOf((rails) => Object.assign(rails.AUX ?? {}, { onTimeoutMs: 5_000 }), {
      pgood: { ...at(9), onTimeoutMs: 700 },
    });
    const bench = createBench(board, { faults: ['good AUX stuck off'] });
    const beganMs = bench.clock.nowMs();
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    const [missed, ...others] = told(bench);
    expect(missed).toMatchObject({ miss: 'late', reason: expect.stringContaining('when pgood was due') });
    expect(others).toEqual([]);
    expect(missed?.atMs).toBeLessThan(beganMs + 1_000);
  });

  it('is not read before a reset, nor waited for by who is done: its device may hang', async () => {
    const { board } = checkBoard({
      name: 'aux',
      devices: { vr: { bus: 1, address: '0x40' } },
      chassis: {
        0: {
          rails: {
            A: { enable: at(0), good: at(1), onTimeoutMs: 100 },
            AUX: {
              enable: at(2),
              good: { pmbus: 'vr', status: true },
              needs: ['A'],
              onTimeoutMs: 100,
              logOnly: true,
            },
          },
          pgood: { ...at(9), deglitchMs: 5 },
          resets: { CPU: { ...at(11), releaseDelayMs: 300 } },
        },
      },
    });
    if (!board) throw new TypeError('refused');
    const bench = createBench(board);
    bench.plant.addFault(bench.fault('i2c vr hang at 5ms'));
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    const [missed] = told(bench);
    const released = bench.recording.find((entry) => entry.type === 'reset' && !entry.asserted);
    // A transfer that hangs takes a second; the reset comes with its own delay after all that is waited for.
    expect((released?.atMs ?? 0) - (missed?.atMs ?? 0)).toBeCloseTo(300, 0);
  });

  it('does not come in the place of pgood', async () => {
    const bench = createBench(boardOf(), { faults: ['pgood never', 'good AUX stuck off'] });
    const { state, sequence } = await bench.run(JOBS.on);
    expect([state, sequence.fault?.kind, sequence.fault?.rail]).toEqual(['failed', 'pgoodTimeout', null]);
    expect(sequence.fault?.diagnosis).toMatchObject({ rail: null, cause: 'unknown' });
    expect(sequence.fault?.diagnosis?.because).toContain('AUX was missing, but the chassis does without it');
  });

  it('behind a latch is switched, and missed, as elsewhere', async () => {
    const bench = createBench(boardOf(undefined, { latch: at(10) }), { faults: ['good AUX stuck off'] });
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect(told(bench)).toMatchObject([{ miss: 'late' }]);
    // As a BMC finds it that has restarted.
    bench.store.hint = null;
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(bench.plant.hazards).toEqual([]);
  });

  it('is told with another that is missed at the same moment', async () => {
    const board = boardOf((rails) => {
      rails.FAN = {
        nominalVolts: 1,
        enable: at(4),
        good: at(5),
        needs: ['A'],
        onTimeoutMs: 100,
        logOnly: true,
      };
    });
    const faults = ['good AUX stuck off', 'good FAN stuck off'];
    const bench = createBench(board, { faults });
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect(told(bench).map(({ rail }) => rail)).toEqual(['AUX', 'FAN']);
    const other = createBench(board);
    await other.run(JOBS.on);
    const ending = new AbortController();
    other.clock.after(100, () => {
      for (const fault of faults) other.plant.addFault(other.fault(fault));
    });
    other.clock.after(500, () => ending.abort('SIGTERM'));
    expect((await other.run(JOBS.watch, { signal: ending.signal })).state).toBe('pgood');
    expect(told(other).map(({ rail, miss }) => [rail, miss])).toEqual([
      ['AUX', 'lost'],
      ['FAN', 'lost'],
    ]);
  });

  it('is told of twice at most until the next power-on: that it is late, and that it dropped', async () => {
    const bench = createBench(boardOf(), { faults: ['good AUX stuck off'] });
    const { plant, clock } = bench;
    await bench.run(JOBS.on);
    const ending = new AbortController();
    for (let round = 0; round < 5; round += 1) {
      clock.after(100 + round * 100, () => plant.clearFaults());
      clock.after(150 + round * 100, () => plant.addFault(bench.fault('good AUX stuck off')));
    }
    clock.after(2_000, () => ending.abort('SIGTERM'));
    expect((await bench.run(JOBS.watch, { signal: ending.signal })).state).toBe('pgood');
    expect(told(bench).map(({ miss }) => miss)).toEqual(['late', 'lost']);
  });

  it.each([
    ['switched', undefined],
    ['watched', { needs: ['A'] }],
    ['a supply', { needs: [] }],
  ])('is told of anew after the next power-on: %s', async (_, watchedBy) => {
    const bench = createBench(
      boardOf((rails) => {
        if (watchedBy)
          rails.AUX = { nominalVolts: 1, good: at(3), onTimeoutMs: 100, logOnly: true, ...watchedBy };
      }),
    );
    const watched = async () => {
      const ending = new AbortController();
      bench.clock.after(100, () => bench.plant.addFault(bench.fault('good AUX stuck off')));
      bench.clock.after(500, () => ending.abort('SIGTERM'));
      await bench.run(JOBS.watch, { signal: ending.signal });
    };
    await bench.run(JOBS.on);
    await watched();
    // Whoever drives next has it from the state file, as the service has written it there.
    expect((await bench.run(JOBS.on)).sequence.rails.AUX?.missed).toBe('lost');
    await bench.run(JOBS.off);
    // Until it has fallen, whatever its signal said.
    await bench.clock.advance(500);
    bench.plant.clearFaults();
    expect((await bench.run(JOBS.on)).sequence.rails.AUX?.missed).toBeUndefined();
    const before = told(bench).length;
    await watched();
    expect(told(bench).length - before).toBe(1);
  });

  it('keeps no reset held that waits for the host', async () => {
    const { plant, clock, plan, board, store, run } = createBench(
      boardOf(undefined, {
        resets: { PCI: { ...at(11), heldUntil: { signal: 'postComplete' } } },
        hostSignals: { postComplete: at(12) },
      }),
      { faults: ['good AUX stuck off'] },
    );
    await run(JOBS.on);
    const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
    const left = await clock.runUntil(
      (async () => {
        const hardware = await openChassis(board, 0, ports);
        const options = { plan, hardware, clock, store, record: () => undefined, mayRelease: () => true };
        return releaseResets(['PCI'], options);
      })(),
    );
    expect(left).toEqual([]);
  });

  it('that is gone takes no part in a fault, and goes off with the others', async () => {
    const bench = createBench(boardOf());
    await bench.run(JOBS.on);
    bench.clock.after(100, () => bench.plant.addFault(bench.fault('rail A slow off 300ms')));
    bench.clock.after(200, () => bench.plant.addFault(bench.fault('good A stuck off')));
    bench.clock.after(300, () => bench.plant.addFault(bench.fault('good AUX stuck off')));
    const { state, sequence } = await bench.run(JOBS.watch);
    expect([state, sequence.fault?.rail, bench.enabled()]).toEqual(['failed', 'A', []]);
    expect(told(bench)).toEqual([]);
  });

  it('keeps no reset held', async () => {
    const bench = createBench(boardOf(undefined, { resets: { CPU: { ...at(11), releaseDelayMs: 20 } } }), {
      faults: ['good AUX stuck off'],
    });
    expect((await bench.run(JOBS.on)).sequence.resetsAsserted).toEqual({ CPU: false });
    expect(bench.plant.hazards).toEqual([]);
  });
});

describe('the service', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'chassis-power-log-only-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const missedIn = (entries: readonly Recorded[]) =>
    entries.flatMap((entry) => (entry.type === 'missed' ? [entry.miss] : []));

  it('that starts anew over a rail that it told of does not tell of it again', async () => {
    const entries: Recorded[] = [];
    const board = boardOf();
    const setUp = { runDir: folder, board, record: (entry: Recorded) => void entries.push(entry) };
    const first = await startResident(setUp);
    const { clock, plant } = first;
    first.resident.begin();
    await clock.runUntil(first.resident.request('on', 'test').done);
    await clock.advance(100);
    plant.addFault(parseFault('good AUX stuck off', board));
    await clock.advance(100);
    await first.resident.stop('test');
    expect(missedIn(entries)).toEqual(['lost']);
    const second = await startResident({ ...setUp, clock, plant });
    second.resident.begin();
    await clock.advance(1_000);
    expect([second.resident.view.state, missedIn(entries)]).toEqual(['pgood', ['lost']]);
    await second.resident.stop('test');
  });

  it('that knows nothing of a chassis that is on keeps what it told', async () => {
    const entries: Recorded[] = [];
    const board = boardOf();
    const { clock, plant, resident } = await startResident({
      runDir: folder,
      board,
      initially: 'on',
      faults: ['good AUX stuck off'],
      record: (entry) => void entries.push(entry),
    });
    resident.begin();
    await clock.advance(3_000);
    expect([resident.view.state, missedIn(entries)]).toEqual(['pgood', ['lost']]);
    expect(plant.hazards).toEqual([]);
    await resident.stop('test');
  });
});

describe('a command', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'chassis-power-log-only-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const run = async (faults: readonly string[], create: EventLog['create']) => {
    const board = boardOf();
    const boardPath = join(folder, 'board.json');
    writeFileSync(boardPath, JSON.stringify(board));
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, faults: faults.map((text) => parseFault(text, board)) });
    const sent: Readonly<Record<string, string>>[] = [];
    const journal = {
      send: async (fields: Readonly<Record<string, string>>) => {
        sent.push(fields);
        return true;
      },
    };
    const { world, printed } = createVerbWorld(
      {
        clock,
        gpio: async () => createMockGpio(plant),
        i2c: async () => createMockI2c(plant),
        systemd: 'startedThis',
        stdout: { write: () => undefined, columns: null, journal: true },
        journal: async () => journal,
        eventLog: async () => ({ create }),
      },
      folder,
    );
    const code = await clock.runUntil(runCommandLine(['on', '--board', boardPath], world));
    return { code, stderr: printed().stderr, missed: sent.filter(({ RAIL }) => RAIL === 'AUX') };
  };
  const reason = 'rail AUX was not good within 100 ms of its enable';

  it('tells the journal and the event log', async () => {
    const entries: EventLogEntry[] = [];
    const create = async (entry: EventLogEntry) => entries.push(entry) > 0;
    const { code, missed } = await run(['good AUX stuck off'], create);
    expect(code).toBe(0);
    expect(missed).toMatchObject([
      {
        MESSAGE_ID: MESSAGE_IDS.railMissed,
        MESSAGE: `chassis 0 does without rail AUX: ${reason}`,
        PRIORITY: '3',
      },
    ]);
    expect(entries).toEqual([
      {
        name: 'xyz.openbmc_project.Power.Error.PowerSequencerVoltageFault',
        severity: 'Error',
        data: {
          CHASSIS_NUMBER: '0',
          RAIL_NAME: 'AUX',
          REASON: `${reason}: the chassis does without it`,
          _PID: String(process.pid),
        },
      },
    ]);
  });

  it('that fails of another rail tells of both', async () => {
    const entries: EventLogEntry[] = [];
    const create = async (entry: EventLogEntry) => entries.push(entry) > 0;
    const { code, missed } = await run(['good AUX stuck off', 'pgood never'], create);
    expect([code, missed.length]).toEqual([100, 1]);
    expect(entries.map(({ severity, data }) => [severity, data.RAIL_NAME])).toEqual([
      ['Critical', undefined],
      ['Error', 'AUX'],
    ]);
  });

  it('has done what was asked for where the event log cannot be told', async () => {
    const { code, stderr } = await run(['good AUX stuck off'], async () => {
      throw new SystemError('DBUS_UNAVAILABLE', 'there is no bus');
    });
    expect([code, stderr]).toEqual([0, 'chassis-power: the event log was not told: there is no bus\n']);
  });
});

describe('check', () => {
  it.each<[string, (rails: Rails) => void, string]>([
    [
      'needed',
      (rails) => Object.assign(rails.A ?? {}, { needs: ['AUX'] }) && delete rails.AUX?.needs,
      'rail A needs AUX',
    ],
    ['unseen', (rails) => delete rails.AUX?.good, 'rail AUX has no "good"'],
    [
      'all that is switched',
      (rails) => Object.assign(rails.A ?? {}, { logOnly: true }),
      'may be nothing to power on',
    ],
    [
      'all that is switched and always there',
      (rails) => Object.assign(rails.A ?? {}, { presence: at(8) }),
      'may be nothing to power on',
    ],
    [
      'behind a button',
      (rails) => Object.assign(rails.AUX ?? {}, { enable: { pulse: at(2) } }),
      'rail AUX has a power button',
    ],
  ])('refuses one that is %s', (_, edit, message) => {
    expect(JSON.stringify(described(edit).problems)).toContain(message.replaceAll('"', '\\"'));
  });
});
