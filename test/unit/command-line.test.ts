import { getEventListeners } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createMockProperties } from '../../mocks/backends/properties.ts';
import { createMockSensors } from '../../mocks/backends/sensors.ts';
import { createMemoryDisk, type MemoryDisk } from '../../mocks/disk.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import type { World } from '../../src/cli/world.ts';
import { MESSAGE_IDS } from '../../src/report/events.ts';
import { lockChassis } from '../../src/store/lock.ts';
import { SystemError } from '../../src/system/errors.ts';
import type { EventLogEntry } from '../../src/system/ports.ts';
import { checkBoard } from '../check-board.ts';
import { draws } from '../draws.ts';
import './load-verbs.ts';
import { flock } from './flock.ts';

/** Two chassis of one rail each; the one of chassis 1 is switched by pin C1 and over PMBus, and seen at B1. */
const BOARD = {
  name: 'two-chassis',
  devices: { vr: { bus: 3, address: '0x60' } },
  chassis: Object.fromEntries(
    [0, 1].map((number) => [
      number,
      {
        rails: {
          MAIN: {
            enable: { chip: 'gpio', line: `C${number}` },
            good: { chip: 'gpio', line: `B${number}` },
            onTimeoutMs: 500,
          },
          ...(number === 1 && {
            CORE: { enable: { pmbus: 'vr' }, good: { pmbus: 'vr', minVolts: 0.9 }, needs: ['MAIN'] },
          }),
        },
        pgood: { chip: 'gpio', line: `D${number}` },
      },
    ]),
  ),
};

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'command-line-'));
  writeFileSync(join(dir, 'board.json'), JSON.stringify(BOARD));
});
afterEach(() => rmSync(dir, { recursive: true }));

interface Options {
  readonly faults?: readonly string[];
  readonly initially?: 'off' | 'on';
  readonly units?: World['units'];
  readonly eventLog?: World['eventLog'];
  readonly systemd?: World['systemd'];
  /** When SIGINT comes, once or twice. */
  readonly signalsAtMs?: readonly number[];
  /** So long another process drives chassis 0 from the beginning on. */
  readonly heldForMs?: number;
  readonly objectBus?: World['objectBus'];
  readonly disk?: MemoryDisk;
  /** Output goes to a journal, which takes entries with fields, or does not. */
  readonly journal?: (fields: Readonly<Record<string, string>>, clock: Clock) => Promise<boolean>;
  /** What else happens in the world: SIGHUP can be sent, and the board file changed. */
  readonly meanwhile?: (at: {
    readonly after: (ms: number, run: () => void) => void;
    readonly hangUp: () => void;
    readonly boardPath: string;
  }) => void;
}

