import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PropertyBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createMockProperties } from '../../mocks/backends/properties.ts';
import { createMockSensors } from '../../mocks/backends/sensors.ts';
import { type Fault, parseFault } from '../../mocks/plant/faults.ts';
import { createPlant, type Plant } from '../../mocks/plant/plant.ts';
import { createStallingLoop, type StallingLoop } from '../../mocks/stall.ts';
import { createVirtualClock, type VirtualClock } from '../../mocks/virtual-clock.ts';
import type { Board } from '../../src/board/schema.ts';
import { type ChassisHardware, openChassis } from '../../src/run/hardware.ts';
import type { Job } from '../../src/run/jobs.ts';
import type { Recorded } from '../../src/run/record.ts';
import { type RunResult, runSequence } from '../../src/run/runner.ts';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import type { Hint } from '../../src/sequence/state.ts';
import type { SnapshotStore } from '../../src/store/snapshot.ts';
import { checkBoard } from '../check-board.ts';

/** Time between the end of one process and the first thing that the next one does. */
const PROCESS_START_MS = 20;
/** No run takes longer: one that does has lost its way, and looks at every line a hundred times a second meanwhile. */
const RUN_LIMIT_MS = 120_000;

const shipped = new Map<string, Board>();

/** A board of `hw/boards`, the same for all who ask: it is read and checked once, and nobody can change it. */
export function shippedBoard(name: string): Board {
  const known = shipped.get(name);
  if (known !== undefined) return known;
  const path = join(import.meta.dirname, '..', '..', 'hw', 'boards', `${name}.json`);
  const { board, problems } = checkBoard(JSON.parse(readFileSync(path, 'utf8')));
  if (!board) throw new TypeError(`${name}: ${JSON.stringify(problems)}`);
  freeze(board);
  shipped.set(name, board);
  return board;
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  Object.freeze(value);
  for (const each of Object.values(value)) freeze(each);
}

/** The file of a chassis's state without a disk. `null` forgets it, as a reboot does. */
export interface MemoryStore extends SnapshotStore {
  hint: Hint | null;
}

export interface Bench {
  readonly board: Board;
  readonly plan: Plan;
  readonly clock: VirtualClock;
  readonly plant: Plant;
  readonly store: MemoryStore;
  readonly recording: Recorded[];
  /** Runs one job as a process of its own would: lines opened anew, given back at the end. */
  run(job: Job, options?: RunVariant): Promise<RunResult>;
  /** Runs a job and kills its process with the `calls`-th drive, before or after it took effect. */
  runKilled(job: Job, calls: number, when: 'before' | 'after'): Promise<'killed' | 'ended'>;
  /** A fault of this board. */
  fault(text: string): Fault;
  /** Rails that have an enable. */
  readonly switched: readonly string[];
  /** Enables that are asserted now. */
  enabled(): string[];
  /** How often each line changed. */
  changes(): Record<string, number>;
}

export interface RunVariant {
  /** In the place of the plan of the board. */
  readonly plan?: Plan;
  readonly store?: SnapshotStore;
  readonly signal?: AbortSignal;
  readonly abandon?: AbortSignal;
  readonly record?: (entry: Recorded) => void;
  readonly superseded?: () => Promise<boolean>;
  readonly onLowered?: () => Promise<void>;
  readonly supplyError?: () => string;
  /** The chassis as this process has it, in the place of the one that it opened. */
  readonly hardware?: (opened: ChassisHardware) => ChassisHardware;
  /** The properties on D-Bus as this process sees them. */
  readonly properties?: (real: PropertyBackend) => PropertyBackend;
  /** Called before the process begins, to say when it will stand still. */
  readonly stalls?: (loop: StallingLoop) => void;
}

