import { closeSync, fstatSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { CodedError, errorText } from '../../hw/errors.ts';
import type { Flock, GpioBackend, I2cBackend } from '../../hw/ports.ts';
import { deferred } from '../../hw/waiting.ts';
import { createMockFlock } from '../../mocks/backends/flock.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createMockProperties } from '../../mocks/backends/properties.ts';
import { createMockSensors } from '../../mocks/backends/sensors.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant, type Plant } from '../../mocks/plant/plant.ts';
import { createStallingLoop, type StallingLoop } from '../../mocks/stall.ts';
import { createVirtualClock, type VirtualClock } from '../../mocks/virtual-clock.ts';
import { sourcesOf } from '../../src/board/pgood-sources.ts';
import type { Board } from '../../src/board/schema.ts';
import { createAlarm } from '../../src/run/alarm.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS, type Job } from '../../src/run/jobs.ts';
import { expectDone } from '../../src/run/outcome.ts';
import type { Recorded } from '../../src/run/record.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { powerSeen } from '../../src/sequence/state.ts';
import {
  type ChassisView,
  createResident,
  type Operation,
  type Resident,
} from '../../src/service/resident.ts';
import { lockChassis } from '../../src/store/lock.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { type BoardDraw, boardDraws, boardOf, type ShippedBoards } from './boards.ts';

/** What happens to a chassis that the service has in its care, after a pause. */
export type Act = { readonly afterMs: number } & (
  | { readonly kind: 'request'; readonly wanted: 'on' | 'off' }
  | { readonly kind: 'withdraw' }
  | { readonly kind: 'resetHost' }
  /** systemd's two oneshots, or a person with one verb. */
  | { readonly kind: 'process'; readonly verb: 'startOn' | 'stopOff' | 'on' | 'off' }
  | { readonly kind: 'fault'; readonly form: number; readonly part: number; readonly forMs: number | null }
  | { readonly kind: 'mend' }
  /** The service stands still. */
  | { readonly kind: 'stall'; readonly ms: number }
  /** systemd stops the service and starts it again. */
  | { readonly kind: 'restart' }
  /** kill -9, and systemd starts it again. */
  | { readonly kind: 'kill' }
);

export interface ServiceDraw {
  readonly board: BoardDraw;
  /** `onBeforeBoot`: the BMC started anew under a chassis that is on, and knows nothing of it. */
  readonly initially: 'off' | 'on' | 'onBeforeBoot';
  readonly acts: readonly Act[];
}

const afterMs = fc.oneof(
  { weight: 2, arbitrary: fc.constant(0) },
  { weight: 4, arbitrary: fc.nat(350) },
  { weight: 2, arbitrary: fc.integer({ min: 350, max: 5_000 }) },
);
const drawn = <Kind extends Act['kind'], Rest extends Record<string, fc.Arbitrary<unknown>>>(
  kind: Kind,
  rest: Rest,
) => fc.record({ kind: fc.constant(kind), afterMs, ...rest }) as unknown as fc.Arbitrary<Act>;

const acts: fc.Arbitrary<Act> = fc.oneof(
  { weight: 6, arbitrary: drawn('request', { wanted: fc.constantFrom('on', 'off') }) },
  { weight: 1, arbitrary: drawn('withdraw', {}) },
  { weight: 1, arbitrary: drawn('resetHost', {}) },
  { weight: 3, arbitrary: drawn('process', { verb: fc.constantFrom('startOn', 'stopOff', 'on', 'off') }) },
  {
    weight: 4,
    arbitrary: drawn('fault', {
      form: fc.nat(),
      part: fc.nat(15),
      forMs: fc.option(fc.integer({ min: 1, max: 1_500 }), { freq: 2 }),
    }),
  },
  { weight: 1, arbitrary: drawn('mend', {}) },
  { weight: 2, arbitrary: drawn('stall', { ms: fc.oneof(fc.nat(60), fc.nat(2_000), fc.nat(20_000)) }) },
  { weight: 2, arbitrary: drawn('restart', {}) },
  { weight: 2, arbitrary: drawn('kill', {}) },
);

export const serviceDraws: fc.Arbitrary<ServiceDraw> = fc.record({
  board: boardDraws,
  initially: fc.constantFrom('off', 'on', 'onBeforeBoot'),
  acts: fc.array(acts, { minLength: 1, maxLength: 8, size: 'max' }),
});

/** A rail that goes or never comes, and what hides a rail or a chip for a time that is always short. */
const LASTING = ['droops', 'shorts', 'never good'] as const;
const PASSING = [
  'rail slow 900ms',
  'good stuck off',
  'pgood never',
  'i2c hang',
  'i2c nack',
  'gpio hangs',
  'gpio read error',
] as const;
/** What hides a chip for as long as it likes would leave nothing to be judged. */
const PASSING_MS = 400;

function faultOf({ form, part, forMs }: Extract<Act, { kind: 'fault' }>, board: Board): string | null {
  const rails = Object.entries(board.chassis[0]?.rails ?? {});
  const [rail, described] = rails[part % rails.length] ?? [];
  const lasting = forMs === null ? '' : ` for ${forMs}ms`;
  const passing = ` for ${1 + ((forMs ?? PASSING_MS) % PASSING_MS)}ms`;
  const kind = form % (LASTING.length + PASSING.length);
  const lasts = LASTING[kind];
  if (lasts !== undefined) return `chassis 0 rail ${rail} ${lasts}${lasting}`;
  const device = Object.keys(board.devices)[0];
  switch (PASSING[kind - LASTING.length]) {
    case 'rail slow 900ms':
      return `chassis 0 rail ${rail} slow 900ms${passing}`;
    case 'good stuck off':
      return described?.good === undefined ? null : `chassis 0 good ${rail} stuck off${passing}`;
    case 'pgood never':
      return hasPgoodSignal(board) ? `chassis 0 pgood never${passing}` : null;
    case 'i2c hang':
      return device === undefined ? null : `i2c ${device} hang${passing}`;
    case 'i2c nack':
      return device === undefined ? null : `i2c ${device} nack${passing}`;
    case 'gpio hangs':
      return `gpio hangs${passing}`;
    default:
      return `gpio read error${passing}`;
  }
}

function hasPgoodSignal(board: Board): boolean {
  const pgood = board.chassis[0]?.pgood;
  return pgood !== undefined && sourcesOf(pgood).some(({ source }) => !('rails' in source));
}

const JOBS_OF: Readonly<Record<Extract<Act, { kind: 'process' }>['verb'], readonly Job[]>> = {
  startOn: [JOBS.start, JOBS.waitOn],
  stopOff: [JOBS.stop, JOBS.waitOff],
  on: [JOBS.on],
  off: [JOBS.off],
};

/** What has to be true of every case, from the design and not from the code. */
export const SERVICE_INVARIANTS = {
  answers: 'Every request is answered.',
  answersTrue:
    'A request that was carried out left the chassis so: on with power good, or with every enable off.',
  toldOnce: 'A request that fails is told of once.',
  lossActedOn: 'A chassis whose power is gone has no enable on, whoever switched it.',
  lossTold: 'A loss is told of.',
  shownTrue: 'What is shown of a chassis at rest is what it is.',
  obeys: 'A mended chassis does what it is asked.',
  unharmed: 'Nothing damages the chassis, and nothing misuses a line or a device.',
  noMistakes: 'No mistake of the program comes up.',
} as const;

export interface ServiceTold {
  readonly violations: { readonly invariant: keyof typeof SERVICE_INVARIANTS; readonly text: string }[];
  /** What happened, for people. */
  readonly story: string[];
}

/** The service, and what it told since it began. */
interface Life {
  readonly resident: Resident;
  readonly loop: StallingLoop;
  end(): Promise<void>;
  kill(): void;
}

/** RestartSec= of the service. */
const RESTART_MS = 2_000;
/** Longer than any timeout of a drawn board with all that waits for it. */
const REST_MS = 90_000;
/** In which the slowest rail of a mended chassis discharges. */
const MENDED_MS = 10_000;
const LOCK_WAIT_MS = 60_000;
const CASE_LIMIT_MS = 7_200_000;
const IDENTITY = { bootId: 'boot', boardHash: 'hash' };

/** Plays one case: its acts, rest, the mend of all that is broken, and then off, on and off. */
export async function playService(draw: ServiceDraw, boards: ShippedBoards): Promise<ServiceTold> {
  const runDir = mkdtempSync(join(tmpdir(), 'chassis-power-service-'));
  try {
    const clock = createVirtualClock();
    const told: ServiceTold = { violations: [], story: [] };
    const played = play(draw, boardOf(draw.board, boards), runDir, clock, told);
    await clock.runUntil(played, { limitMs: CASE_LIMIT_MS }).catch((error: unknown) => {
      told.violations.push({ invariant: 'answers', text: errorText(error) });
    });
    return told;
  } finally {
    rmSync(runDir, { recursive: true });
  }
}

async function play(
  { initially, acts }: ServiceDraw,
  board: Board,
  runDir: string,
  clock: VirtualClock,
  { violations, story }: ServiceTold,
): Promise<void> {
  const described = board.chassis[0];
  if (described === undefined) throw new RangeError('no chassis 0');
  const plan = planOf(described, board.devices);
  const plant = createPlant({
    board,
    clock,
    initially: initially === 'off' ? 'off' : 'on',
    timing: { reactionMs: 0 },
  });
  const locks = createLocks();
  const note = (text: string) => story.push(`${String(clock.nowMs()).padStart(8)} ${text}`);
  const violate = (invariant: keyof typeof SERVICE_INVARIANTS, text: string) => {
    note(`VIOLATION ${invariant}: ${text}`);
    violations.push({ invariant, text });
  };
  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      clock.after(ms, resolve);
    });
  const enabled = () =>
    plant
      .lines()
      .flatMap(({ role, chassis, asserted, rail }) =>
        role === 'enable' && chassis === 0 && asserted ? [rail ?? ''] : [],
      );
  const record = (who: string) => (entry: Recorded) => {
    note(`${who}: ${JSON.stringify(entry)}`);
    if (entry.type === 'warning' && /undefined|NaN|INTERNAL|\[object/.test(entry.message)) {
      violate('noMistakes', entry.message);
    }
  };
  const openStore = (own = clock as Parameters<typeof createSnapshotFile>[2]['clock']) =>
    createSnapshotFile(runDir, 0, { ...IDENTITY, plan, clock: own });

  const failuresTold: string[] = [];
  let isLeftApplied = false;
  let rejected = 0;
  let standsUntilMs = 0;
  const pending = new Set<Operation>();
  const known = new Set<Operation>();

  const begin = async (): Promise<Life> => {
    const loop = createStallingLoop(clock);
    const handles = new Set<() => Promise<void>>();
    const death = createDeath();
    const ports = portsOf(plant, loop, handles, death);
    const hardware = await openChassis(board, 0, { ...ports, clock: loop.clock });
    const resident = await createResident({
      chassis: 0,
      alarm: createAlarm(loop.clock),
      plan,
      hardware,
      clock: loop.clock,
      flock: locks.of(death),
      runDir,
      identity: IDENTITY,
      record: record('service'),
      supplyError: () => '',
      onChange: (view: ChassisView) => note(`shown: ${JSON.stringify(view)}`),
      onLoss: async (loss) => {
        note(`told of a loss${loss.isOfBefore ? ' of before' : ''}`);
        isLeftApplied = powerSeen(loss.sequence);
        // Power that could not be taken down is left to people.
        if (!isLeftApplied) beside.push(runBeside('stopOff'));
      },
      onHostOff: async () => {
        note('told that the host went off');
      },
      onRunOver: () => undefined,
      onRequestFailed: async (wanted, error) => {
        note(`told: power ${wanted} failed: ${errorText(error)}`);
        failuresTold.push(wanted);
        if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') return;
        isLeftApplied = error.details.powerStillApplied === true;
        // OnFailure= of the unit that waits for it.
        if (wanted === 'on' && !isLeftApplied) beside.push(runBeside('off'));
      },
    });
    resident.begin();
    return {
      resident,
      loop,
      async end() {
        await resident.stop('SIGTERM');
        await hardware.close();
      },
      kill() {
        loop.stall(CASE_LIMIT_MS * 10);
        death.die();
        for (const close of handles) void close();
        locks.dropThoseOf(death);
      },
    };
  };

  /** As systemd does it, until it lives: one that cannot read its lines ends. */
  const live = async (): Promise<Life> => {
    for (;;) {
      try {
        const life = await begin();
        note(`the service lives: ${JSON.stringify(life.resident.view)}`);
        return life;
      } catch (error) {
        note(`the service cannot start: ${errorText(error)}`);
        if (!(error instanceof CodedError)) throw error;
        await pause(RESTART_MS);
      }
    }
  };

  const beside: Promise<void>[] = [];
  const runBeside = async (verb: keyof typeof JOBS_OF): Promise<void> => {
    try {
      for (const job of JOBS_OF[verb]) {
        const own = createDeath();
        const lock = await lockChassis(runDir, 0, verb, {
          clock,
          flock: locks.of(own),
          waitMs: LOCK_WAIT_MS,
          signal: new AbortController().signal,
          onWait: () => undefined,
        });
        const handles = new Set<() => Promise<void>>();
        try {
          const ports = portsOf(plant, createStallingLoop(clock), handles, own);
          const hardware = await openChassis(
            board,
            0,
            { ...ports, clock },
            { whatCanBeHad: job.request === 'POWER_OFF' },
          );
          const result = await runSequence(job, {
            plan,
            hardware,
            clock,
            store: openStore(),
            record: record(verb),
          }).finally(() => hardware.close());
          expectDone(0, verb, job, result);
        } finally {
          for (const close of handles) await close();
          lock.release();
        }
      }
      note(`${verb} is done`);
    } catch (error) {
      note(`${verb} fails: ${errorText(error)}`);
      if (!(error instanceof CodedError)) violate('noMistakes', errorText(error));
      // OnFailure= of its unit.
      else if (verb !== 'off') await runBeside('off');
    }
  };

  // Somebody powered it on, which leaves the state file.
  if (initially === 'on') await runBeside('on');
  let life = await live();

  const request = (wanted: 'on' | 'off'): Operation => {
    const operation = life.resident.request(wanted, 'a client');
    note(`request ${wanted}`);
    if (known.has(operation)) return operation;
    known.add(operation);
    pending.add(operation);
    operation.done.then(
      () => {
        pending.delete(operation);
        note(`power ${wanted} is done`);
        const on = enabled();
        if (wanted === 'off' && on.length > 0) violate('answersTrue', `off, and ${on.join(' ')} on`);
        if (wanted === 'on' && !isPgood(plant)) violate('answersTrue', 'on, and pgood is not');
      },
      (error: unknown) => {
        pending.delete(operation);
        rejected += 1;
        note(`power ${wanted} is refused: ${errorText(error)}`);
        if (!(error instanceof CodedError)) violate('noMistakes', errorText(error));
        else if (error.code === 'INTERNAL') violate('noMistakes', error.message);
      },
    );
    return operation;
  };

  const act = async (each: Act): Promise<void> => {
    await pause(each.afterMs);
    if (each.kind !== 'request') note(JSON.stringify(each));
    switch (each.kind) {
      case 'request':
        request(each.wanted);
        return;
      case 'withdraw':
        life.resident.current?.operation.withdraw('its client has gone');
        return;
      case 'resetHost':
        if (described.hostReset !== undefined)
          life.resident.resetHost().catch((error) => void note(errorText(error)));
        return;
      case 'process':
        beside.push(runBeside(each.verb));
        return;
      case 'fault': {
        const text = faultOf(each, board);
        if (text !== null) {
          note(`put in: ${text}`);
          plant.addFault(parseFault(text, board));
        }
        return;
      }
      case 'mend':
        plant.clearFaults();
        return;
      case 'stall':
        life.loop.stall(each.ms);
        standsUntilMs = Math.max(standsUntilMs, clock.nowMs() + each.ms);
        return;
      case 'restart':
        await life.end();
        await pause(100);
        life = await live();
        return;
      case 'kill':
        life.kill();
        for (const operation of pending) known.delete(operation);
        pending.clear();
        await pause(RESTART_MS);
        life = await live();
        return;
    }
  };

  const rest = async (): Promise<void> => {
    const untilMs = Math.max(clock.nowMs(), standsUntilMs) + REST_MS;
    let isOver = false;
    while ((!isOver || pending.size > 0) && clock.nowMs() < untilMs) {
      const all = beside.length;
      void Promise.all(beside).then(() => {
        isOver = all === beside.length;
      });
      await pause(500);
    }
    await pause(Math.max(0, standsUntilMs - clock.nowMs()) + MENDED_MS);
    if (pending.size > 0) violate('answers', `${pending.size} requests, ${REST_MS} ms after the last act`);
    if (!isOver) violate('answers', 'a process beside it does not end');
  };

  const judgeRest = (when: string): void => {
    const { view } = life.resident;
    const on = enabled();
    const pgood = isPgood(plant);
    const all = `${when}: shown ${JSON.stringify(view)}, pgood ${pgood}, enables on: ${on.join(' ') || 'none'}`;
    note(all);
    if (!pgood && on.length > 0 && !(isLeftApplied && view.state === 'failed')) violate('lossActedOn', all);
    if ((view.state === 'pgood') !== (pgood && on.length > 0)) violate('shownTrue', all);
    if (view.pgood !== (pgood && view.state === 'pgood')) violate('shownTrue', all);
  };

  for (const each of acts) await act(each);
  await rest();
  judgeRest('at rest');

  plant.clearFaults();
  await pause(MENDED_MS);
  for (const wanted of ['off', 'on', 'off'] as const) {
    const operation = request(wanted);
    await Promise.race([
      operation.done.catch((error) => void violate('obeys', `${wanted}: ${errorText(error)}`)),
      pause(REST_MS),
    ]);
    if (pending.size > 0) violate('answers', `power ${wanted} of a mended chassis`);
    await pause(1_000);
    judgeRest(`after ${wanted}`);
  }
  if (failuresTold.length > rejected) violate('toldOnce', `${failuresTold.length} of ${rejected}`);
  if (plant.misuses.length > 0) violate('unharmed', plant.misuses.join('; '));
  await life.end();
}