/** Runs one command line on a plant of its own. */
async function run(args: readonly string[], options: Options = {}) {
  const { faults = [], initially = 'off', signalsAtMs = [] } = options;
  const { board, problems } = checkBoard(BOARD);
  if (!board) throw new TypeError(JSON.stringify(problems));
  const clock = createVirtualClock();
  const plant = createPlant({
    board,
    clock,
    initially,
    faults: faults.map((text) => parseFault(text, board)),
  });
  const controllers = [new AbortController(), new AbortController()] as const;
  for (const [index, ms] of signalsAtMs.entries()) {
    const abort = () => controllers[index]?.abort('SIGINT');
    if (ms === 0) abort();
    else clock.after(ms, abort);
  }
  let hangUp = (): void => undefined;
  const boardPath = join(dir, 'board.json');
  options.meanwhile?.({ after: (ms, run) => clock.after(ms, run), hangUp: () => hangUp(), boardPath });
  const { heldForMs } = options;
  if (heldForMs !== undefined) {
    const held = await clock.runUntil(
      lockChassis(join(dir, 'run'), 0, 'wait-on', {
        clock,
        flock,
        waitMs: 0,
        signal: new AbortController().signal,
        onWait: () => undefined,
      }),
    );
    clock.after(heldForMs, () => held.release());
  }
  const startMs = clock.nowMs();
  let stdout = '';
  let stderr = '';
  const unavailable = async () => {
    throw new SystemError('DBUS_UNAVAILABLE', 'there is no bus');
  };
  const notify = async () => undefined;
  const pending: Promise<void>[] = [];
  const world: World = {
    clock,
    flock,
    gpio: async () => createMockGpio(plant),
    looks: async () => createMockGpio(plant),
    i2c: async () => createMockI2c(plant),
    sensors: async () => createMockSensors(plant),
    properties: async () => createMockProperties(plant),
    units: options.units ?? unavailable,
    objectBus: options.objectBus ?? unavailable,
    eventLog: options.eventLog ?? unavailable,
    journal: async () => ({
      send: async (fields) => options.journal?.(fields, clock) ?? expect.fail('no output goes to a journal'),
    }),
    updateCatalogue: unavailable,
    notifier: async () => ({
      watchdogIntervalMs: null,
      ready: notify,
      status: notify,
      stopping: notify,
      alive: notify,
    }),
    bootId: () => 'boot',
    picture: async () => null,
    build: () => 'build',
    env: {},
    stdout: {
      write: (text) => {
        stdout += text;
      },
      columns: null,
      journal: options.journal !== undefined,
    },
    stderr: {
      write: (text) => {
        stderr += text;
      },
      columns: null,
      journal: options.journal !== undefined,
    },
    signal: controllers[0].signal,
    abandon: controllers[1].signal,
    onHangup: (handler) => {
      hangUp = handler;
      return () => undefined;
    },
    systemd: options.systemd ?? 'present',
    defaultRunDir: join(dir, 'run'),
    stateDir: dir,
    disk: async () => options.disk ?? createMemoryDisk(),
    caller: () => 'somebody',
    background: (work) => void pending.push(work),
    openbmcRunDir: dir,
    unitSourceDir: dir,
    programName: 'chassis-power',
  };
  const code = await clock.runUntil(runCommandLine([...args, '--board', boardPath], world));
  await clock.runUntil(Promise.all(pending));
  const errors = stdout.split('\n').filter((line) => line.startsWith('{"error"'));
  const raised = plant.history.filter(
    (event) => event.type === 'line' && event.role === 'enable' && event.asserted,
  ).length;
  return {
    code,
    stdout,
    stderr,
    error: errors.length === 0 ? null : JSON.parse(errors[0] ?? '').error,
    /** Enables that were asserted in the course of it. */
    raised,
    /** What was driven, and when. */
    driven: plant.history
      .filter((event) => event.type === 'line' && event.role === 'enable')
      .map((event) => ({ ...event, atMs: event.atMs - startMs })),
    elapsedMs: clock.nowMs() - startMs,
    /** What still waits for the request to end. */
    waiting: getEventListeners(controllers[0].signal, 'abort').length,
  };
}

describe('an error says which chassis it hit', () => {
  it.each([
    // Lines and buses that cannot be opened.
    ['start', 'line C1 busy', 'off', 'GPIO_BUSY', 'enable of rail MAIN: GPIO line C1 of gpio is held by '],
    ['status', 'line B1 busy', 'off', 'GPIO_BUSY', 'good signal of rail MAIN: GPIO line B1 of gpio is held'],
    ['adopt', 'line D1 busy', 'off', 'GPIO_BUSY', 'pgood: GPIO line D1 of gpio is held by '],
    ['serve', 'line D1 busy', 'off', 'GPIO_BUSY', 'pgood: GPIO line D1 of gpio is held by '],
    // The first read.
    ['on', 'i2c vr nack', 'off', 'I2C_NO_DEVICE', 'enable of rail CORE: 0x60 on I2C bus 3 '],
    ['wait-off', 'line D1 read error', 'on', 'GPIO_FAILED', 'pgood: GPIO line D1 of gpio cannot be read'],
    ['status', 'line D1 read error', 'on', 'GPIO_FAILED', 'pgood: GPIO line D1 of gpio cannot be read'],
    ['adopt', 'line D1 read error', 'on', 'GPIO_FAILED', 'pgood: GPIO line D1 of gpio cannot be read'],
    ['serve', 'line D1 read error', 'on', 'GPIO_FAILED', 'pgood: GPIO line D1 of gpio cannot be read'],
    // What a power-off cannot reach.
    ['off', 'line C1 busy', 'on', 'HARDWARE_FAULT', 'enable of rail MAIN: GPIO line C1 of gpio is held by '],
    ['off', 'line D1 read error', 'off', 'GPIO_FAILED', 'pgood: GPIO line D1 of gpio cannot be read'],
  ] as const)('%s with "%s"', async (verb, fault, initially, code, text) => {
    const { error, stderr } = await run([verb, '--chassis', '1', '--json'], { faults: [fault], initially });
    expect(error).toMatchObject({ code, chassis: 1 });
    expect(error.message.slice(0, `chassis 1: ${text}`.length)).toBe(`chassis 1: ${text}`);
    expect(stderr).toContain(`chassis-power: ${error.message}`);
  });

  it('one of a part that cannot be read comes after all the others, which status tells', async () => {
    const { code, stdout, error } = await run(['status', '--chassis', '1', '--json'], {
      faults: ['i2c vr nack'],
      initially: 'on',
    });
    const [report] = stdout.split('\n');
    expect(JSON.parse(report ?? '')).toMatchObject({
      state: 'unknown',
      pgood: true,
      rails: { MAIN: { enabled: true, good: true }, CORE: { enabled: null, good: null, voutVolts: null } },
      unread: [{ code: 'I2C_NO_DEVICE' }, { code: 'I2C_NO_DEVICE' }],
    });
    expect({ code, error }).toMatchObject({ code: 74, error: { code: 'I2C_NO_DEVICE' } });
  });

  it.each([
    [[20], 'chassis 1: SIGINT in opPowerStart: the power was taken down'],
    [[700, 700.5], 'chassis 1: SIGINT in opPowerStop, again: the lines stay as they are; '],
    [[0], 'chassis 1: SIGINT: nothing was begun, the chassis is off'],
  ])('one that was interrupted after %j ms', async (signalsAtMs, text) => {
    const faults = ['chassis 1 pgood never', 'chassis 1 rail CORE slow off 400ms'];
    const { code, error } = await run(['on', '--chassis', '1', '--json'], { faults, signalsAtMs });
    expect(code).toBe(130);
    expect(error).toMatchObject({ code: 'INTERRUPTED', chassis: 1, signal: 'SIGINT' });
    expect(error.message.slice(0, text.length)).toBe(text);
  });
});

