import type {
  Clock,
  GpioBackend,
  I2cBackend,
  I2cDevice,
  PropertyBackend,
  SensorBackend,
} from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createMockProperties } from '../../mocks/backends/properties.ts';
import { createMockSensors } from '../../mocks/backends/sensors.ts';
import { systemError } from '../../mocks/backends/system-error.ts';
import type { Plant } from '../../mocks/plant/plant.ts';
import { createStallingLoop } from '../../mocks/stall.ts';
import type { Board } from '../../src/board/schema.ts';
import type { PowerError } from '../../src/errors.ts';
import { lineReporter } from '../../src/report/lines.ts';
import { openChassis } from '../../src/run/hardware.ts';
import type { Job } from '../../src/run/jobs.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { expectDone } from '../../src/run/outcome.ts';
import { presentToPowerOn } from '../../src/run/presence.ts';
import type { Recorded, Recorder } from '../../src/run/record.ts';
import { resetHeldHost } from '../../src/run/reset-host.ts';
import { type RunResult, runSequence } from '../../src/run/runner.ts';
import type { Plan } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import type { SnapshotStore } from '../../src/store/snapshot.ts';
import { createOutputQueue } from '../../src/system/output-queue.ts';
import type { Break, ProcessWorld } from './breaks.ts';
import type { BrokenOutput, Disturbance, Signal } from './draw.ts';

export type Verb =
  | 'start'
  | 'wait-on'
  | 'stop'
  | 'wait-off'
  | 'on'
  | 'off'
  | 'cycle'
  | 'clear'
  | 'status'
  | 'watch'
  | 'reset';

/** What each verb runs, one after the other while each of them reaches what it is for. */
const JOBS_OF: Readonly<Record<Exclude<Verb, 'status' | 'reset'>, readonly Job[]>> = {
  start: [JOBS.start],
  'wait-on': [JOBS.waitOn],
  stop: [JOBS.stop],
  'wait-off': [JOBS.waitOff],
  on: [JOBS.on],
  off: [JOBS.off],
  cycle: [JOBS.off, JOBS.on],
  clear: [JOBS.clear],
  watch: [JOBS.watch],
};
/** Verbs that only look, as long as nothing is lost. */
export const LOOKING: readonly Verb[] = ['status', 'watch'];
/** Verbs that do what they can with a chassis of which a part is out of reach. */
const POWERS_OFF: readonly Verb[] = ['stop', 'off'];

/** Calls of one process into its world. A run makes some thousands; one that loops without time makes more. */
const CALL_LIMIT = 500_000;
/** So many wakes without a reason are enough to see what they do. */
const SPURIOUS_WAKES = 200;

export type Ending =
  /** `failure` is what the process tells, and why its exit code is not 0; null: it is 0. */
  | {
      readonly kind: 'ended';
      readonly job: Job | null;
      readonly result: RunResult;
      readonly failure: PowerError | null;
    }
  /** It did what it is for, which is no sequence. */
  | { readonly kind: 'done' }
  | { readonly kind: 'rejected'; readonly error: unknown }
  | { readonly kind: 'killed' }
  | { readonly kind: 'hung'; readonly limitMs: number };

export interface ProcessOptions {
  readonly board: Board;
  readonly chassis: number;
  readonly plan: Plan;
  readonly plant: Plant;
  readonly clock: Clock;
  readonly store: SnapshotStore;
  readonly verb: Verb;
  readonly record: (entry: Recorded) => void;
  /** Waits until nobody else drives the chassis; rejects as the lock does. Null: it takes none. */
  readonly lock: ((clock: Clock, signal: AbortSignal) => Promise<() => void>) | null;
  /** For a watch: whether another process drives the chassis now. */
  readonly superseded: () => Promise<boolean>;
  /** Asks a watch to end. */
  readonly leave?: AbortSignal;
  /** Told when it has the lock, before it does anything else. */
  readonly onBegin: () => void;
  /** Told before each of its writes to a line or device, counted from 1. */
  readonly onWrite: (write: number) => void;
  /** Told when it comes to stand still, with the time at which it goes on. */
  readonly onStall: (span: { readonly fromMs: number; readonly toMs: number }) => void;
  readonly disturbances: readonly Disturbance[];
  readonly output: BrokenOutput | null;
  readonly sabotage: Break | null;
  /** Longest time from the begin to the end. */
  readonly limitMs: number;
}

