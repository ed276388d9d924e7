/** A chassis around the emulated BMC: rails that follow their enables, and the goods, voltages and pgood they give. */
import type { Level, Qmp } from './qmp.ts';

export interface PlantLine {
  /** As in the data sheet: `C0`. */
  gpio: string;
  active: 'high' | 'low';
}

export interface PlantRail {
  rail: string;
  /**
   * What switches the rail on: a line, or the OPERATION command to the device of `vout`. A rail without either comes up
   * by itself as soon as what it needs is good. While the BMC has not made the line an output, it has its inactive
   * level, as a pull resistor would give it.
   */
  enable?: PlantLine | 'operation';
  /** Asserted by the rail when it is good. */
  good?: PlantLine;
  /**
   * A voltage property of a PMBus device in QEMU, in millivolts there, moved between `off` and `volts` (both in volts).
   * With `enable: 'operation'`, `off` must be above 0 V: QEMU tells of OPERATION only through this property. It
   * becomes 0 when the guest switches the output off, and something else when it switches it on (isl69260; a
   * max34451 leaves it alone and cannot be switched this way).
   */
  vout?: { path: string; property: string; volts: number; off: number };
  /** Rails that must be good for this one to rise; without them it falls. */
  needs: readonly string[];
  /** From the moment it may rise until it is good; its voltage rises evenly meanwhile. */
  rampMs: number;
  /** From the moment it may not stay up until its good goes away and its voltage is `off`. */
  fallMs: number;
  /** Rises to half of its voltage and stays there. A rail that was good falls. */
  neverGood?: boolean;
  /** Once up it stays up, whatever its enable and its needs say. */
  stuckOn?: boolean;
}

export interface PlantWiring {
  rails: readonly PlantRail[];
  /** Asserted while every rail is good. */
  pgood: PlantLine;
  /** Default 5: the plant notices an enable after at most this plus the time of the QMP calls (about 1 ms a line). */
  pollMs?: number;
}

/**
 * `what` is the GPIO line, the rail's name for what a rail without a good line does, or `<rail> OPERATION`. `level` is
 * the line's level, not its meaning.
 */
export interface PlantEvent {
  atMs: number;
  what: string;
  level: Level;
}

export interface Plant {
  /** Every change of an enable, a good and pgood since the start, with the levels at the start as its first entries. */
  readonly history: readonly PlantEvent[];
  /** The level that a line of the wiring has, as the plant last saw or set it. */
  level(gpio: string): Level;
  /**
   * Resolves when the plant has looked at every enable, and put its levels out, after this was called: what a test did
   * before is in `level` and `history` then. Rejects when the plant has ended.
   */
  looked(): Promise<void>;
  /** The rail's part of its voltage, 0 to 1. It is good at 1, and stays so until it is at 0. */
  charge(rail: string): number;
  /** Breaks or mends a rail from now on. */
  change(rail: string, patch: { neverGood?: boolean; stuckOn?: boolean }): void;
  /**
   * From now on the enables count as they are, as behind a latch that keeps them through a reset of the BMC; after the
   * reset the BMC reads those levels from its pins. `release()` makes the plant follow the BMC again.
   */
  hold(): void;
  release(): void;
  /** Ends the polling and leaves all lines as they are. Rejects when the plant had ended before because of an error. */
  stop(): Promise<void>;
}

interface Awaiting {
  resolve(): void;
  reject(error: unknown): void;
}

interface RailState extends PlantRail {
  charge: number;
  isGood: boolean;
  /** What the plant put into the device; undefined when the device may hold something else. */
  millivolts: number | undefined;
  /** Only for `enable: 'operation'`. */
  operationOn: boolean;
}

/**
 * Starts a chassis and resolves when its lines have their first levels. Rails whose enables are asserted by then are
 * up already. The plant stands for the hardware, so it outlives resets of the BMC: it puts its levels back after each.
 */
export async function startQmpPlant(qmp: Qmp, wiring: PlantWiring): Promise<Plant> {
  const plant = new QmpPlant(qmp, wiring);
  await plant.start();
  return plant;
}

