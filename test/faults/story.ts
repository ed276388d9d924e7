import { type Fault, parseFault } from '../../mocks/faults.ts';
import { createPlant, type PlantEvent } from '../../mocks/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { Board } from '../../src/board/schema.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { Recorded } from '../../src/run/record.ts';
import type { Job } from '../../src/run/runner.ts';
import type { SnapshotStore } from '../../src/run/snapshot.ts';
import { planOf } from '../../src/sequence/plan.ts';
import type { Hint } from '../../src/sequence/state.ts';
import type { Case, Request, StoreKind } from './cases.ts';
import { type Disturbance, runProcess } from './process.ts';
import { createRandom } from './random.ts';
import {
  describeEnding,
  judge,
  sceneOf,
  succeeded,
  type Verb,
  type Violation,
  worstCaseMs,
} from './rules.ts';

/** Time in which the slowest rail of a repaired chassis has discharged. */
const REPAIR_MS = 10_000;
/** Commands that systemd and an operator give for one request before they leave the chassis alone. */
const PATIENCE = 3;

const PROCESSES: Readonly<Record<Request, readonly (readonly [Verb, readonly Job[]])[]>> = {
  startOn: [
    ['start', [JOBS.start]],
    ['wait-on', [JOBS.waitOn]],
  ],
  stopOff: [
    ['stop', [JOBS.stop]],
    ['wait-off', [JOBS.waitOff]],
  ],
  on: [['on', [JOBS.on]]],
  off: [['off', [JOBS.off]]],
  cycle: [['cycle', [JOBS.off, JOBS.on]]],
};

export interface Told {
  readonly violations: readonly Violation[];
  readonly processes: number;
  /** Disturbances and faults that came to pass. */
  readonly struck: readonly string[];
  /** What happened, for people; made only when it is asked for. */
  story(): string[];
}

type End = 'done' | 'failed' | 'killed' | 'interrupted';

interface Note {
  readonly atMs: number;
  /** Made when somebody reads it: most cases are never told. */
  readonly text: () => string;
}

/**
 * Plays one case to its end: the requests of its script with what systemd makes of their failures, then the
 * repair of everything that is broken, and then off, on and off, which a sound chassis must do.
 */
