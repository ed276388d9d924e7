import { CodedError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c, HOLD_LIMIT_MS } from '../../mocks/backends/i2c.ts';
import { createMockProperties } from '../../mocks/backends/properties.ts';
import { createMockSensors } from '../../mocks/backends/sensors.ts';
import type { PlantEvent } from '../../mocks/plant/events.ts';
import { type Fault, parseFault } from '../../mocks/plant/faults.ts';
import { chipOf, lineKey } from '../../mocks/plant/line-key.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { type BoardLine, linesOf } from '../../src/board/lines.ts';
import { sourcesOf } from '../../src/board/pgood-sources.ts';
import type { Board, ChassisBoard } from '../../src/board/schema.ts';
import { PowerError } from '../../src/errors.ts';
import { openChassis } from '../../src/run/hardware.ts';
import type { Recorded } from '../../src/run/record.ts';
import { releaseResets } from '../../src/run/release-resets.ts';
import { planOf } from '../../src/sequence/plan.ts';
import type { Hint } from '../../src/sequence/state.ts';
import type { SnapshotStore } from '../../src/store/snapshot.ts';
import type { Break } from './breaks.ts';
import { type Case, type Disturbance, type Request, type StoreKind, tellDisturbance } from './draw.ts';
import {
  chipHungBy,
  describeEnding,
  judge,
  sceneOf,
  type Violation,
  withDependents,
  worstCaseMs,
} from './invariants.ts';
import { LOOKING, runProcess, type Verb } from './process.ts';

/** Time in which the slowest rail of a repaired chassis has discharged. */
const REPAIR_MS = 10_000;
/** Commands that systemd and an operator give for one request before they leave the chassis alone. */
const PATIENCE = 3;
/** As `src/cli` has it: stages and `off` wait for another process to leave the chassis, people are told at once. */
const PATIENT: readonly Verb[] = ['start', 'wait-on', 'stop', 'wait-off', 'off'];
const LOCK_WAIT_MS = 60_000;
const LOCK_POLL_MS = 200;
/** A case of many commands on a slow board ends far below this; one that loops does not. */
const CASE_LIMIT_MS = 7_200_000;

const VERBS: Readonly<Record<Request, readonly Verb[]>> = {
  startOn: ['start', 'wait-on'],
  stopOff: ['stop', 'wait-off'],
  on: ['on'],
  off: ['off'],
  cycle: ['cycle'],
  status: ['status'],
  clear: ['clear'],
  reset: ['reset'],
};

export interface Told {
  readonly violations: readonly Violation[];
  readonly processes: number;
  /** Disturbances and faults that came to pass. */
  readonly struck: readonly string[];
  /** What was driven, and when. */
  readonly drives: readonly string[];
  /** What happened, for people; made only when it is asked for. */
  story(): string[];
}

type End = 'done' | 'failed' | 'killed' | 'interrupted';

/** A process that stood still; it may hold a bus meanwhile. */
interface Standstill {
  readonly chassis: number;
  readonly fromMs: number;
  toMs: number;
}

interface Note {
  readonly atMs: number;
  /** Made when somebody reads it: most cases are never told. */
  readonly text: () => string;
}

/**
 * Plays one case to its end: the requests of its script with what systemd makes of their failures, then the
 * repair of everything that is broken, and then off, on and off, which a sound chassis must do.
 */
export async function play(plan: Case, sabotage: Break | null = null): Promise<Told> {
  const told = await playOnce(plan, sabotage);
  if (plan.output === null) return told;
  const undisturbed = await playOnce({ ...plan, output: null }, sabotage);
  const place = told.drives.findIndex((drive, index) => drive !== undisturbed.drives[index]);
  if (place < 0 && told.drives.length === undisturbed.drives.length) return told;
  const [here, there] = [told.drives.at(place), undisturbed.drives.at(place)];
  const text = `with its output broken: ${here ?? 'nothing'}; otherwise: ${there ?? 'nothing'}`;
  return { ...told, violations: [...told.violations, { invariant: 'outputAside', text }] };
}