function isPgood(plant: Plant): boolean {
  return plant.pgood(0);
}

/** What is left of a process that was killed waits for ever. */
interface Death {
  readonly promise: Promise<void>;
  isDead(): boolean;
  die(): void;
}

function createDeath(): Death {
  const { promise, resolve } = deferred();
  let dead = false;
  return {
    promise,
    isDead: () => dead,
    die() {
      dead = true;
      resolve();
    },
  };
}

/** The locks of all processes of one story. */
function createLocks() {
  const flock = createMockFlock();
  const asked = new Map<number, Death>();
  return {
    of:
      (death: Death): Flock =>
      async (fd, options) => {
        asked.set(fd, death);
        const answer = await flock(fd, options);
        return death.isDead() ? new Promise<never>(() => undefined) : answer;
      },
    /** The kernel closes what a process had open. Its numbers may have gone to others before. */
    dropThoseOf(death: Death): void {
      for (const [fd, owner] of asked) if (owner === death && isDirectory(fd)) closeSync(fd);
    },
  };
}

function isDirectory(fd: number): boolean {
  try {
    return fstatSync(fd).isDirectory();
  } catch {
    // It is closed.
    return false;
  }
}

/** The ports of one process, whose handles the kernel takes back when it dies. */
function portsOf(plant: Plant, loop: StallingLoop, handles: Set<() => Promise<void>>, death: Death) {
  const owned = <Handle extends { close(): Promise<void> }>(handle: Handle): Handle => {
    const close = async () => {
      handles.delete(close);
      await handle.close();
    };
    handles.add(close);
    return { ...handle, close };
  };
  const raw = createMockGpio(plant);
  const gpio: GpioBackend = {
    ...raw,
    openInput: async (ref) => owned(await raw.openInput(ref)),
    openOutput: async (ref) => owned(await raw.openOutput(ref)),
  };
  const buses = createMockI2c(plant);
  const i2c: I2cBackend = {
    async openBus(bus) {
      const open = owned(await buses.openBus(bus));
      return {
        ...open,
        // The kernel takes the bus back from who dies: the next process would wait for ever otherwise.
        async transaction(address, steps, options) {
          const left = death.promise.then(() => undefined as never);
          const value = await open.transaction(address, (held) => Promise.race([steps(held), left]), options);
          return death.isDead() ? new Promise<never>(() => undefined) : value;
        },
      };
    },
  };
  return {
    gpio: async () => loop.gpio(gpio),
    i2c: async () => loop.i2c(i2c),
    sensors: async () => loop.sensors(createMockSensors(plant)),
    properties: async () => loop.properties(createMockProperties(plant)),
  };
}
