import { HardwareError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import type { Board } from '../../src/board/schema.ts';
import { type ChassisHardware, openChassis, type Source } from '../../src/run/hardware.ts';
import { JOBS, type Job } from '../../src/run/jobs.ts';
import type { Observed } from '../../src/run/observe.ts';
import type { Recorded } from '../../src/run/record.ts';
import { type RunResult, runSequence } from '../../src/run/runner.ts';
import type { Plan } from '../../src/sequence/plan.ts';
import type { SnapshotStore } from '../../src/store/snapshot.ts';
import type { Struck } from '../../src/verify/happened.ts';
import { createMockGpio } from '../backends/gpio.ts';
import { createMockI2c } from '../backends/i2c.ts';
import { createMockProperties } from '../backends/properties.ts';
import { createMockSensors } from '../backends/sensors.ts';
import type { Plant } from '../plant/plant.ts';
import { createStallingLoop, type StallingLoop } from '../stall.ts';

/** What a story does between a process and its hardware. */
export interface Meddling {
  /** Cannot be read. */
  readonly unreadable: Set<Source>;
  /** Cannot be read by a process that looks at the chassis for the first time. */
  readonly unreadAtFirst: Set<Source>;
  /** Answer later than they are asked, with the level of that time. */
  readonly late: Set<Source>;
  readonly lateAnswers: Map<Source, () => void>;
  /** Their changes wake nobody. */
  readonly missed: Set<Source>;
  /** Neither does the host that goes to sleep. */
  isSleepMissed: boolean;
  /** Resolves when a process may act on what it found when it began. */
  mayAct: Promise<void>;
  /** What becomes of the next drive of this line. */
  strike: Struck | null;
  /** Of a drive that takes its time: ends it, be it with a failure. */
  endDrive: ((fails: boolean) => void) | null;
  /** The line of a drive sticks from now on. */
  readonly stick: (struck: Struck) => void;
  /** The host that is pressed for comes on later than it should. */
  readonly delay: (rail: string) => void;
}

export interface ProcessOptions {
  readonly board: Board;
  readonly chassis: number;
  readonly plan: Plan;
  readonly plant: Plant;
  readonly clock: Clock;
  readonly store: SnapshotStore;
  readonly record: (entry: Recorded) => void;
  readonly meddling: Meddling;
}

/** More turns of the loop than it takes to read what shows a host, and to press its button. */
const PRESS_TURNS = 1_000;
const NEVER = new Promise<never>(() => undefined);

/** A process that works on the plant, one job after the other, and then watches over a chassis that is on. */
export class ReplayProcess {
  private readonly jobs: readonly Job[];
  private readonly options: ProcessOptions;
  private readonly loop: StallingLoop;
  private readonly ending = new AbortController();
  private readonly timers = new Set<() => void>();
  private readonly underWay = new Set<Promise<unknown>>();
  /** A power button is being pressed, which waits for the story. */
  private presses = 0;
  private isDead = false;
  private isOver = false;
  private watches: boolean;
  private failure: unknown = null;
  private woken: (source: Source) => void = () => undefined;
  private close: () => Promise<void> = async () => undefined;

  constructor(jobs: readonly Job[], options: ProcessOptions) {
    this.jobs = jobs;
    this.options = options;
    this.loop = createStallingLoop(options.clock);
    this.watches = jobs.includes(JOBS.watch);
    void this.live()
      .catch((error: unknown) => {
        this.failure = error;
      })
      .finally(() => {
        this.isOver = true;
      });
  }

  /** It has neither ended nor been killed. */
  isAlive(): boolean {
    return !this.isDead && !this.isOver;
  }

  isWatching(): boolean {
    return this.watches && !this.isDead;
  }

  /** A call into the hardware is under way. */
  isBusy(): boolean {
    return !this.isDead && this.underWay.size > 0;
  }

  isPressing(): boolean {
    return !this.isDead && this.presses > 0;
  }

  /** Of a process that ended without a result. */
  error(): unknown {
    return this.failure;
  }

  /** Asks it to end, as SIGTERM does. */
  askToEnd(): void {
    this.ending.abort('SIGTERM');
  }

  stall(ms: number): void {
    this.loop.stall(ms);
  }

  wake(source: Source): void {
    if (!this.isDead) this.woken(source);
  }

  async kill(): Promise<void> {
    if (this.isDead) return;
    this.isDead = true;
    for (const cancel of this.timers) cancel();
    await this.close();
  }

  private async live(): Promise<void> {
    const { board, chassis, plant } = this.options;
    const ports = {
      gpio: async () => this.loop.gpio(createMockGpio(plant)),
      i2c: async () => this.loop.i2c(createMockI2c(plant)),
      sensors: async () => this.loop.sensors(createMockSensors(plant)),
      properties: async () => this.loop.properties(createMockProperties(plant)),
      clock: this.clock,
    };
    const whatCanBeHad = this.jobs.includes(JOBS.off);
    const hardware = await openChassis(board, chassis, ports, { whatCanBeHad });
    this.close = () => hardware.close();
    const meddled = this.meddled(hardware);
    let result: RunResult | null = null;
    try {
      for (const job of this.jobs) result = await this.run(job, meddled);
      this.watches = result?.state === 'pgood';
      if (this.watches && !this.jobs.includes(JOBS.watch)) await this.run(JOBS.watch, meddled);
    } finally {
      this.watches = false;
      await hardware.close();
    }
  }

  private run(job: Job, hardware: ChassisHardware): Promise<RunResult> {
    const { plan, store, record } = this.options;
    return runSequence(job, {
      plan,
      hardware,
      clock: this.clock,
      store: {
        load: () => store.load(),
        save: (state, sequence) => (this.isDead ? null : store.save(state, sequence)),
      },
      signal: this.ending.signal,
      superseded: async () => false,
      record: (entry) => {
        if (!this.isDead) record(entry);
      },
    });
  }

  private readonly clock: Clock = {
    nowMs: () => this.options.clock.nowMs(),
    wallTime: () => this.options.clock.wallTime(),
    after: (delayMs, run) => {
      const { timers } = this;
      const cancel = this.loop.clock.after(delayMs, () => {
        timers.delete(cancel);
        if (!this.isDead) run();
      });
      timers.add(cancel);
      return () => {
        timers.delete(cancel);
        cancel();
      };
    },
  };

  /** A call of a process that is dead by its end never comes back. */
  private async alive<T>(call: () => Promise<T>): Promise<T> {
    if (this.isDead) return NEVER;
    const { underWay } = this;
    const calling = call();
    underWay.add(calling);
    const done = () => underWay.delete(calling);
    calling.then(done, done);
    try {
      const value = await calling;
      return this.isDead ? await NEVER : value;
    } catch (error) {
      return this.isDead ? await NEVER : Promise.reject(error);
    }
  }

  private meddled(hardware: ChassisHardware): ChassisHardware {
    const { meddling } = this.options;
    return {
      ...hardware,
      without: async (absent) => this.meddled(await hardware.without(absent)),
      observe: async () => {
        const observed = await this.alive(() => hardware.observe());
        await meddling.mayAct;
        return withoutSome(observed, meddling.unreadAtFirst);
      },
      driveEnable: (rail, asserted, press, abandoned) => {
        const work = () => hardware.driveEnable(rail, asserted, press, abandoned);
        return this.drive(
          { what: 'enable', rail },
          asserted,
          this.hasButton(rail) ? () => this.pressing(work) : work,
        );
      },
      driveReset: (reset, asserted) =>
        this.drive({ what: 'reset', reset }, asserted, () => hardware.driveReset(reset, asserted)),
      pulseLatch: () => this.drive({ what: 'latch' }, true, () => hardware.pulseLatch()),
      readGood: async (source) => {
        if (meddling.unreadable.has(source)) throw unread(source).error;
        const good = await this.alive(() => hardware.readGood(source));
        meddling.missed.delete(source);
        if (!meddling.late.delete(source)) return good;
        await new Promise<void>((resolve) => meddling.lateAnswers.set(source, resolve));
        return this.isDead ? NEVER : good;
      },
      watchSleep: (wake) =>
        hardware.watchSleep(() => {
          if (!this.isDead && !meddling.isSleepMissed) wake();
        }),
      watch: (wake, pace) => {
        this.woken = wake;
        return hardware.watch((source) => {
          if (!this.isDead && !meddling.missed.has(source)) wake(source);
        }, pace);
      },
    };
  }

  private hasButton(rail: string): boolean {
    return this.options.plan.rails.some(({ name, pulsed }) => name === rail && pulsed !== null);
  }

  /** No time passes for a press but what the story has pass. */
  private async pressing(work: () => Promise<void>): Promise<void> {
    this.presses += 1;
    try {
      await work();
    } finally {
      this.presses -= 1;
    }
  }

  /** Resolves when the button is pressed. */
  private async beginToPress(work: () => Promise<void>): Promise<void> {
    const isPressed = () =>
      this.options.plant.lines().some(({ role, asserted }) => role === 'button' && asserted);
    void work();
    for (let turn = 0; turn < PRESS_TURNS && !isPressed(); turn += 1) await Promise.resolve();
  }

  /** One drive, unless the story has something else become of it. */
  private async drive(of: Struck['drive'], asserted: boolean, work: () => Promise<void>): Promise<void> {
    const { meddling } = this.options;
    const { strike } = meddling;
    const isPress = of.what === 'enable' && this.hasButton(of.rail);
    if (strike === null || !isSame(strike, of, asserted)) return isPress ? work() : this.alive(work);
    meddling.strike = null;
    if (strike.kind === 'killed') {
      // Nobody knows whether it had pressed: the host may have felt it.
      if (isPress && asserted) await this.beginToPress(work);
      // What was driven before has taken effect.
      await Promise.allSettled([...this.underWay]);
      await this.kill();
      return NEVER;
    }
    if (strike.kind === 'lasts') {
      const fails = await new Promise<boolean>((resolve) => {
        meddling.endDrive = resolve;
      });
      if (this.isDead) return NEVER;
      if (fails) throw new HardwareError('I2C_FAILED', 'the story has this drive fail', {});
      return this.alive(work);
    }
    if (strike.kind === 'fails' && of.what === 'enable' && isPress && asserted) {
      // It has reached the button all the same, and the host is late.
      meddling.delay(of.rail);
      return this.alive(work);
    }
    if (strike.kind === 'fails') throw new HardwareError('GPIO_FAILED', 'the story has this drive fail', {});
    meddling.stick(strike);
    return isPress ? work() : this.alive(work);
  }
}

/** What was read, with some of it not readable: taken for what it is taken for then. */
function withoutSome(observed: Observed, sources: ReadonlySet<Source>): Observed {
  if (sources.size === 0) return observed;
  const { observation, unreadable } = observed;
  const missing = [...sources].map((rail) => {
    const { signal, error } = unread(rail);
    return { signal, rail, reason: error.message, error };
  });
  const rails = Object.entries(observation.rails).map(
    ([rail, seen]) => [rail, sources.has(rail) ? { ...seen, good: false } : seen] as const,
  );
  return {
    ...observed,
    observation: {
      ...observation,
      rails: Object.fromEntries(rails),
      pgood: observation.pgood && !sources.has(null),
      unread: [...(observation.unread ?? []), ...missing.map(({ signal, rail }) => ({ signal, rail }))],
    },
    unreadable: [...unreadable, ...missing],
  };
}

function isSame(strike: Struck, drive: Struck['drive'], asserted: boolean): boolean {
  return JSON.stringify([strike.drive, strike.asserted]) === JSON.stringify([drive, asserted]);
}

function unread(source: Source) {
  const name = source === null ? 'pgood' : `good signal of rail ${source}`;
  const signal = source === null ? ('pgood' as const) : ('good' as const);
  return { signal, error: new HardwareError('GPIO_FAILED', `${name}: the story has it not be read`, {}) };
}