async function playOnce(plan: Case, sabotage: Break | null): Promise<Told> {
  const { board } = plan;
  const clock = createVirtualClock();
  // Nobody is given time to notice what he has to look at before he acts.
  const plant = createPlant({ board, clock, initially: plan.initially, timing: { reactionMs: 0 } });
  const faults = new Map<string, Fault>();
  const violations: Violation[] = [];
  const struck = new Set<string>();
  const standstills: Standstill[] = [];
  const notes: Note[] = [];
  let processes = 0;
  let repairedMs = Number.NEGATIVE_INFINITY;
  let repaired = false;

  let thrown = 0;
  const roll = (most: number): number => {
    const die = plan.dice[thrown % plan.dice.length] ?? 0;
    thrown += 1;
    return Math.floor((die * (most + 1)) / 100);
  };
  const chance = (percent: number): boolean => roll(99) >= 100 - percent;

  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      clock.after(ms, resolve);
    });
  const note = (text: string) => notes.push({ atMs: clock.nowMs(), text: () => text });
  const putIn = (text: string): void => {
    const fault = parseFault(text, board);
    faults.set(fault.text, fault);
    plant.addFault(fault);
    note(`put in: ${text}`);
  };

  const planned = plan.faults.map(({ text }) => parseFault(text, board));

  /** Plays the part of everybody who gives commands to one chassis. */
  const createChassis = (chassis: number, isUnderTest: boolean) => {
    const described = board.chassis[chassis];
    if (!described) throw new RangeError(`no chassis ${chassis}`);
    const chassisPlan = planOf(described, board.devices);
    const limitMs = worstCaseMs(board, chassis, planned);
    const disk = createDisk(plan.store, 1 + roll(11));
    const drivers: { readonly fromMs: number; toMs: number; toTurn: number }[] = [];
    /** Counts who takes and who leaves the lock: much of that happens at one moment. */
    let turn = 0;
    let isDriven = false;
    let nth = 0;
    let disturbed = false;
    let watching: { readonly leave: AbortController; readonly ended: Promise<void> } | null = null;

    const lock =
      (isPatient: boolean) =>
      async (own: Clock, signal: AbortSignal): Promise<() => void> => {
        const untilMs = own.nowMs() + (isPatient ? LOCK_WAIT_MS : 0);
        while (isDriven) {
          if (own.nowMs() >= untilMs) throw new PowerError('CHASSIS_LOCKED', 'another process drives it');
          await new Promise<void>((resolve) => {
            own.after(LOCK_POLL_MS, resolve);
          });
          if (signal.aborted) throw new PowerError('INTERRUPTED', 'while it waited for another process');
        }
        isDriven = true;
        turn += 1;
        const driver = {
          fromMs: own.nowMs(),
          toMs: Number.POSITIVE_INFINITY,
          toTurn: Number.POSITIVE_INFINITY,
        };
        drivers.push(driver);
        return () => {
          isDriven = false;
          turn += 1;
          driver.toMs = clock.nowMs();
          driver.toTurn = turn;
        };
      };

    const runOne = async (verb: Verb, sinceTurn: number, leave?: AbortSignal): Promise<End> => {
      const index = nth;
      nth += 1;
      processes += 1;
      const isDisturbed = isUnderTest && !repaired;
      const own = isDisturbed ? plan.faults.filter(({ process }) => process === index) : [];
      const disturbances = isDisturbed
        ? plan.disturbances.filter(({ process }) => process === index).map((each) => each.disturbance)
        : [];
      const takesLock = !LOOKING.includes(verb);
      let before = sceneOf(plant, chassis);
      let { hint } = disk;
      let hazards = 0;
      let misuses = 0;
      let historyFrom = 0;
      let besideWatch = false;
      let beganTurn = turn;
      let ownDriver: (typeof drivers)[number] | undefined;
      const ownStandstills: Standstill[] = [];
      const store = disk.open();
      let hasSaved = false;
      const process = await runProcess({
        board,
        chassis,
        plan: chassisPlan,
        plant,
        clock,
        store: {
          load: store.load,
          save(state, sequence) {
            hasSaved = true;
            return store.save(state, sequence);
          },
        },
        verb,
        record: (entry) =>
          notes.push({ atMs: entry.atMs, text: () => `  ${chassis}  ${tellRecorded(entry)}` }),
        lock: takesLock ? lock(PATIENT.includes(verb)) : null,
        superseded: async () => {
          const state = disk.open().load().hint?.state;
          return state === undefined ? isDriven : state !== 'pgood';
        },
        ...(leave ? { leave } : {}),
        onBegin: () => {
          note(
            `chassis ${chassis}: ${verb} begins (process ${index})${disturbances.map((each) => `, ${tellDisturbance(each)}`).join('')}`,
          );
          if (takesLock) ownDriver = drivers.at(-1);
          beganTurn = turn;
          besideWatch = watching !== null;
          for (const { text, write } of own) if (write === null) putIn(text);
          before = sceneOf(plant, chassis);
          ({ hint } = disk);
          hazards = plant.hazards.length;
          misuses = plant.misuses.length;
          historyFrom = plant.history.length;
        },
        onWrite: (write) => {
          for (const fault of own) if (fault.write === write) putIn(fault.text);
        },
        onStall: (span) => {
          const standstill = { ...span, chassis };
          ownStandstills.push(standstill);
          standstills.push(standstill);
        },
        disturbances,
        output: isDisturbed ? plan.output : null,
        sabotage,
        limitMs: watchLimit(verb) ?? limitMs + stallsOf(disturbances) + othersLimitMs,
      });
      note(`chassis ${chassis}: ${verb} ended ${describeEnding(process)}`);
      for (const each of process.struck) struck.add(kindOf(each));
      if (isDisturbed && plan.output !== null) struck.add(`output ${plan.output.errno}`);
      if (process.disturbedAtMs !== null) disturbed = true;
      const beganMs = process.beganMs ?? clock.nowMs();
      const endedMs = clock.nowMs();
      // What a dead process had open is closed.
      for (const standstill of ownStandstills) standstill.toMs = Math.min(standstill.toMs, endedMs);
      const spans = faultSpans(plant.history);
      const felt = (sinceMs: number) =>
        spans
          .filter(({ fromMs, toMs }) => fromMs <= clock.nowMs() && toMs >= sinceMs)
          .flatMap(({ text }) => faults.get(text) ?? [])
          .filter((fault) => reaches(fault, board, chassis));
      const feltSinceRepair = felt(repairedMs);
      const tooShort = feltSinceRepair.filter((fault) => isTooShort(fault, described.pgood.deglitchMs));
      // Several glitches, one after the other, keep pgood from standing for its de-glitch time.
      const broken =
        tooShort.length > 1 ? feltSinceRepair : feltSinceRepair.filter((fault) => !tooShort.includes(fault));
      // A chassis without a part that may be absent is as sound as one with it.
      const isNeverThere = ({ text, effect, when, forMs }: Fault) =>
        isUnderTest &&
        // Of one that is on it is pulled.
        plan.initially === 'off' &&
        effect.on === 'part' &&
        when.kind === 'start' &&
        forMs === null &&
        plan.faults.some((fault) => fault.text === text && fault.process === 0 && fault.write === null);
      const sinceRepair = broken.filter((fault) => !isNeverThere(fault));
      const only = sinceRepair.length === 1 ? sinceRepair[0] : undefined;
      const isFirst =
        index === 0 &&
        isUnderTest &&
        !repaired &&
        plan.faults.length === 1 &&
        plan.faults[0]?.process === 0 &&
        plan.faults[0].write === null;
      const heldMs = Math.max(
        ...standstills
          .filter(
            (standstill) =>
              !ownStandstills.includes(standstill) && sharesBus(board, standstill.chassis, chassis),
          )
          .map(({ fromMs, toMs }) => Math.min(toMs, endedMs) - Math.max(fromMs, beganMs)),
      );
      violations.push(
        ...judge({
          board,
          chassis,
          verb,
          toMs: clock.nowMs(),
          before,
          after: sceneOf(plant, chassis),
          process,
          hazards: plant.hazards
            .slice(hazards)
            .filter((hazard) => hazard.chassis === chassis && !LOOKING.includes(verb)),
          misuses: plant.misuses.slice(misuses),
          history: plant.history,
          historyFrom,
          faults: felt(beganMs),
          sinceRepair: feltSinceRepair,
          absent: absentFor(
            described,
            feltSinceRepair.filter((fault) => fault.effect.on === 'gpio' || fault.chassis === chassis),
            isNeverThere,
          ),
          healthy: sinceRepair.length === 0,
          undisturbed: !disturbed,
          others: drivers.filter(
            (driver) => driver !== ownDriver && driver.toTurn > Math.min(beganTurn, sinceTurn),
          ),
          besideWatch,
          busHeld: heldMs >= HOLD_LIMIT_MS,
          busShared: heldMs > 0,
          stateKept: plan.store === 'kept',
          hasSaved,
          hintBefore: hint,
          hintAfter: disk.hint,
          only:
            isFirst && only?.when.kind === 'start' && only.forMs === null && plan.initially === 'off'
              ? only
              : null,
        }),
      );
      const { ending } = process;
      if (ending.kind === 'killed') return 'killed';
      if (ending.kind === 'rejected' && process.disturbedAtMs !== null) return 'interrupted';
      const isDone = ending.kind === 'done' || (ending.kind === 'ended' && ending.failure === null);
      return isDone ? 'done' : 'failed';
    };

    /** What the resident service does when the state file says that the chassis is on. */
    const watchOver = (): void => {
      if (!plan.watched || !isUnderTest || watching !== null || disk.hint?.state !== 'pgood') return;
      const leave = new AbortController();
      const ended = runOne('watch', turn, leave.signal).then(() => {
        watching = null;
      });
      watching = { leave, ended };
    };
    const endWatch = async (): Promise<void> => {
      watching?.leave.abort();
      await watching?.ended;
    };

    const held = Object.entries(described.resets).flatMap(([name, { heldUntil }]) =>
      heldUntil === undefined ? [] : [name],
    );
    const { postComplete } = described.hostSignals ?? {};
    /** The host has done its work, and the service releases what has waited for that, where it finds the chassis on. */
    const hostIsDone = async (): Promise<void> => {
      if (postComplete === undefined || held.length === 0 || disk.hint?.state !== 'pgood' || isDriven) return;
      if (chance(50)) return;
      plant.hold(postComplete, 1);
      const ports = {
        gpio: async () => createMockGpio(plant),
        i2c: async () => createMockI2c(plant),
        sensors: async () => createMockSensors(plant),
        properties: async () => createMockProperties(plant),
        clock,
      };
      const unlock = await lock(false)(clock, new AbortController().signal);
      try {
        const hardware = await openChassis(board, chassis, ports);
        const record = () => note(`chassis ${chassis}: the service released a reset`);
        const options = { plan: chassisPlan, hardware, clock, store: disk.open(), record };
        await releaseResets(held, { ...options, mayRelease: () => true }).finally(() => hardware.close());
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        note(`chassis ${chassis}: no reset is released: ${error.message}`);
      } finally {
        unlock();
        plant.hold(postComplete, 0);
      }
    };

    const request = async (asked: Request): Promise<End> => {
      let sinceTurn = Number.POSITIVE_INFINITY;
      for (const verb of VERBS[asked]) {
        const end = await runOne(verb, sinceTurn);
        sinceTurn = turn;
        watchOver();
        await hostIsDone();
        await pause(5 + roll(35));
        if (end !== 'done') return end;
      }
      return 'done';
    };

    return {
      request,
      endWatch,
      /** The request, and what follows when it fails, until something is done. */
      async insist(asked: Request): Promise<void> {
        let end = await request(asked);
        if (asked === 'status' || asked === 'clear' || asked === 'reset') return;
        let rising = asked === 'startOn' || asked === 'on' || asked === 'cycle';
        for (let left = PATIENCE; end !== 'done' && left > 0; left -= 1) {
          // A failed power-on has OnFailure= power off; so has a killed one, unless somebody asks for on again
          // first. A power-off that fails is asked for again by a person, or after a kill turned round.
          const again = end === 'failed' ? !rising : chance(50);
          rising = again === rising;
          if (chance(30)) await pause(50 + roll(2950));
          end = await request(rising ? (chance(30) ? 'on' : 'startOn') : chance(30) ? 'off' : 'stopOff');
        }
      },
      pause: () => pause(chance(20) ? 500 + roll(5500) : 20 + roll(180)),
    };
  };

  const numbers = Object.keys(board.chassis).map(Number);
  /** A bus that all chassis share may be held up for one by another. */
  const stalledMs = stallsOf(plan.disturbances.map(({ disturbance }) => disturbance));
  const othersLimitMs =
    numbers.length === 1
      ? 0
      : stalledMs + Math.max(...numbers.map((number) => worstCaseMs(board, number, planned)));
  const actors = numbers.map((number) => createChassis(number, number === plan.chassis));
  const underTest = actors[numbers.indexOf(plan.chassis)];
  if (!underTest) throw new RangeError(`no chassis ${plan.chassis}`);

  const tellAll = async (): Promise<void> => {
    const { rival } = plan;
    await Promise.all([
      ...actors.map(async (actor) => {
        if (actor === underTest) {
          for (const asked of plan.requests) {
            await actor.insist(asked);
            await actor.pause();
          }
          return;
        }
        // The other chassis of the board lives its own life meanwhile.
        await actor.pause();
        await actor.insist(plan.initially === 'on' ? 'stopOff' : 'startOn');
        await actor.pause();
        await actor.insist(plan.initially === 'on' ? 'startOn' : 'stopOff');
      }),
      ...(rival === null ? [] : [pause(rival.atMs).then(() => underTest.request(rival.asks))]),
    ]);
    await underTest.endWatch();
    await pause(100);
    plant.clearFaults();
    repaired = true;
    note('everything is repaired');
    await pause(1);
    repairedMs = clock.nowMs();
    await pause(REPAIR_MS);
    for (const actor of actors) await actor.request('off');
    for (const asked of ['on', 'off'] as const) await underTest.request(asked);
    await underTest.endWatch();
  };

  try {
    await clock.runUntil(tellAll(), { limitMs: CASE_LIMIT_MS });
  } catch (error) {
    violations.push({
      invariant: 'ends',
      text: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  } finally {
    plant.close();
  }
  for (const { text } of faultSpans(plant.history)) {
    const fault = faults.get(text);
    if (fault) struck.add(faultKindOf(fault));
  }
  return {
    violations,
    processes,
    struck: [...struck],
    get drives() {
      return plant.history.flatMap((event) =>
        event.type === 'drive' ? [`${tellPlant(event).trim()} at ${event.atMs} ms`] : [],
      );
    },
    story: () =>
      [...notes, ...plant.history.map((event) => ({ atMs: event.atMs, text: () => tellPlant(event) }))]
        .map((each, order) => ({ ...each, order }))
        .sort((left, right) => left.atMs - right.atMs || left.order - right.order)
        .map(({ atMs, text }) => `${(atMs - plant.startMs).toFixed(1).padStart(10)}  ${text()}`),
  };
}

/** A watch ends when it is asked to. */
function watchLimit(verb: Verb): number | null {
  return verb === 'watch' ? CASE_LIMIT_MS : null;
}

function stallsOf(disturbances: readonly Disturbance[]): number {
  return disturbances.reduce((sum, each) => sum + ('ms' in each ? each.ms : 0), 0);
}

/** The file of a chassis's state, on a disk that may be full or lose it between two processes. */
function createDisk(
  kind: StoreKind,
  failsFrom: number,
): { readonly hint: Hint | null; open(): SnapshotStore } {
  let text: string | null = null;
  let saves = 0;
  return {
    /** What is in the file, whether the next process can read it or not. */
    get hint() {
      return text === null ? null : (JSON.parse(text) as Hint);
    },
    open() {
      let own: Hint | null = null;
      return {
        load() {
          if (own !== null) return { hint: structuredClone(own), warning: null };
          if (text === null || kind === 'lost') return { hint: null, warning: null };
          if (kind === 'torn') return { hint: null, warning: 'set aside: not JSON' };
          if (kind === 'otherBoot') return { hint: null, warning: 'set aside: it is of another boot' };
          return { hint: JSON.parse(text), warning: null };
        },
        save(state, sequence) {
          own = { state, sequence };
          saves += 1;
          if (kind === 'full' || (kind === 'fullLater' && saves >= failsFrom)) {
            // As the file does it: an old state must not be believed like a new one.
            text = null;
            return 'no space left on device';
          }
          text = JSON.stringify(own);
          return null;
        },
      };
    },
  };
}

/** Rails of parts that are never there, and what needs them; none where something lies of a part, or cannot tell. */
function absentFor(
  { rails }: ChassisBoard,
  faults: readonly Fault[],
  isNeverThere: (fault: Fault) => boolean,
): ReadonlySet<string> {
  const parts = faults.filter(isNeverThere).flatMap(({ effect }) => ('rail' in effect ? [effect.rail] : []));
  const isLied = faults.some(
    ({ effect }) =>
      effect.on === 'presence' ||
      effect.on === 'gpio' ||
      (effect.on === 'line' && (effect.does === 'hangs' || effect.line.of === 'presence')),
  );
  const presenceOf = (rail: string) => JSON.stringify(rails[rail]?.presence);
  return withDependents(
    rails,
    (rail) => !isLied && parts.some((part) => presenceOf(part) === presenceOf(rail)),
  );
}

/** From when to when each fault was active. */
function faultSpans(history: readonly PlantEvent[]): { text: string; fromMs: number; toMs: number }[] {
  const spans: { text: string; fromMs: number; toMs: number }[] = [];
  for (const event of history) {
    if (event.type !== 'fault') continue;
    if (event.active) spans.push({ text: event.fault, fromMs: event.atMs, toMs: Number.POSITIVE_INFINITY });
    else {
      const open = spans.find(({ text, toMs }) => text === event.fault && toMs === Number.POSITIVE_INFINITY);
      if (open) open.toMs = event.atMs;
    }
  }
  return spans;
}

/** Whether a chassis can feel a fault: through its own parts, or through a bus that it shares. */
function reaches(fault: Fault, board: Board, chassis: number): boolean {
  if (fault.effect.on === 'gpio') return true;
  const chip = chipHungBy(fault, board);
  const isOfChip = ({ chassis: number, ref }: BoardLine) =>
    number === chassis && chipOf(lineKey(ref) ?? '') === chip;
  if (chip !== undefined && linesOf(board).some(isOfChip)) return true;
  if (fault.effect.on !== 'i2c' && fault.chassis === chassis) return true;
  const bus = busOf(fault, board);
  return bus !== undefined && busesOf(board, chassis).includes(bus);
}

/** The bus of a device that a fault hits, or that a part which does not answer holds up. */
function busOf({ chassis, effect }: Fault, board: Board): Board['devices'][string]['bus'] | undefined {
  if (effect.on === 'i2c') return board.devices[effect.device]?.bus;
  if (effect.on !== 'presence' || effect.does !== 'hang') return undefined;
  const presence = board.chassis[chassis ?? 0]?.rails[effect.rail]?.presence;
  return presence && 'bus' in presence ? presence.bus : undefined;
}

/** The buses of the devices that a chassis asks for anything. */
function busesOf(board: Board, chassis: number): Board['devices'][string]['bus'][] {
  const described = board.chassis[chassis];
  if (!described) return [];
  const parts = Object.values(described.rails).flatMap(({ enable, good, setup }) => [enable, good, setup]);
  const devices = [
    ...parts.flatMap((part) => (part && 'pmbus' in part ? [part.pmbus] : [])),
    ...sourcesOf(described.pgood).flatMap(({ source }) => ('pmbus' in source ? [source.pmbus] : [])),
    ...described.evidence,
  ];
  const presences = Object.values(described.rails).flatMap(({ presence }) =>
    presence && 'bus' in presence ? [presence.bus] : [],
  );
  return [...presences, ...devices.flatMap((name) => board.devices[name]?.bus ?? [])];
}

function sharesBus(board: Board, one: number, other: number): boolean {
  return busesOf(board, one).some((bus) => busesOf(board, other).includes(bus));
}

/** A glitch of pgood that the board asks to be overlooked: the chassis has to behave as if nothing were. */
function isTooShort({ effect, forMs }: Fault, deglitchMs: number): boolean {
  return effect.on === 'pgood' && effect.does === 'inverts' && forMs !== null && forMs < deglitchMs;
}

export function kindOf(disturbance: Disturbance): string {
  switch (disturbance.kind) {
    case 'killAtTime':
      return 'kill -9 at a time';
    case 'killAtWrite':
      return `kill -9 ${disturbance.when} a write`;
    case 'signalAtTime':
    case 'signalAtWrite':
      return `${disturbance.signal}${disturbance.againMs === null ? '' : ' twice'}`;
    case 'stallAtCall':
      return `stall ${disturbance.when} a call`;
    case 'stallAtTime':
      return 'stall at a time';
    case 'spuriousWakes':
      return 'spurious wakes';
  }
}

export function faultKindOf({ effect }: Fault): string {
  return `${effect.on} ${effect.does}`;
}

function tellRecorded({ atMs: _, type, ...rest }: Recorded): string {
  return `${type} ${JSON.stringify(rest)}`;
}

function tellPlant(event: PlantEvent): string {
  const { atMs: _, type, ...rest } = event;
  switch (event.type) {
    case 'line':
      return `    ${event.role} ${event.rail ?? event.line} ${event.asserted ? 'asserted' : 'deasserted'} (${event.direction})`;
    case 'rail':
      return `    ${event.rail} ${event.good ? 'good' : 'no longer good'}`;
    case 'fault':
      return `    fault ${event.active ? 'strikes' : 'ends'}: ${event.fault}`;
    case 'hazard':
      return `    HAZARD ${event.kind}: ${event.text}`;
    case 'drive':
      return `    ${event.role} ${event.rail ?? event.line} driven ${event.asserted ? 'on' : 'off'}`;
    default:
      return `    ${type} ${JSON.stringify(rest)}`;
  }
}