/** A write that took time: the level that it was judged by may have changed meanwhile. */
export interface SlowWrite {
  readonly askedMs: number;
  readonly doneMs: number;
}

export interface Process {
  readonly ending: Ending;
  /** When it had the lock; null: it never got it. */
  readonly beganMs: number | null;
  /** When a kill or a signal came; null: it ended by itself before. */
  readonly disturbedAtMs: number | null;
  /** When the second signal came; null: none did. */
  readonly abandonedAtMs: number | null;
  /** Disturbances that came to pass. */
  readonly struck: readonly Disturbance[];
  /** From when to when it stood still. */
  readonly stalls: readonly { readonly fromMs: number; readonly toMs: number }[];
  readonly slowWrites: readonly SlowWrite[];
  /** What it drove, or told a device to do: lines, and commands on a bus but PAGE, which only says which output is meant. */
  readonly moves: readonly Move[];
  /** What it warned of and could not read, as it said so, one after the other. */
  readonly complaints: readonly string[];
}

export interface Move {
  readonly what: string;
  readonly atMs: number;
}

const PAGE = 0x00;

const NEVER = new Promise<never>(() => undefined);

/**
 * Runs a command as a process would: with its own handles, which the kernel takes back however it ends. A killed
 * process does nothing more from that moment: not a write, not a wake-up, not a saved state.
 */