class QmpPlant implements Plant {
  readonly history: PlantEvent[] = [];
  readonly #qmp: Qmp;
  readonly #pollMs: number;
  readonly #pgood: PlantLine;
  readonly #rails = new Map<string, RailState>();
  readonly #enables: PlantLine[];
  readonly #levels = new Map<string, Level>();
  readonly #startMs = performance.now();
  #held = false;
  #stopped = false;
  #wasReset = false;
  #stopListening: () => void = () => undefined;
  #loop: Promise<void> = Promise.resolve();
  /** Who waits for a look that has not begun yet. */
  #awaiting: Awaiting[] = [];
  #failure: unknown;

  constructor(qmp: Qmp, wiring: PlantWiring) {
    this.#qmp = qmp;
    this.#pollMs = wiring.pollMs ?? 5;
    this.#pgood = wiring.pgood;
    for (const rail of wiring.rails) {
      this.#rails.set(rail.rail, {
        ...rail,
        charge: 0,
        isGood: false,
        millivolts: undefined,
        operationOn: true,
      });
    }
    this.#enables = wiring.rails.flatMap(({ enable }) => (enable && enable !== 'operation' ? enable : []));
    for (const { rail, needs, enable, vout } of wiring.rails) {
      if (enable === 'operation' && !(vout && vout.off > 0)) {
        throw new Error(
          `the plant's rail ${rail} is switched by OPERATION: it must have a vout with off above 0`,
        );
      }
      for (const need of needs) {
        if (!this.#rails.has(need))
          throw new Error(`the plant's rail ${rail} needs ${need}, which is not in the wiring`);
      }
    }
  }

  async start(): Promise<void> {
    for (const line of this.#enables) {
      if ((await this.#qmp.gpioDirection(line.gpio)) === 'out') continue;
      await this.#qmp.setGpioLevel(line.gpio, levelOf(line, false));
    }
    await this.#readEnables();
    // In order of dependence: one more rail can be found to be up in each round.
    for (let round = 0; round < this.#rails.size; round++) {
      for (const rail of this.#rails.values()) {
        if (!this.#mayRise(rail) || rail.neverGood) continue;
        rail.charge = 1;
        rail.isGood = true;
      }
    }
    await this.#show();
    this.#stopListening = this.#qmp.onEvent((name) => {
      if (name === 'RESET') this.#wasReset = true;
    });
    this.#loop = this.#run()
      .catch((error: unknown) => {
        this.#failure = error;
      })
      .finally(() => {
        this.#stopped = true;
        for (const { reject } of this.#awaiting.splice(0)) reject(this.#ended());
      });
  }

  level(gpio: string): Level {
    const level = this.#levels.get(gpio);
    if (level === undefined) throw new Error(`the plant's wiring has no line ${gpio}`);
    return level;
  }

  looked(): Promise<void> {
    if (this.#stopped) return Promise.reject(this.#ended());
    return new Promise((resolve, reject) => {
      this.#awaiting.push({ resolve, reject });
    });
  }

  #ended(): Error {
    return new Error('the plant has ended', { cause: this.#failure });
  }

  charge(rail: string): number {
    return this.#find(rail).charge;
  }

  change(rail: string, patch: { neverGood?: boolean; stuckOn?: boolean }): void {
    Object.assign(this.#find(rail), patch);
  }

  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopListening();
    await this.#loop;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #run(): Promise<void> {
    let lastMs = performance.now();
    while (!this.#stopped) {
      await new Promise((resolve) => setTimeout(resolve, this.#pollMs));
      const awaiting = this.#awaiting.splice(0);
      try {
        if (this.#wasReset) await this.#restoreLevels();
        if (!this.#held) await this.#readEnables();
        const nowMs = performance.now();
        this.#move(nowMs - lastMs);
        lastMs = nowMs;
        await this.#show();
      } catch (error) {
        for (const { reject } of awaiting) reject(error);
        throw error;
      }
      for (const { resolve } of awaiting) resolve();
    }
  }

  /** QEMU's GPIO controller and PMBus devices forget in a reset what was put on them; the chassis around them would not. */
  async #restoreLevels(): Promise<void> {
    this.#wasReset = false;
    for (const line of this.#enables) {
      await this.#qmp.setGpioLevel(line.gpio, this.#held ? this.level(line.gpio) : levelOf(line, false));
    }
    const goods = [...this.#rails.values()].flatMap((rail) => rail.good ?? []);
    for (const { gpio } of [...goods, this.#pgood]) await this.#qmp.setGpioLevel(gpio, this.level(gpio));
    for (const rail of this.#rails.values()) rail.millivolts = undefined;
  }

  async #readEnables(): Promise<void> {
    const levels = await Promise.all(this.#enables.map((line) => this.#qmp.gpioLevel(line.gpio)));
    this.#enables.forEach((line, i) => {
      this.#note(line.gpio, levels[i] ?? 0);
    });
    for (const rail of this.#rails.values()) {
      if (rail.enable !== 'operation' || rail.vout === undefined) continue;
      const millivolts = await this.#qmp.qomGet(rail.vout.path, rail.vout.property);
      if (millivolts === rail.millivolts) continue;
      // Not what the plant put there: the guest has written OPERATION (or the device was reset, which switches it on).
      rail.operationOn = millivolts !== 0;
      rail.millivolts = undefined;
      this.#note(`${rail.rail} OPERATION`, rail.operationOn ? 1 : 0);
    }
  }

  #mayRise(rail: RailState): boolean {
    const { enable } = rail;
    let enabled = true;
    if (enable === 'operation') enabled = rail.operationOn;
    else if (enable !== undefined) enabled = this.#levels.get(enable.gpio) === levelOf(enable, true);
    return enabled && rail.needs.every((need) => this.#find(need).isGood);
  }

  #move(elapsedMs: number): void {
    // All decisions are taken on the same picture, so that the order of the rails in the wiring does not matter.
    const rising = new Map([...this.#rails.values()].map((rail) => [rail, this.#mayRise(rail)]));
    for (const [rail, mayRise] of rising) {
      const kept = rail.stuckOn === true && rail.isGood;
      const target = kept || (mayRise && !rail.neverGood) ? 1 : mayRise ? 0.5 : 0;
      const step = elapsedMs / Math.max(target > rail.charge ? rail.rampMs : rail.fallMs, 0.001);
      rail.charge =
        target > rail.charge ? Math.min(target, rail.charge + step) : Math.max(target, rail.charge - step);
      if (rail.charge === 1) rail.isGood = true;
      else if (rail.charge === 0 || rail.neverGood) rail.isGood = false;
    }
  }

  /** Puts on the lines and into the devices what has changed. Voltages first: a good rail has its voltage. */
  async #show(): Promise<void> {
    for (const rail of this.#rails.values()) {
      if (rail.vout === undefined) continue;
      const millivolts = Math.round((rail.vout.off + (rail.vout.volts - rail.vout.off) * rail.charge) * 1000);
      if (millivolts === rail.millivolts) continue;
      await this.#qmp.qomSet(rail.vout.path, rail.vout.property, millivolts);
      rail.millivolts = millivolts;
    }
    for (const rail of this.#rails.values()) {
      if (rail.good !== undefined) await this.#drive(rail.good, rail.isGood);
      else this.#note(rail.rail, rail.isGood ? 1 : 0);
    }
    await this.#drive(
      this.#pgood,
      [...this.#rails.values()].every((rail) => rail.isGood),
    );
  }

  async #drive(line: PlantLine, asserted: boolean): Promise<void> {
    const level = levelOf(line, asserted);
    if (this.#levels.get(line.gpio) === level) return;
    await this.#qmp.setGpioLevel(line.gpio, level);
    this.#note(line.gpio, level);
  }

  #note(what: string, level: Level): void {
    if (this.#levels.get(what) === level) return;
    this.#levels.set(what, level);
    this.history.push({ atMs: performance.now() - this.#startMs, what, level });
  }

  #find(name: string): RailState {
    const rail = this.#rails.get(name);
    if (rail === undefined) throw new Error(`the plant's wiring has no rail ${name}`);
    return rail;
  }
}

function levelOf(line: PlantLine, asserted: boolean): Level {
  return asserted === (line.active === 'high') ? 1 : 0;
}
