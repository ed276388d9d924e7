import type { Clock, GpioBackend, I2cBackend, I2cDevice } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/gpio.ts';
import { createMockI2c } from '../../mocks/i2c.ts';
import type { Plant } from '../../mocks/plant.ts';
import type { Board } from '../../src/board/schema.ts';
import { openChassis } from '../../src/run/hardware.ts';
import type { Recorded } from '../../src/run/record.ts';
import { type Job, type RunResult, runSequence } from '../../src/run/runner.ts';
import type { SnapshotStore } from '../../src/run/snapshot.ts';
import type { Plan } from '../../src/sequence/plan.ts';

/** Calls of one process into its world. A run makes some thousands; one that loops without time makes more. */
const CALL_LIMIT = 500_000;

/** How a process is disturbed from outside; times from its start. */
export type Disturbance =
  /** kill -9 at its n-th write to a line or device, before or after the write took effect. */
  | { readonly kind: 'killAtWrite'; readonly write: number; readonly when: 'before' | 'after' }
  | { readonly kind: 'killAtTime'; readonly ms: number }
  | (Signal & { readonly kind: 'signalAtWrite'; readonly write: number })
  | (Signal & { readonly kind: 'signalAtTime'; readonly ms: number });

interface Signal {
  readonly signal: 'SIGTERM' | 'SIGINT';
  /** A second one follows after so long; null: it is left to end by itself. */
  readonly againMs: number | null;
}

export type Ending =
  | { readonly kind: 'ended'; readonly job: Job; readonly result: RunResult }
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
  readonly record: (entry: Recorded) => void;
  /** Whether its command powers off, and takes what it can have of the chassis. */
  readonly powersOff: boolean;
  /** Run one after the other while each of them reaches what it is for. */
  readonly jobs: readonly Job[];
  readonly succeeded: (job: Job, result: RunResult) => boolean;
  readonly disturbance: Disturbance | null;
  readonly limitMs: number;
}

export interface Process {
  readonly ending: Ending;
  /** When the disturbance came; null: the process ended by itself before. */
  readonly disturbedAtMs: number | null;
  /** When the second signal came; null: none did. */
  readonly abandonedAtMs: number | null;
  readonly writes: number;
}

const NEVER = new Promise<never>(() => undefined);

/**
 * Runs jobs as a process would: with its own handles, which the kernel takes back however it ends. A killed
 * process does nothing more from that moment: not a write, not a wake-up, not a saved state.
 */
export async function runProcess(options: ProcessOptions): Promise<Process> {
  const { board, chassis, plan, plant, clock, disturbance, limitMs } = options;
  let dead = false;
  let calls = 0;
  let writes = 0;
  let disturbedAtMs: number | null = null;
  let abandonedAtMs: number | null = null;
  let endLife: (kind: 'killed' | 'hung') => void = () => undefined;
  const handles = new Set<() => Promise<void>>();
  const timers = new Set<() => void>();
  const stops: (() => void)[] = [];
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
  const kill = (): void => {
    disturbedAtMs = clock.nowMs();
    endLife('killed');
  };

  const first = new AbortController();
  const second = new AbortController();
  const sendSignal = ({ signal, againMs }: Signal): void => {
    disturbedAtMs = clock.nowMs();
    first.abort(signal);
    if (againMs === null) return;
    stops.push(
      clock.after(againMs, () => {
        abandonedAtMs = clock.nowMs();
        second.abort(signal);
      }),
    );
  };

  /** A process that is dead by the end of a call never comes back from it. */
  const mortal = async <T>(call: () => Promise<T>): Promise<T> => {
    burn();
    if (dead) return NEVER;
    try {
      const value = await call();
      return dead ? NEVER : value;
    } catch (error) {
      if (dead) return NEVER;
      throw error;
    }
  };
  const write = (call: () => Promise<void>): Promise<void> =>
    mortal(async () => {
      writes += 1;
      if (disturbance?.kind === 'signalAtWrite' && disturbance.write === writes) sendSignal(disturbance);
      const last =
        disturbance?.kind === 'killAtWrite' && disturbance.write === writes ? disturbance.when : null;
      if (last !== 'before') await call();
      if (last !== null) kill();
    });
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
      const cancel = clock.after(delayMs, () => {
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

  const rawGpio = createMockGpio(plant);
  const gpio: GpioBackend = {
    openOutput: (ref) =>
      mortal(async () => {
        const raw = await rawGpio.openOutput(ref);
        const close = owned(raw);
        return {
          read: () => mortal(() => raw.read()),
          write: (level) => write(() => raw.write(level)),
          close: () => mortal(close),
        };
      }),
    openInput: (ref) =>
      mortal(async () => {
        const raw = await rawGpio.openInput(ref);
        const close = owned(raw);
        return {
          read: () => mortal(() => raw.read()),
          onEdge: (wake, watching) =>
            raw.onEdge(() => {
              if (!dead) wake();
            }, watching),
          close: () => mortal(close),
        };
      }),
  };

  const rawI2c = createMockI2c(plant);
  const device = (raw: I2cDevice): I2cDevice => ({
    readByte: (command) => mortal(() => raw.readByte(command)),
    readWord: (command) => mortal(() => raw.readWord(command)),
    writeByte: (command, value) => write(() => raw.writeByte(command, value)),
  });
  const i2c: I2cBackend = {
    openBus: (bus) =>
      mortal(async () => {
        const raw = await rawI2c.openBus(bus);
        const close = owned(raw);
        return {
          // The bus is let go when its holder dies, or the next process would wait for a dead one.
          transaction: (address, steps) =>
            mortal(() =>
              raw.transaction(address, (held) =>
                Promise.race([steps(device(held)), lifeEnd.then(() => undefined as never)]),
              ),
            ),
          close: () => mortal(close),
        };
      }),
  };

  const store: SnapshotStore = {
    load: () => options.store.load(),
    save: (state, sequence) => (dead ? null : options.store.save(state, sequence)),
  };
  const runOptions = {
    plan,
    clock: ownClock,
    store,
    signal: first.signal,
    abandon: second.signal,
    record: (entry: Recorded) => {
      if (!dead) options.record(entry);
    },
  };

  const life = async (): Promise<Ending> => {
    try {
      const ports = { gpio: async () => gpio, i2c: async () => i2c, clock: ownClock };
      const described = board.chassis[chassis];
      if (!described) throw new RangeError(`no chassis ${chassis}`);
      const hardware = await openChassis(board, chassis, ports, { whatCanBeHad: options.powersOff });
      try {
        for (const [index, job] of options.jobs.entries()) {
          const result = await runSequence(job, { ...runOptions, hardware });
          if (index + 1 === options.jobs.length || !options.succeeded(job, result)) {
            return { kind: 'ended', job, result };
          }
        }
        throw new RangeError('a process without a job');
      } finally {
        await hardware.close();
      }
    } catch (error) {
      return { kind: 'rejected', error };
    }
  };

  stops.push(clock.after(limitMs, () => endLife('hung')));
  if (disturbance?.kind === 'killAtTime') stops.push(clock.after(disturbance.ms, kill));
  if (disturbance?.kind === 'signalAtTime') {
    stops.push(clock.after(disturbance.ms, () => sendSignal(disturbance)));
  }
  const ending = await Promise.race([
    life(),
    lifeEnd.then((kind): Ending => (kind === 'killed' ? { kind } : { kind, limitMs })),
  ]);
  dead = true;
  for (const stop of [...stops, ...timers]) stop();
  for (const close of [...handles]) await close();
  return { ending, disturbedAtMs, abandonedAtMs, writes };
}