describe('systemd that could not be told', () => {
  it('of a failure is told after the failure', async () => {
    const { code, stderr } = await run(['on'], { faults: ['rail MAIN never good'] });
    expect(code).toBe(101);
    expect(stderr.split('\n')).toEqual([
      'chassis-power: chassis 0: rail MAIN was not good within 500 ms of its enable; the power was taken down',
      'chassis-power: the event log was not told: there is no bus',
      'chassis-power: systemd could not be told: there is no bus',
      '',
    ]);
  });

  it('of a success is a warning', async () => {
    const { code, stderr } = await run(['on']);
    expect(code).toBe(0);
    expect(stderr).toBe('chassis-power: systemd could not be told: there is no bus\n');
  });
});

describe('the event log hears of a request that failed', () => {
  const told = async (args: readonly string[], options: Options) => {
    const entries: EventLogEntry[] = [];
    const eventLog = async () => ({
      async create(entry: EventLogEntry) {
        entries.push(entry);
        return true;
      },
    });
    const { code } = await run(args, { ...options, eventLog });
    return { code, entries };
  };

  it.each(['startedThis', 'present'] as const)('with its rail (systemd %s)', async (systemd) => {
    const { code, entries } = await told(['on'], { faults: ['rail MAIN never good'], systemd });
    expect(code).toBe(101);
    expect(entries).toEqual([
      {
        name: 'xyz.openbmc_project.Power.Error.PowerSequencerVoltageFault',
        severity: 'Critical',
        data: expect.objectContaining({
          CHASSIS_NUMBER: '0',
          REQUEST: 'power on',
          REASON: 'rail MAIN was not good within 500 ms of its enable; the power was taken down',
          RAIL_NAME: 'MAIN',
          POWER_STILL_APPLIED: 'false',
          // What its signal said, with the names of phosphor-power.
          GPIO_LINE: 'line B0 of gpio',
          GPIO_VALUE: '0',
        }),
      },
    ]);
  });

  it.each([
    [
      'off',
      'rail MAIN slow off 600s',
      'on',
      'Power.Error.PowerOffTimeout',
      'true',
      /^rail MAIN .*; POWER IS STILL APPLIED \(rail MAIN /,
    ],
    [
      'stop',
      'enable MAIN stuck on',
      'on',
      'State.Chassis.Error.PowerOffFailure',
      'true',
      /; POWER IS STILL APPLIED \(rail MAIN /,
    ],
    ['on', 'pgood never', 'off', 'Power.Error.PowerOnTimeout', 'false', /^pgood did not come/],
    [
      'start',
      'line C0 busy',
      'off',
      'State.Chassis.Error.PowerOnFailure',
      undefined,
      /^enable of rail MAIN: /,
    ],
  ] as const)('%s with "%s"', async (verb, fault, initially, name, applied, reason) => {
    const { code, entries } = await told([verb], { faults: [fault], initially, systemd: 'startedThis' });
    expect(code).not.toBe(0);
    expect(entries).toHaveLength(1);
    expect(entries[0]?.name).toBe(`xyz.openbmc_project.${name}`);
    expect(entries[0]?.data.REASON).toMatch(reason);
    expect(entries[0]?.data.POWER_STILL_APPLIED).toBe(applied);
  });

  it('and not of one that worked, was interrupted, was never begun at a shell, or is simulated', async () => {
    expect(await told(['on'], {})).toEqual({ code: 0, entries: [] });
    expect(await told(['on'], { signalsAtMs: [20], faults: ['pgood never'] })).toEqual({
      code: 130,
      entries: [],
    });
    expect(await told(['on'], { faults: ['line C0 busy'] })).toEqual({ code: 74, entries: [] });
    const simulated = await told(['on'], { faults: ['rail MAIN never good'], systemd: 'absent' });
    expect(simulated).toEqual({ code: 101, entries: [] });
  });
});

/** Journals by what they do with an entry with fields. */
const JOURNALS = {
  takes: async () => true,
  'is gone': async () => false,
  breaks: async () => {
    throw new TypeError('this journal breaks');
  },
} satisfies Record<string, () => Promise<boolean>>;

describe('the journal is told', () => {
  const told = async (args: readonly string[], options: Options = {}) => {
    const entries: Readonly<Record<string, string>>[] = [];
    const journal: Options['journal'] = async (fields) => entries.push(fields) > 0;
    const ended = await run(args, { systemd: 'startedThis', journal, ...options });
    return { ...ended, entries };
  };

  it('of a rail that failed in one entry with fields, and in no line of the same text', async () => {
    const { code, entries, stderr } = await told(['on'], { faults: ['rail MAIN never good'] });
    expect(code).toBe(101);
    const text =
      'chassis-power: chassis 0: rail MAIN was not good within 500 ms of its enable; the power was taken down';
    expect(entries).toEqual([
      {
        MESSAGE: text,
        PRIORITY: '3',
        SYSLOG_IDENTIFIER: 'chassis-power',
        MESSAGE_ID: MESSAGE_IDS.railTimeout,
        CHASSIS: '0',
        STAGE: 'op-wait-power-on',
        RAIL: 'MAIN',
        REASON: 'rail MAIN was not good within 500 ms of its enable',
        CAUSE: 'neverCame',
        ERROR_CODE: 'RAIL_FAULT',
        POWER_STILL_APPLIED: 'false',
        ELAPSED_MS: expect.stringMatching(/^5\d\d$/),
      },
    ]);
    expect(stderr).not.toContain(text);
  });

  it('of the end of a sequence with its time, once and by the stage that reached it', async () => {
    const { entries, stdout } = await told(['on']);
    expect(entries).toEqual([
      {
        MESSAGE: expect.stringMatching(/^chassis 0 is on: on took \d+ ms$/),
        PRIORITY: '6',
        SYSLOG_IDENTIFIER: 'chassis-power',
        MESSAGE_ID: MESSAGE_IDS.poweredOn,
        CHASSIS: '0',
        ELAPSED_MS: expect.stringMatching(/^\d+$/),
      },
    ]);
    expect(stdout).not.toContain('took');
    expect((await told(['on'], { initially: 'on' })).entries).toEqual([]);
    expect((await told(['start'])).entries).toEqual([]);
    expect((await told(['off'], { initially: 'on' })).entries).toMatchObject([
      { MESSAGE_ID: MESSAGE_IDS.poweredOff },
    ]);
  });

  it.each(['is gone', 'breaks'] as const)('in the same plain line where it %s', async (behaviour) => {
    const { stdout, stderr } = await run(['off'], {
      initially: 'on',
      systemd: 'startedThis',
      journal: JOURNALS[behaviour],
    });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^<6>chassis 0 is off: off took \d+ ms$/m);
    const failed = await run(['wait-on'], { systemd: 'startedThis', journal: JOURNALS[behaviour] });
    expect(failed.stderr).toMatch(/^<3>chassis-power: chassis 0: wait-on has nothing to wait for/m);
  });

  it('and neither the lines, their times, the exit code nor a word depends on whether it listens', async () => {
    const verbs = fc.constantFrom(
      'start',
      'wait-on',
      'stop',
      'wait-off',
      'on',
      'off',
      'cycle',
      'clear',
      'adopt',
    );
    const faults = fc.subarray(
      ['rail MAIN never good', 'pgood never', 'line C0 busy', 'line D0 read error', 'pgood stuck on'],
      { maxLength: 2 },
    );
    const initially = fc.constantFrom('off' as const, 'on' as const);
    const slowMs = fc.constantFrom(0, 1_000);
    const behaviours = fc.constantFrom(...Object.values(JOURNALS));
    const words = (...texts: string[]) => texts.join('').split('\n').sort();
    await fc.assert(
      fc.asyncProperty(verbs, faults, initially, slowMs, behaviours, async (verb, drawn, from, ms, send) => {
        const options: Options = { faults: drawn, initially: from, systemd: 'startedThis' };
        const taken: string[] = [];
        const fresh = async (journal: NonNullable<Options['journal']>) => {
          rmSync(join(dir, 'run'), { recursive: true, force: true });
          return run([verb], { ...options, journal });
        };
        const plain = await fresh(async () => false);
        const other = await fresh(async (fields, clock) => {
          await pause(clock, ms);
          const isTaken = await send();
          if (isTaken) taken.push(`<${fields.PRIORITY}>${fields.MESSAGE}\n`);
          return isTaken;
        });
        expect(other.code).toBe(plain.code);
        expect(other.driven).toEqual(plain.driven);
        expect(words(other.stdout, other.stderr, ...taken)).toEqual(words(plain.stdout, plain.stderr));
      }),
      { numRuns: draws(60) },
    );
  });
});

describe('a chassis that another process drives', () => {
  it.each(['start', 'stop', 'wait-off', 'off'])('is waited for by %s', async (verb) => {
    const { code, elapsedMs } = await run([verb], { heldForMs: 30_000 });
    expect(code).toBe(0);
    expect(elapsedMs).toBeGreaterThanOrEqual(30_000);
  });

  it.each(['on', 'cycle', 'clear'])('is told at once by %s', async (verb) => {
    const { code, error, elapsedMs, raised } = await run([verb, '--json'], { heldForMs: 30_000 });
    expect(code).toBe(75);
    expect(error).toMatchObject({ code: 'CHASSIS_LOCKED' });
    expect(elapsedMs).toBeLessThan(30_000);
    expect(raised).toBe(0);
  });
});

describe('cycle', () => {
  it('powers off and on', async () => {
    const { code, raised } = await run(['cycle'], { initially: 'on' });
    expect(code).toBe(0);
    expect(raised).toBe(1);
  });

  it('does not power on what it could not power off', async () => {
    const { code, raised } = await run(['cycle'], { initially: 'on', faults: ['pgood stuck on'] });
    expect(code).toBe(103);
    expect(raised).toBe(0);
  });
});

describe('a board file that changed, on SIGHUP to the service', () => {
  const changed = JSON.stringify({ ...BOARD, name: 'another' });
  /** A bus on which everything goes well; whoever starts it again has begun anew. */
  const startsOnBus = () => {
    const starts: number[] = [];
    const objectBus: World['objectBus'] = async () => ({
      isConnected: true,
      start: async () => {
        starts.push(starts.length);
      },
      changed: () => undefined,
      emit: () => undefined,
      close: async () => undefined,
    });
    return { starts, objectBus };
  };

  it.each([
    ['is taken while every chassis is off', 'off', 2],
    ['is refused while a chassis is on', 'on', 1],
  ] as const)('%s', async (_, initially, starts) => {
    const bus = startsOnBus();
    const { code, stdout } = await run(['serve', '--state', 'off'], {
      initially,
      objectBus: bus.objectBus,
      signalsAtMs: [20_000],
      meanwhile: ({ after, hangUp, boardPath }) =>
        after(10_000, () => {
          writeFileSync(boardPath, changed);
          hangUp();
        }),
    });
    expect(bus.starts).toHaveLength(starts);
    expect(stdout).toContain(initially === 'on' ? 'not reloaded' : 'starting over');
    expect(code).toBe(0);
  });

  it('leaves nothing behind, however often it is taken', async () => {
    const bus = startsOnBus();
    const times = Array.from({ length: 12 }, (_, time) => time + 1);
    const { code, waiting } = await run(['serve', '--state', 'off'], {
      objectBus: bus.objectBus,
      signalsAtMs: [130_000],
      meanwhile: (at) => {
        for (const time of times) {
          at.after(time * 10_000, () => {
            writeFileSync(at.boardPath, JSON.stringify({ ...BOARD, name: `board-${time}` }));
            at.hangUp();
          });
        }
      },
    });
    expect(bus.starts).toHaveLength(1 + times.length);
    expect(waiting).toBe(0);
    expect(code).toBe(0);
  });
});
