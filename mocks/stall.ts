import type {
  Clock,
  GpioBackend,
  I2cBackend,
  I2cDevice,
  PropertyBackend,
  SensorBackend,
} from '../hw/ports.ts';

/**
 * The event loop of one simulated process, which may stand still (SIGSTOP, a blocked loop) while the world around it
 * goes on. What comes meanwhile waits, and is served as Node does it: first the timers that are due, in their order,
 * then edges and the answers of calls, in the order in which they came.
 */
export interface StallingLoop {
  /** The process's clock: of the world's time, with timers that run late. */
  readonly clock: Clock;
  /** Calls into lines and devices so far. */
  readonly calls: number;
  /** Stands still for so long from now on. A process that stands still stands still until the later end. */
  stall(ms: number): void;
  /**
   * Stands still at the n-th call (from 1), which takes effect after that (`before`), or had its effect before and
   * brings its answer late (`after`).
   */
  stallAtCall(call: number, when: 'before' | 'after', ms: number): void;
  /** The backend as this process sees it. */
  gpio(backend: GpioBackend): GpioBackend;
  i2c(backend: I2cBackend): I2cBackend;
  sensors(backend: SensorBackend): SensorBackend;
  properties(backend: PropertyBackend): PropertyBackend;
}

interface Waiting {
  run: (() => void) | null;
}

export function createStallingLoop(world: Clock): StallingLoop {
  const loop = createLoop(world);
  const planned = new Map<number, { readonly when: 'before' | 'after'; readonly ms: number }>();
  let calls = 0;

  const call: Call = async (work) => {
    calls += 1;
    const plan = planned.get(calls);
    if (plan?.when === 'before') loop.stall(plan.ms);
    await loop.served();
    try {
      return await work();
    } finally {
      if (plan?.when === 'after') loop.stall(plan.ms);
      await loop.served();
    }
  };

  return {
    clock: {
      nowMs: () => world.nowMs(),
      wallTime: () => world.wallTime(),
      after(delayMs, run) {
        const timer: Waiting = { run };
        const cancel = world.after(delayMs, () => {
          if (!loop.runs()) {
            loop.timers.push(timer);
            return;
          }
          timer.run = null;
          run();
        });
        return () => {
          timer.run = null;
          cancel();
        };
      },
    },

    get calls() {
      return calls;
    },
    stall: loop.stall,
    stallAtCall: (at, when, ms) => {
      planned.set(at, { when, ms });
    },

    gpio: (backend) => stallingGpio(backend, loop, call),
    i2c: (backend) => stallingI2c(backend, call),
    sensors: (backend) => ({
      locate: (sensor) => call(() => backend.locate(sensor)),
      readVolts: (sensor) => call(() => backend.readVolts(sensor)),
    }),
    properties: (backend) => stallingProperties(backend, loop, call),
  };
}

/** What waits while the loop stands still, and is served when it goes on. */
interface Loop {
  readonly timers: Waiting[];
  /** Edges and answers. */
  readonly events: Waiting[];
  runs(): boolean;
  stall(ms: number): void;
  /** Resolves when what comes now would be served. */
  served(): Promise<void>;
}

function createLoop(world: Clock): Loop {
  const timers: Waiting[] = [];
  const events: Waiting[] = [];
  let wakesAtMs: number | null = null;
  let cancelWake: () => void = () => undefined;
  /** The loop is awake again and serves what had to wait. */
  let serving = false;

  const runs = () => wakesAtMs === null && !serving;

  const serve = (): void => {
    const next = wakesAtMs === null ? (timers.shift() ?? events.shift()) : undefined;
    if (next === undefined) {
      serving = false;
      return;
    }
    next.run?.();
    next.run = null;
    // The promises that this made ready run before the next one.
    setImmediate(serve);
  };

  return {
    timers,
    events,
    runs,

    stall(ms) {
      const untilMs = world.nowMs() + ms;
      if (wakesAtMs !== null && wakesAtMs >= untilMs) return;
      cancelWake();
      wakesAtMs = untilMs;
      cancelWake = world.after(ms, () => {
        wakesAtMs = null;
        if (serving) return;
        serving = true;
        serve();
      });
    },

    served: () =>
      runs()
        ? Promise.resolve()
        : new Promise((resolve) => {
            events.push({ run: resolve });
          }),
  };
}

type Call = <T>(work: () => Promise<T>) => Promise<T>;

/** A watch whose news wait while the loop stands still. They coalesce. */
function stallingWatch(
  { runs, events }: Loop,
  wake: () => void,
  watch: (told: () => void) => () => void,
): () => void {
  let waiting: Waiting | null = null;
  const stop = watch(() => {
    if (runs()) {
      wake();
      return;
    }
    if (waiting?.run) return;
    waiting = { run: wake };
    events.push(waiting);
  });
  return () => {
    if (waiting) waiting.run = null;
    stop();
  };
}

function stallingGpio(backend: GpioBackend, loop: Loop, call: Call): GpioBackend {
  return {
    locate: (lines) => call(() => backend.locate(lines)),
    release: (lines) => call(() => backend.release(lines)),
    openOutput: (ref) =>
      call(async () => {
        const raw = await backend.openOutput(ref);
        return {
          read: () => call(() => raw.read()),
          write: (level) => call(() => raw.write(level)),
          close: () => call(() => raw.close()),
        };
      }),
    openInput: (ref) =>
      call(async () => {
        const raw = await backend.openInput(ref);
        return {
          read: () => call(() => raw.read()),
          onEdge: (wake, options) => stallingWatch(loop, wake, (told) => raw.onEdge(told, options)),
          close: () => call(() => raw.close()),
        };
      }),
  };
}

function stallingProperties(backend: PropertyBackend, loop: Loop, call: Call): PropertyBackend {
  return {
    readBoolean: (property, limitMs) => call(() => backend.readBoolean(property, limitMs)),
    watch: (property, wake) => stallingWatch(loop, wake, (told) => backend.watch(property, told)),
  };
}

function stallingI2c(backend: I2cBackend, call: Call): I2cBackend {
  const device = (raw: I2cDevice): I2cDevice => ({
    readByte: (command) => call(() => raw.readByte(command)),
    readWord: (command) => call(() => raw.readWord(command)),
    readBlock: (command, length) => call(() => raw.readBlock(command, length)),
    writeByte: (command, value) => call(() => raw.writeByte(command, value)),
    writeWord: (command, value) => call(() => raw.writeWord(command, value)),
  });
  return {
    openBus: (bus) =>
      call(async () => {
        const raw = await backend.openBus(bus);
        return {
          transaction: (address, steps, options) =>
            raw.transaction(address, (held) => steps(device(held)), options),
          close: () => call(() => raw.close()),
        };
      }),
  };
}