export async function play(plan: Case): Promise<Told> {
  const { board, script } = plan;
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially: script.initially });
  const random = createRandom(plan.restSeed);
  const faults = new Map<string, Fault>();
  const violations: Violation[] = [];
  const struck = new Set<string>();
  const notes: Note[] = [];
  let processes = 0;
  let repairedMs = Number.NEGATIVE_INFINITY;
  let repaired = false;

  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      clock.after(ms, resolve);
    });
  const note = (text: string) => notes.push({ atMs: clock.nowMs(), text: () => text });

  /** Plays the part of everybody who gives commands to one chassis. */
  const createChassis = (chassis: number, isUnderTest: boolean) => {
    const described = board.chassis[chassis];
    if (!described) throw new RangeError(`no chassis ${chassis}`);
    const chassisPlan = planOf(described);
    const limitMs = worstCaseMs(board, chassis);
    const disk = createDisk(plan.store, random.int(1, 12));
    let nth = 0;
    let disturbed = false;

    const runOne = async (verb: Verb, jobs: readonly Job[]): Promise<End> => {
      const index = nth;
      nth += 1;
      processes += 1;
      if (isUnderTest && !repaired) {
        for (const { text } of plan.faults.filter(({ process }) => process === index)) {
          const fault = parseFault(text, board);
          faults.set(fault.text, fault);
          plant.addFault(fault);
          note(`put in: ${text}`);
        }
      }
      const disturbance: Disturbance | null =
        (isUnderTest &&
          !repaired &&
          plan.disturbances.find(({ process }) => process === index)?.disturbance) ||
        null;
      const fromMs = clock.nowMs();
      const before = sceneOf(plant, chassis);
      const hazards = plant.hazards.length;
      const misuses = plant.misuses.length;
      note(
        `chassis ${chassis}: ${verb} begins${disturbance ? `, to be disturbed: ${tell(disturbance)}` : ''}`,
      );
      const process = await runProcess({
        board,
        chassis,
        plan: chassisPlan,
        plant,
        clock,
        store: disk.open(),
        record: (entry) =>
          notes.push({ atMs: entry.atMs, text: () => `  ${chassis}  ${tellRecorded(entry)}` }),
        powersOff: verb === 'stop' || verb === 'off',
        jobs,
        succeeded: (job, result) => succeeded(job, result, fromMs),
        disturbance,
        limitMs,
      });
      note(`chassis ${chassis}: ${verb} ended ${describeEnding(process)}`);
      if (disturbance && process.disturbedAtMs !== null) {
        struck.add(kindOf(disturbance));
        disturbed = true;
      }
      const spans = faultSpans(plant.history);
      const felt = (sinceMs: number) =>
        spans
          .filter(({ fromMs, toMs }) => fromMs <= clock.nowMs() && toMs >= sinceMs)
          .flatMap(({ text }) => faults.get(text) ?? [])
          .filter((fault) => reaches(fault, board, chassis));
      const sinceRepair = felt(repairedMs).filter((fault) => !isTooShort(fault, described.pgood.deglitchMs));
      const only = sinceRepair.length === 1 ? sinceRepair[0] : undefined;
      const first = index === 0 && isUnderTest && !repaired && plan.faults.length === 1;
      violations.push(
        ...judge({
          board,
          chassis,
          verb,
          fromMs,
          toMs: clock.nowMs(),
          before,
          after: sceneOf(plant, chassis),
          process,
          limitMs,
          hazards: plant.hazards.slice(hazards).filter((hazard) => hazard.chassis === chassis),
          misuses: plant.misuses.slice(misuses),
          history: plant.history,
          faults: felt(fromMs),
          sinceRepair,
          healthy: sinceRepair.length === 0,
          undisturbed: !disturbed,
          stateKept: plan.store === 'kept',
          only:
            first && only?.when.kind === 'start' && only.forMs === null && script.initially === 'off'
              ? only
              : null,
        }),
      );
      const { ending } = process;
      if (ending.kind === 'killed') return 'killed';
      if (ending.kind === 'rejected' && process.disturbedAtMs !== null) return 'interrupted';
      return ending.kind === 'ended' && succeeded(ending.job, ending.result, fromMs) ? 'done' : 'failed';
    };

    const request = async (asked: Request): Promise<End> => {
      for (const [verb, jobs] of PROCESSES[asked]) {
        const end = await runOne(verb, jobs);
        await pause(random.int(5, 40));
        if (end !== 'done') return end;
      }
      return 'done';
    };

    return {
      request,
      /** The request, and what follows when it fails, until something is done. */
      async insist(asked: Request): Promise<void> {
        let end = await request(asked);
        let rising = asked === 'startOn' || asked === 'on' || asked === 'cycle';
        for (let left = PATIENCE; end !== 'done' && left > 0; left -= 1) {
          // A failed power-on has OnFailure= power off; so has a killed one, unless somebody asks for on again
          // first. A power-off that fails is asked for again by a person, or after a kill turned round.
          const again = end === 'failed' ? !rising : random.chance(50);
          rising = again === rising;
          if (random.chance(30)) await pause(random.int(50, 3000));
          end = await request(
            rising ? (random.chance(70) ? 'startOn' : 'on') : random.chance(70) ? 'stopOff' : 'off',
          );
        }
      },
      pause: () => pause(random.chance(20) ? random.int(500, 6000) : random.int(20, 200)),
    };
  };

  const numbers = Object.keys(board.chassis).map(Number);
  const actors = numbers.map((number) => createChassis(number, number === plan.chassis));
  const underTest = actors[numbers.indexOf(plan.chassis)];
  if (!underTest) throw new RangeError(`no chassis ${plan.chassis}`);

  const tellAll = async (): Promise<void> => {
    await Promise.all(
      actors.map(async (actor) => {
        if (actor === underTest) {
          for (const asked of script.requests) {
            await actor.insist(asked);
            await actor.pause();
          }
          return;
        }
        // The other chassis of the board lives its own life meanwhile.
        await actor.pause();
        await actor.insist(script.initially === 'on' ? 'stopOff' : 'startOn');
        await actor.pause();
        await actor.insist(script.initially === 'on' ? 'startOn' : 'stopOff');
      }),
    );
    await pause(100);
    plant.clearFaults();
    repaired = true;
    note('everything is repaired');
    await pause(1);
    repairedMs = clock.nowMs();
    await pause(REPAIR_MS);
    for (const actor of actors) await actor.request('off');
    for (const asked of ['on', 'off'] as const) await underTest.request(asked);
  };

  try {
    await clock.runUntil(tellAll());
  } catch (error) {
    violations.push({
      rule: 'hang',
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
    story: () =>
      [...notes, ...plant.history.map((event) => ({ atMs: event.atMs, text: () => tellPlant(event) }))]
        .map((each, order) => ({ ...each, order }))
        .sort((left, right) => left.atMs - right.atMs || left.order - right.order)
        .map(({ atMs, text }) => `${(atMs - plant.startMs).toFixed(1).padStart(10)}  ${text()}`),
  };
}

/** The file of a chassis's state, on a disk that may be full or lose it between two processes. */
function createDisk(kind: StoreKind, failsFrom: number): { open(): SnapshotStore } {
  let text: string | null = null;
  let saves = 0;
  return {
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
function reaches({ chassis: own, effect }: Fault, board: Board, chassis: number): boolean {
  if (effect.on === 'gpio') return true;
  if (effect.on !== 'i2c') return own === chassis;
  const described = board.chassis[chassis];
  const broken = board.devices[effect.device];
  if (!described || !broken) return false;
  const parts = Object.values(described.rails).flatMap(({ enable, good }) => [enable, good]);
  const devices = [
    ...parts.flatMap((part) => (part && 'pmbus' in part ? [part.pmbus] : [])),
    ...described.evidence,
  ];
  return devices.some((name) => board.devices[name]?.bus === broken.bus);
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
  }
}

export function faultKindOf({ effect }: Fault): string {
  return `${effect.on} ${effect.does}`;
}

function tell(disturbance: Disturbance): string {
  switch (disturbance.kind) {
    case 'killAtTime':
      return `kill -9 after ${disturbance.ms} ms`;
    case 'killAtWrite':
      return `kill -9 ${disturbance.when} write ${disturbance.write}`;
    case 'signalAtTime':
      return `${kindOf(disturbance)} after ${disturbance.ms} ms`;
    case 'signalAtWrite':
      return `${kindOf(disturbance)} at write ${disturbance.write}`;
  }
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
    default:
      return `    ${type} ${JSON.stringify(rest)}`;
  }
}