export async function runProcess(options: ProcessOptions): Promise<Process> {
  const { board, chassis, plan, plant, clock, verb, limitMs, disturbances } = options;
  const loop = createStallingLoop(clock);
  let dead = false;
  let calls = 0;
  let writes = 0;
  let beganMs: number | null = null;
  let disturbedAtMs: number | null = null;
  let abandonedAtMs: number | null = null;
  let unlock: () => void = () => undefined;
  let endLife: (kind: 'killed' | 'hung') => void = () => undefined;
  const handles = new Set<() => Promise<void>>();
  const timers = new Set<() => void>();
  const wakes = new Set<() => void>();
  const stops: (() => void)[] = [];
  const struck: Disturbance[] = [];
  const stalls: { fromMs: number; toMs: number }[] = [];
  const slowWrites: SlowWrite[] = [];
  const complaints: string[] = [];
  const moves: Move[] = [];
  const moved = (what: string) => moves.push({ what, atMs: clock.nowMs() });
  const lifeEnd = new Promise<'killed' | 'hung'>((resolve) => {
    endLife = (kind) => {
      if (dead) return;
      dead = true;
      resolve(kind);
    };
  });

  const burn = (): void => {
    calls += 1;
    if (calls > CALL_LIMIT) throw new Error(`${CALL_LIMIT} calls in one process: it loops`);
  };
  const kill = (disturbance: Disturbance): void => {
    struck.push(disturbance);
    disturbedAtMs ??= clock.nowMs();
    endLife('killed');
  };
  const stall = (disturbance: Disturbance & { readonly ms: number }): void => {
    struck.push(disturbance);
    const fromMs = clock.nowMs();
    const span = { fromMs, toMs: fromMs + disturbance.ms };
    stalls.push(span);
    options.onStall(span);
    loop.stall(disturbance.ms);
  };

  const first = new AbortController();
  const second = new AbortController();
  const sendSignal = (disturbance: Disturbance & Signal): void => {
    const { signal, againMs } = disturbance;
    if (first.signal.aborted) return;
    struck.push(disturbance);
    disturbedAtMs ??= clock.nowMs();
    first.abort(signal);
    if (againMs === null) return;
    stops.push(
      loop.clock.after(againMs, () => {
        abandonedAtMs = clock.nowMs();
        second.abort(signal);
      }),
    );
  };
  const leave = () => first.abort('request');
  options.leave?.addEventListener('abort', leave);
  if (options.leave?.aborted) leave();

  const wakeAll = (disturbance: Disturbance & { readonly everyMs: number }): void => {
    let left = SPURIOUS_WAKES;
    const wake = (): void => {
      if (left === SPURIOUS_WAKES) struck.push(disturbance);
      left -= 1;
      for (const each of [...wakes]) each();
      if (left > 0) stops.push(loop.clock.after(disturbance.everyMs, wake));
    };
    stops.push(loop.clock.after(disturbance.everyMs, wake));
  };

  /** What is to happen at the call of this number, and at the write where it is one. */
  const atCall = (when: 'before' | 'after', call: number, write: number | null): void => {
    for (const disturbance of disturbances) {
      if (disturbance.kind === 'stallAtCall' && disturbance.call === call && disturbance.when === when) {
        stall(disturbance);
      }
      if (write === null) continue;
      if (disturbance.kind === 'signalAtWrite' && disturbance.write === write && when === 'before') {
        sendSignal(disturbance);
      }
      if (
        disturbance.kind === 'killAtWrite' &&
        disturbance.write === write &&
        disturbance.when === when &&
        !dead
      ) {
        kill(disturbance);
      }
    }
  };

  /** A process that is dead by the end of a call never comes back from it. */
  const ask = async <T>(isWrite: boolean, call: () => Promise<T>): Promise<T> => {
    burn();
    if (dead) return NEVER;
    // Others come while this one is under way, those of its transaction among them.
    const number = calls;
    const askedMs = clock.nowMs();
    const write = isWrite ? ++writes : null;
    atCall('before', number, write);
    if (write !== null) options.onWrite(write);
    if (dead) return NEVER;
    try {
      const value = await call();
      atCall('after', number, write);
      return dead ? NEVER : value;
    } catch (error) {
      if (dead) return NEVER;
      throw error;
    } finally {
      if (isWrite && clock.nowMs() > askedMs) slowWrites.push({ askedMs, doneMs: clock.nowMs() });
    }
  };
  const read = <T>(call: () => Promise<T>): Promise<T> => ask(false, call);
  const write = (call: () => Promise<void>): Promise<void> => ask(true, call);
  /** The kernel closes what a process had open, and closing twice is no harm. */
  const owned = <T extends { close(): Promise<void> }>(handle: T): (() => Promise<void>) => {
    const close = async () => {
      handles.delete(close);
      await handle.close();
    };
    handles.add(close);
    return close;
  };

  const ownClock: Clock = {
    nowMs: () => {
      burn();
      return clock.nowMs();
    },
    wallTime: () => clock.wallTime(),
    after: (delayMs, run) => {
      burn();
      const cancel = loop.clock.after(delayMs, () => {
        timers.delete(cancel);
        if (!dead) run();
      });
      timers.add(cancel);
      return () => {
        timers.delete(cancel);
        cancel();
      };
    },
  };

  /** A call that stood still when its process was killed does not take effect when it would have gone on. */
  const alive = <T>(call: () => Promise<T>): Promise<T> => (dead ? NEVER : call());
  const plantGpio = createMockGpio(plant);
  const rawGpio = loop.gpio({
    ...plantGpio,
    openInput: (ref) => alive(() => plantGpio.openInput(ref)),
    async openOutput(ref) {
      const raw = await alive(() => plantGpio.openOutput(ref));
      return { ...raw, read: () => alive(() => raw.read()), write: (level) => alive(() => raw.write(level)) };
    },
  });
  const gpio: GpioBackend = {
    locate: (lines) => read(() => rawGpio.locate(lines)),
    release: (lines) => write(() => rawGpio.release(lines)),
    openOutput: (ref) =>
      read(async () => {
        const raw = await rawGpio.openOutput(ref);
        const close = owned(raw);
        return {
          read: () => read(() => raw.read()),
          write: (level) => {
            moved(`line ${JSON.stringify(ref)}`);
            return write(() => raw.write(level));
          },
          close: () => read(close),
        };
      }),
    openInput: (ref) =>
      read(async () => {
        const raw = await rawGpio.openInput(ref);
        const close = owned(raw);
        return {
          read: () => read(() => raw.read()),
          onEdge: (wake, watching) => {
            const told = () => {
              if (!dead) wake();
            };
            wakes.add(told);
            const end = raw.onEdge(told, watching);
            return () => {
              wakes.delete(told);
              end();
            };
          },
          close: () => read(close),
        };
      }),
  };

  const plantI2c = createMockI2c(plant);
  const rawI2c = loop.i2c({
    async openBus(bus) {
      const raw = await alive(() => plantI2c.openBus(bus));
      return {
        ...raw,
        transaction: (address, steps, options) =>
          raw.transaction(
            address,
            (held) =>
              steps({
                readByte: (command) => alive(() => held.readByte(command)),
                readWord: (command) => alive(() => held.readWord(command)),
                readBlock: (command, length) => alive(() => held.readBlock(command, length)),
                writeByte: (command, value) => alive(() => held.writeByte(command, value)),
                writeWord: (command, value) => alive(() => held.writeWord(command, value)),
              }),
            options,
          ),
      };
    },
  });
  const plantSensors = createMockSensors(plant);
  const rawSensors = loop.sensors({
    locate: (sensor) => alive(() => plantSensors.locate(sensor)),
    readVolts: (sensor) => alive(() => plantSensors.readVolts(sensor)),
  });
  const sensors: SensorBackend = {
    locate: (sensor) => read(() => rawSensors.locate(sensor)),
    readVolts: (sensor) => read(() => rawSensors.readVolts(sensor)),
  };
  const plantProperties = createMockProperties(plant);
  const rawProperties = loop.properties({
    readBoolean: (property, limitMs) => alive(() => plantProperties.readBoolean(property, limitMs)),
    watch: (property, wake) => plantProperties.watch(property, wake),
  });
  const properties: PropertyBackend = {
    readBoolean: (property, limitMs) => read(() => rawProperties.readBoolean(property, limitMs)),
    watch(property, wake) {
      const told = () => {
        if (!dead) wake();
      };
      wakes.add(told);
      const end = rawProperties.watch(property, told);
      return () => {
        wakes.delete(told);
        end();
      };
    },
  };
  const device = (raw: I2cDevice): I2cDevice => ({
    readByte: (command) => read(() => raw.readByte(command)),
    readWord: (command) => read(() => raw.readWord(command)),
    readBlock: (command, length) => read(() => raw.readBlock(command, length)),
    writeByte: (command, value) => {
      if (command !== PAGE) moved(`command ${command} of a device`);
      return write(() => raw.writeByte(command, value));
    },
    writeWord: (command, value) => {
      moved(`command ${command} of a device`);
      return write(() => raw.writeWord(command, value));
    },
  });
  const i2c: I2cBackend = {
    openBus: (bus) =>
      read(async () => {
        const raw = await rawI2c.openBus(bus);
        const close = owned(raw);
        return {
          // The bus is let go when its holder dies, or the next process would wait for a dead one.
          transaction: (address, steps, options) =>
            read(() =>
              raw.transaction(
                address,
                (held) => Promise.race([steps(device(held)), lifeEnd.then(() => undefined as never)]),
                options,
              ),
            ),
          close: () => read(close),
        };
      }),
  };

  const store: SnapshotStore = {
    load: () => options.store.load(),
    save: (state, sequence) => (dead ? null : options.store.save(state, sequence)),
  };
  const report = options.output === null ? () => undefined : reportTo(options.output, chassis, loop.clock);
  const whole: ProcessWorld = {
    gpio,
    i2c,
    sensors,
    properties,
    clock: ownClock,
    store,
    record: (entry) => {
      if (dead) return;
      if (entry.type === 'warning') complaints.push(entry.message);
      if (entry.type === 'readFailed') complaints.push(`not read: ${entry.reason}`);
      options.record(entry);
      report(entry);
    },
  };
  const isOutputBroken = options.output !== null;
  const world = options.sabotage?.world?.(whole, { board, chassis, verb, isOutputBroken }) ?? whole;
  const begin = (): void => {
    beganMs = clock.nowMs();
    options.onBegin();
    stops.push(clock.after(limitMs, () => endLife('hung')));
    for (const disturbance of disturbances) {
      if (disturbance.kind === 'killAtTime')
        stops.push(clock.after(disturbance.atMs, () => kill(disturbance)));
      if (disturbance.kind === 'signalAtTime')
        stops.push(loop.clock.after(disturbance.atMs, () => sendSignal(disturbance)));
      if (disturbance.kind === 'stallAtTime')
        stops.push(clock.after(disturbance.atMs, () => stall(disturbance)));
      if (disturbance.kind === 'spuriousWakes') wakeAll(disturbance);
    }
  };

  const life = async (): Promise<Ending> => {
    try {
      unlock = (await options.lock?.(ownClock, first.signal)) ?? unlock;
      begin();
      const ports = {
        gpio: async () => world.gpio,
        i2c: async () => world.i2c,
        sensors: async () => world.sensors,
        properties: async () => world.properties,
        clock: world.clock,
      };
      const hardware = await openChassis(board, chassis, ports, {
        whatCanBeHad: POWERS_OFF.includes(verb),
      });
      try {
        if (verb === 'status') {
          const { hint } = world.store.load();
          const present = await presentToPowerOn({ plan, hardware }, hint);
          const { observation, unreadable } = await present.hardware.observe();
          const error = unreadable[0]?.error ?? present.error;
          if (error) throw error;
          const seen = reconcile(present.plan, observation, hint, clock.nowMs());
          return {
            kind: 'ended',
            job: null,
            result: { ...seen, answer: null, isFaultOfThisRun: false },
            failure: null,
          };
        }
        if (verb === 'reset') {
          await resetHeldHost({
            plan,
            hardware,
            clock: world.clock,
            store: world.store,
            signal: first.signal,
          });
          return { kind: 'done' };
        }
        let ended: Ending | null = null;
        for (const job of JOBS_OF[verb]) {
          const result = await runSequence(job, {
            plan,
            hardware,
            clock: world.clock,
            store: world.store,
            signal: first.signal,
            abandon: second.signal,
            superseded: options.superseded,
            record: world.record,
          });
          const failure = verb === 'watch' ? null : failureOf(chassis, verb, job, result);
          ended = { kind: 'ended', job, result, failure };
          if (failure !== null) break;
        }
        if (ended === null) throw new RangeError('a process without a job');
        return ended;
      } finally {
        await hardware.close();
      }
    } catch (error) {
      return { kind: 'rejected', error };
    }
  };

  const ending = await Promise.race([
    life(),
    lifeEnd.then((kind): Ending => (kind === 'killed' ? { kind } : { kind, limitMs })),
  ]);
  dead = true;
  options.leave?.removeEventListener('abort', leave);
  for (const stop of [...stops, ...timers]) stop();
  for (const close of [...handles]) await close();
  unlock();
  const told = options.sabotage?.ending?.(ending) ?? ending;
  return {
    ending: told,
    beganMs,
    disturbedAtMs,
    abandonedAtMs,
    struck,
    stalls,
    slowWrites,
    moves,
    complaints,
  };
}

/** The record as lines on an output that nobody takes any more from some write on. */
function reportTo({ errno, from }: BrokenOutput, chassis: number, clock: Clock): Recorder {
  let sent = 0;
  const { write } = createOutputQueue(
    clock,
    (data) => {
      sent += 1;
      if (sent > from) throw systemError(errno);
      return data.length;
    },
    (lines) => `${lines} lines are missing`,
  );
  return lineReporter({ write, columns: null, journal: false }, chassis);
}

/** What the command line would end with, null for exit code 0. */
function failureOf(chassis: number, verb: Verb, job: Job, result: RunResult): PowerError | null {
  try {
    expectDone(chassis, verb, job, result);
    return null;
  } catch (error) {
    return error as PowerError;
  }
}