/** @param of name of a shipped board, or a board */
export function createBench(
  of: string | Board,
  { faults = [], initially = 'off' }: { faults?: readonly string[]; initially?: 'off' | 'on' } = {},
): Bench {
  const board = typeof of === 'string' ? shippedBoard(of) : of;
  const chassis = board.chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  const plan = planOf(chassis, board.devices);
  const clock = createVirtualClock();
  const plant = createPlant({
    board,
    clock,
    faults: faults.map((text) => parseFault(text, board)),
    initially,
  });
  const recording: Recorded[] = [];
  const store: MemoryStore = {
    hint: null,
    load() {
      return { hint: structuredClone(this.hint), warning: null };
    },
    save(state, sequence) {
      this.hint = structuredClone({ state, sequence });
      return null;
    },
  };
  const open = (
    job: Job,
    loop = createStallingLoop(clock),
    seen: RunVariant['properties'] = (real) => real,
  ): Promise<ChassisHardware> =>
    openChassis(
      board,
      0,
      {
        gpio: async () => loop.gpio(createMockGpio(plant)),
        i2c: async () => loop.i2c(createMockI2c(plant)),
        sensors: async () => loop.sensors(createMockSensors(plant)),
        properties: async () => loop.properties(seen(createMockProperties(plant))),
        clock: loop.clock,
      },
      { whatCanBeHad: job.request === 'POWER_OFF' },
    );
  const record = (entry: Recorded): void => {
    recording.push(entry);
  };

  return {
    board,
    plan,
    clock,
    plant,
    store,
    recording,
    run: (
      job,
      { stalls, hardware: replaced = (opened: ChassisHardware) => opened, properties, ...variant } = {},
    ) =>
      clock.runUntil(
        (async () => {
          const loop = createStallingLoop(clock);
          stalls?.(loop);
          const hardware = replaced(await open(job, loop, properties));
          try {
            return await runSequence(job, { plan, hardware, clock: loop.clock, store, record, ...variant });
          } finally {
            await hardware.close();
          }
        })(),
        { limitMs: RUN_LIMIT_MS },
      ),
    runKilled: (job, calls, when) =>
      clock.runUntil(
        (async () => {
          const hardware = await open(job);
          let left = calls;
          let isDead = false;
          let kill: () => void = () => undefined;
          const killed = new Promise<'killed'>((resolve) => {
            kill = () => {
              isDead = true;
              resolve('killed');
            };
          });
          const never = () => new Promise<never>(() => undefined);
          /** A killed process never comes back from the call that it was in, and makes no other. */
          const mortal =
            <Args extends unknown[]>(call: (...args: Args) => Promise<void>) =>
            async (...args: Args): Promise<void> => {
              if (isDead) return never();
              left -= 1;
              if (left > 0) return call(...args).then((done) => (isDead ? never() : done));
              if (when === 'after') await call(...args);
              kill();
              return never();
            };
          const run = runSequence(job, {
            plan,
            clock: { ...clock, after: (ms, then) => clock.after(ms, () => (isDead ? undefined : then())) },
            store: {
              load: () => store.load(),
              save: (state, sequence) => (isDead ? null : store.save(state, sequence)),
            },
            record: (entry) => (isDead ? undefined : record(entry)),
            hardware: {
              ...hardware,
              readGood: (source) => (isDead ? never() : hardware.readGood(source)),
              driveEnable: mortal(hardware.driveEnable),
              driveReset: mortal(hardware.driveReset),
              pulseLatch: mortal(hardware.pulseLatch),
            },
          });
          const end = await Promise.race([killed, run.then(() => 'ended' as const)]);
          await hardware.close();
          // The next process takes some time to start.
          await new Promise<void>((resolve) => {
            clock.after(PROCESS_START_MS, resolve);
          });
          return end;
        })(),
        { limitMs: RUN_LIMIT_MS },
      ),
    fault: (text) => parseFault(text, board),
    switched: plan.rails.flatMap(({ name, watched }) => (watched === null ? [name] : [])),
    enabled: () =>
      plant
        .lines()
        .filter(({ role, asserted }) => role === 'enable' && asserted)
        .map(({ rail }) => rail ?? ''),
    changes: () => Object.fromEntries(plant.lines().map(({ line, changes }) => [line, changes])),
  };
}
