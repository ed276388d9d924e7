import { CodedError, errorText, HardwareError } from '../../hw/errors.ts';
import { HOLD_LIMIT_MS, TRANSFER_DEADLINE_MS } from '../../mocks/backends/i2c.ts';
import type { Hazard, HazardKind, PlantEvent } from '../../mocks/plant/events.ts';
import { type Fault, faultLineKey, partLine } from '../../mocks/plant/faults.ts';
import { chipOf as lineChipOf, lineKey } from '../../mocks/plant/line-key.ts';
import type { Plant, PlantLine, PlantRail } from '../../mocks/plant/plant.ts';
import { isLine as isPartLine, linesOf } from '../../src/board/lines.ts';
import { nextOff } from '../../src/board/off-order.ts';
import { railsOfPgood, sourcesOf } from '../../src/board/pgood-sources.ts';
import type { Board, ChassisBoard, LineBoard, PulseBoard } from '../../src/board/schema.ts';
import { PowerError } from '../../src/errors.ts';
import type { Hint } from '../../src/sequence/state.ts';
import { diagnosisOf, suppliesOf } from './diagnosis.ts';
import { LOOKING, type Process, type Verb } from './process.ts';

/**
 * What may never be, from the design and told from the board file and the simulated chassis alone: nothing of `src/`
 * decides here, so that a mistake there cannot excuse itself. Each one sentence for whoever builds the board.
 */
export const INVARIANTS = {
  needsFirst: 'A rail is enabled only while every rail that it needs is good.',
  needsOutlive: 'A rail is disabled only after everything that needs it.',
  noPulse: 'No enable is switched over and back faster than a regulator can follow.',
  resetsHeld:
    'A reset is released only while pgood stands, and the host has shown what it waits for, and held before the power goes down.',
  drivenOff:
    'After a power-off, a failure or a withdrawn power-on every enable is driven off, whatever it reads.',
  powerTold: 'A failure that leaves power applied says so.',
  honestOn: 'Nobody is told "on" of a chassis that is not on.',
  honestOff: 'Nobody is told "off" of a chassis that has power.',
  snapshotTrue: 'The state file never says off, or on, of a chassis that is not.',
  noMove: 'Asking for what is so moves no line, and looking never does.',
  healthyStays: 'A chassis that is on and sound is not switched off unless somebody asks for it.',
  powerFirst: 'A device is asked for nothing while the rail that powers it is off.',
  setUpFirst: 'A rail is enabled only when its device has taken all that the board has it told.',
  setUpOff: 'Nothing is told to the output of a device while its rail is on.',
  lossActedOn: 'A chassis that is watched and loses its power is switched off at once.',
  hostOff: 'A watched host that switched itself off is told so, and one that lost its power never is.',
  obeys: 'Where nothing is broken, what is asked for is done.',
  noLoop: 'No command switches a rail on twice, and no power-off switches one on.',
  latched: 'The latch is pulsed after the enables changed, and not left open.',
  named: 'A fault is called what it is.',
  ends: 'Every command ends within the times of its board file.',
  ownErrors: 'What goes wrong is told as an error of this program, and has a reason.',
  port: 'Lines and buses are used as their contracts say.',
  toldOnce: 'What cannot be read is told once a minute, however often it is asked.',
  resetHost:
    'A reset of the host drives its own line alone, while pgood stands, and every command lets it go.',
  doneWithout:
    'A rail that the chassis can do without takes no power away by failing, and that it failed is told.',
  absentLeft: 'No rail of an absent part is enabled, or named as failed.',
  outputAside: 'What becomes of its output changes nothing about what a command drives.',
} as const;
export type Invariant = keyof typeof INVARIANTS;

/** What broke an invariant, for people. */
export interface Violation {
  readonly invariant: Invariant;
  readonly text: string;
}

/** The plant at one moment, of one chassis. */
export interface Scene {
  readonly lines: readonly PlantLine[];
  readonly rails: readonly PlantRail[];
  /** What can be seen of pgood. */
  readonly pgood: boolean;
}

export function sceneOf(plant: Plant, chassis: number): Scene {
  return {
    lines: plant.lines().filter((line) => line.chassis === chassis),
    rails: plant.rails().filter((rail) => rail.chassis === chassis),
    pgood: plant.pgood(chassis),
  };
}

/** A process that ran, and the chassis around it. */
export interface Act {
  readonly board: Board;
  readonly chassis: number;
  readonly verb: Verb;
  readonly toMs: number;
  readonly before: Scene;
  readonly after: Scene;
  readonly process: Process;
  /** Hazards and misuses of this chassis that came meanwhile. */
  readonly hazards: readonly Hazard[];
  readonly misuses: readonly string[];
  readonly history: readonly PlantEvent[];
  /** Place of the first event of this process in `history`. */
  readonly historyFrom: number;
  /** Faults that were active while the process ran. */
  readonly faults: readonly Fault[];
  /** Faults that were active since the last repair: what was absent for a power-on stays so after them. */
  readonly sinceRepair: readonly Fault[];
  /** Rails whose part was not there since the begin of the case, and with them what needs them; nothing lies of that. */
  readonly absent: ReadonlySet<string>;
  /** No fault that this chassis can feel was active since its last repair, but that a part was never there. */
  readonly healthy: boolean;
  /** No process of this chassis was killed or told to end, this one included. */
  readonly undisturbed: boolean;
  /** When other processes drove the chassis meanwhile, or since the stage before this one. */
  readonly others: readonly { readonly fromMs: number; readonly toMs: number }[];
  /** A watch, which may take the power away, was there when this process began. */
  readonly besideWatch: boolean;
  /** Another process stood still meanwhile, for as long as a bus is waited for, on a bus that this chassis uses. */
  readonly busHeld: boolean;
  /** The same for however long. */
  readonly busShared: boolean;
  /** What a process saves, the next one finds. */
  readonly stateKept: boolean;
  /** It wrote the state file, or tried to. */
  readonly hasSaved: boolean;
  /** The state file before and after. */
  readonly hintBefore: Hint | null;
  readonly hintAfter: Hint | null;
  /** One lasting fault from before the first command, and nothing else; null otherwise. */
  readonly only: Fault | null;
}

const TO_ON: readonly Verb[] = ['start', 'wait-on', 'on'];
const TO_OFF: readonly Verb[] = ['stop', 'wait-off', 'off'];

/** Changes at the very moment at which a process ends cannot have been seen by it. */
const SAME_MOMENT_MS = 0.01;
/** PMBus signals are polled. */
const POLL_MS = 10;
/** pgood that tells of nothing by itself, while the chassis is on (src/run/hardware.ts). */
const GUARD_POLL_MS = 100;
/** From a loss that is believed to the last enable, where no bus is slow. */
const REACTION_MS = 5;
/** How long what goes off after a loss waits for a device before it (src/run/drives.ts). */
const GRACE_MS = 50;

function chassisOfBoard(board: Board, chassis: number): ChassisBoard {
  const found = board.chassis[chassis];
  if (!found) throw new RangeError(`no chassis ${chassis}`);
  return found;
}

/** Signals of a chassis that are read over a bus, or by asking a driver or a service. */
function pmbusSignals({ rails, pgood }: ChassisBoard): number {
  const ofRails = Object.values(rails).filter(({ enable, good, setup }) =>
    [enable, good, setup].some(isAsked),
  );
  const presences = Object.values(rails).filter(({ presence }) => presence && !isPartLine(presence));
  return ofRails.length + presences.length + sourcesOf(pgood).filter(({ source }) => isAsked(source)).length;
}

function isOverPmbus(part: object | undefined): boolean {
  return part !== undefined && 'pmbus' in part;
}

/** It is seen over PMBus, by a voltage that a kernel driver reads, or by a property. */
function isAsked(part: object | undefined): boolean {
  return isOverPmbus(part) || chipOf(part) !== null || (part !== undefined && 'dbus' in part);
}

/** The chip of what is seen by a voltage; null for what is not. */
function chipOf(part: object | undefined): string | null {
  if (part === undefined) return null;
  const [by, place] =
    'hwmon' in part ? ['hwmon', part.hwmon] : 'iio' in part ? ['iio', part.iio] : [null, null];
  if (by === null) return null;
  const { input: _, ...chip } = place as { readonly input: string };
  return JSON.stringify([by, chip]);
}

function hasButton({ rails }: ChassisBoard): boolean {
  return Object.values(rails).some(({ enable }) => enable !== undefined && 'pulse' in enable);
}

/** Longest time of the presses of a rail with a button, to switch it on and to switch it off. */
function pressesMs({ enable, onTimeoutMs }: ChassisBoard['rails'][string]): {
  readonly on: number;
  readonly off: number;
} {
  if (enable === undefined || !('pulse' in enable)) return { on: 0, off: 0 };
  const { onMs, takenMs, gracefulMs = 0, forceOffMs, state } = enable;
  // That a host is off counts once it would have been seen to come.
  const shownMs = state === undefined ? onTimeoutMs : takenMs;
  return { on: onMs + takenMs, off: Math.max(onMs + gracefulMs, shownMs) + forceOffMs };
}

/** The longest way through the needs of a chassis, and its order on the way down, each rail weighing `weight`. */
function longestChain(
  { rails }: ChassisBoard,
  weight: (rail: ChassisBoard['rails'][string]) => number,
): number {
  const known = new Map<string, number>();
  const to = (name: string): number => {
    const rail = rails[name];
    if (!rail) return 0;
    const found = known.get(name) ?? weight(rail) + Math.max(0, ...nextOff({ rails }, name).map(to));
    known.set(name, found);
    return found;
  };
  return Math.max(...Object.keys(rails).map(to));
}

/** A stage that finds pgood standing reads a device that does not answer five times, with two seconds between (src/run/observe.ts). */
const LOOKED_AGAIN_MS = 4 * 2_000 + 5 * TRANSFER_DEADLINE_MS;

/**
 * Latest end of a process, by the board's own times: a power-off that was left behind, the minimum off time,
 * a power-on that fails at its very end, the power-off after it; and each PMBus signal may run into the
 * deadline of a transfer several times on each of these ways.
 */
export function worstCaseMs(board: Board, chassis: number, faults: Iterable<Fault>): number {
  const described = chassisOfBoard(board, chassis);
  const { pgood, minOffMs, resets, latch, hostReset } = described;
  const downMs =
    longestChain(
      described,
      ({ offSettleMs = 0, ...rail }) => rail.offTimeoutMs + offSettleMs + pressesMs(rail).off,
    ) + pgood.offTimeoutMs;
  const upMs =
    longestChain(described, (rail) => rail.onTimeoutMs + rail.settleMs + pressesMs(rail).on) +
    pgood.onTimeoutMs;
  const resetsMs = Math.max(0, ...Object.values(resets).map(({ releaseDelayMs }) => releaseDelayMs));
  const signals = pmbusSignals(described) + hangingLines(board, chassis, faults);
  const transfersMs = TRANSFER_DEADLINE_MS * (1 + 8 * signals);
  return (
    (signals === 0 ? 0 : LOOKED_AGAIN_MS) +
    3 * downMs +
    minOffMs +
    upMs +
    resetsMs +
    (hostReset?.pulseMs ?? 0) +
    4 * (pgood.deglitchMs + (latch?.pulseMs ?? 0)) +
    transfersMs +
    100
  );
}

/** Latest end of a process that was told twice to end: what it is just doing ends, nothing new begins. */
function leaveMs({ board, chassis, faults }: Act): number {
  const described = chassisOfBoard(board, chassis);
  // What is pressed to switch on is let go when its time is over, which is soon.
  const pressMs = Math.max(...Object.values(described.rails).map((rail) => pressesMs(rail).on));
  const signals = pmbusSignals(described) + hangingLines(board, chassis, faults);
  return TRANSFER_DEADLINE_MS * (1 + 2 * signals) + (described.latch?.pulseMs ?? 0) + pressMs + 1;
}

/** Lines that may have to be waited for as a device has, because a chip may hang. */
function hangingLines(board: Board, chassis: number, faults: Iterable<Fault>): number {
  const mayHang = [...faults].some(
    ({ effect }) => (effect.on === 'gpio' || effect.on === 'line') && effect.does === 'hangs',
  );
  return mayHang ? linesOf(board).filter((line) => line.chassis === chassis).length : 0;
}

/** A rail, and all that needs it. */
export function withDependents(
  rails: ChassisBoard['rails'],
  isMeant: (rail: string) => boolean,
): ReadonlySet<string> {
  const found = new Set(Object.keys(rails).filter(isMeant));
  // At most one more is found with each look.
  for (const _ of Object.keys(rails)) {
    for (const [name, { needs }] of Object.entries(rails))
      if (needs.some((need) => found.has(need))) found.add(name);
  }
  return found;
}

/** Rails of parts of which it is not known, from the faults since the last repair, whether a power-on found them there. */
function uncertainRails(
  { chassis, sinceRepair, busHeld }: Act,
  { rails }: ChassisBoard,
): ReadonlySet<string> {
  const keyOf = (rail: string) => JSON.stringify(rails[rail]?.presence);
  return withDependents(rails, (rail) => {
    const { presence } = rails[rail] ?? {};
    if (presence === undefined) return false;
    if ('bus' in presence && busHeld) return true;
    return sinceRepair.some(({ chassis: own, effect }) => {
      if (effect.on === 'gpio' || (effect.on === 'line' && effect.does === 'hangs'))
        return isPartLine(presence);
      // A part of another chassis that does not answer holds up the bus.
      if (effect.on === 'presence' && own !== chassis) return 'bus' in presence;
      if (effect.on === 'line')
        return effect.line.of === 'presence' && keyOf(effect.line.rail) === keyOf(rail);
      return (effect.on === 'part' || effect.on === 'presence') && keyOf(effect.rail) === keyOf(rail);
    });
  });
}

/** The chip that a fault of one of its lines lets hang; undefined for any other fault. */
export function chipHungBy({ chassis, effect }: Fault, board: Board): string | undefined {
  if (effect.on !== 'line' || effect.does !== 'hangs') return undefined;
  const first = Number(Object.keys(board.chassis)[0]);
  const key = faultLineKey(effect.line, board, chassis ?? first);
  return key === undefined ? undefined : lineChipOf(key);
}

function isOverride(event: PlantEvent | undefined): boolean {
  return event?.type === 'drive' && event.overrides === true;
}

/** What the rules ask of an act again and again. */
function lookAt(act: Act) {
  const { board, chassis, process, faults, after, before } = act;
  const described = chassisOfBoard(board, chassis);
  const { ending } = process;
  const pgoodLines = sourcesOf(described.pgood).map(({ source }) =>
    'active' in source ? source : undefined,
  );
  const pgoodRails = railsOfPgood(described);
  const line = (scene: Scene, role: PlantLine['role'], rail: string | null = null) =>
    scene.lines.find((each) => each.role === role && each.rail === rail);
  const hitsLine = (fault: Fault, ref: LineBoard): boolean => {
    const { effect } = fault;
    if (effect.on === 'gpio') return true;
    if (effect.on !== 'line') return false;
    if (effect.does === 'hangs') return chipHungBy(fault, board) === lineChipOf(lineKey(ref) ?? '');
    const part = effect.line;
    const hit =
      part.of === 'enable' || part.of === 'good' || part.of === 'state' || part.of === 'presence'
        ? partLine(described.rails[part.rail], part.of)
        : part.of === 'reset'
          ? described.resets[part.reset]
          : part.of === 'latch'
            ? described.latch
            : part.of === 'pgood'
              ? part.source === null
                ? pgoodLines.find((each) => each !== undefined)
                : pgoodLines[part.source - 1]
              : undefined;
    if (part.of === 'board') return part.text === lineKey(ref);
    return hit !== undefined && lineKey(hit) === lineKey(ref);
  };
  /** It hits what reads a voltage: that of the rail, or the chip of it. */
  const hitsSensor = ({ effect }: Fault, part: object, rail: string | null): boolean =>
    effect.on === 'sensor' &&
    (effect.rail === rail ||
      (effect.does === 'gone' && chipOf(described.rails[effect.rail]?.good) === chipOf(part)));
  const hitsPgood = (fault: Fault): boolean =>
    sourcesOf(described.pgood).some(({ source }) => {
      if ('pmbus' in source) return fault.effect.on === 'i2c' && fault.effect.device === source.pmbus;
      if (chipOf(source) !== null) return hitsSensor(fault, source, null);
      return 'active' in source && hitsLine(fault, source);
    });
  /** It hits the button, what is behind it, or what shows that: the good signal, or pgood, where no state does. */
  const hitsPulse = (fault: Fault, rail: string, { pulse, state }: PulseBoard): boolean => {
    const { effect } = fault;
    if ('rail' in effect && ['button', 'state', 'shutdown', 'host'].includes(effect.on))
      return effect.rail === rail;
    const shown = state ?? partLine(described.rails[rail], 'good');
    if (hitsLine(fault, pulse) || (shown === undefined ? hitsPgood(fault) : hitsLine(fault, shown)))
      return true;
    if (state !== undefined) return false;
    return shown === undefined ? effect.on === 'pgood' : effect.on === 'good' && effect.rail === rail;
  };
  const isPulsed = (rail: string): boolean => 'pulse' in (described.rails[rail]?.enable ?? {});
  /** A press that is over shows nothing, and only the state file tells of it. */
  const isUnknown = (rail: string): boolean => isPulsed(rail) && !act.stateKept;
  /** Of what switches the rail; where it is only watched, of what it hangs on. */
  const enableFaults = (rail: string): Fault[] => {
    const { enable, needs = [] } = described.rails[rail] ?? {};
    if (enable === undefined) return needs.flatMap(enableFaults);
    return faults.filter((fault) => {
      const { effect } = fault;
      if (effect.on === 'enable') return effect.rail === rail;
      if ('pulse' in enable) return hitsPulse(fault, rail, enable);
      return 'pmbus' in enable
        ? effect.on === 'i2c' && effect.device === enable.pmbus
        : hitsLine(fault, enable);
    });
  };
  /** Nothing tells the truth about the voltage of the rail. */
  const goodFaulty = (rail: string): boolean => {
    const good = described.rails[rail]?.good;
    if (good === undefined) return true;
    return faults.some((fault) => {
      const { effect } = fault;
      if (effect.on === 'good') return effect.rail === rail;
      if (chipOf(good) !== null) return hitsSensor(fault, good, rail);
      if ('pmbus' in good) return effect.on === 'i2c' && effect.device === good.pmbus;
      return 'active' in good && hitsLine(fault, good);
    });
  };
  const uncertain = uncertainRails(act, described);
  const happened = act.history.slice(act.historyFrom);
  const drivesOf = (rail: string, among: readonly PlantEvent[]): readonly PlantEvent[] =>
    among.filter(
      (event) =>
        event.type === 'drive' && event.role === 'enable' && event.chassis === chassis && event.rail === rail,
    );
  /** A host has shut down that this process had not told to: it drove nothing, or that came while it ran. */
  const hostLeft = (): boolean => {
    const place = act.history.findLastIndex(
      (event, index) =>
        event.type === 'line' &&
        event.line.startsWith('host:') &&
        event.chassis === chassis &&
        event.rail !== null &&
        !event.asserted &&
        drivesOf(event.rail, act.history.slice(act.historyFrom, index)).length === 0,
    );
    return place >= 0 && (place >= act.historyFrom || process.moves.length === 0);
  };
  /**
   * A button that is held until the host is off has switched nothing on. Of a press that lasted until the process was told twice to
   * end, or was killed, nobody knows how long it was to be.
   */
  const isToHold = (rail: string, letGo: PlantEvent | undefined): boolean =>
    isOverride(letGo) ||
    (isPulsed(rail) &&
      (letGo === undefined || letGo.atMs >= (process.abandonedAtMs ?? Number.POSITIVE_INFINITY)));
  const isPressedOn = (rail: string): boolean => {
    const last = drivesOf(rail, happened).at(-1);
    return isPulsed(rail) && last?.type === 'drive' && last.asserted;
  };
  const supplies = suppliesOf(described.rails);
  /** The rail itself; where it is only watched, those with an enable that it hangs on. */
  const switchesOf = (rail: string): ReadonlySet<string> => {
    const { enable, needs = [] } = described.rails[rail] ?? {};
    return new Set(enable !== undefined ? [rail] : needs.flatMap((need) => [...switchesOf(need)]));
  };
  // What a process could see last, if it stood still up to its end.
  const sightMs = process.stalls.reduce(
    (earliest, { fromMs, toMs }) =>
      toMs >= act.toMs - SAME_MOMENT_MS ? Math.min(earliest, fromMs) : earliest,
    act.toMs,
  );
  /** The rail became good, or not good, so late. */
  const turnedNow = (rail: string, good: boolean): boolean =>
    act.history.some(
      (event) =>
        event.type === 'rail' &&
        event.rail === rail &&
        event.chassis === chassis &&
        event.good === good &&
        event.atMs >= sightMs - SAME_MOMENT_MS - (isAsked(described.rails[rail]?.good) ? POLL_MS : 0),
    );
  const failure =
    ending.kind === 'rejected'
      ? ending.error
      : ending.kind === 'ended'
        ? ending.failure
        : ending.kind === 'done'
          ? null
          : undefined;
  const isLogOnly = (rail: string): boolean => described.rails[rail]?.logOnly !== undefined;
  const waitsForHost = (key: string): boolean =>
    Object.values(described.resets).some((ref) => ref.heldUntil !== undefined && lineKey(ref) === key);
  return {
    described,
    uncertain,
    ending,
    isLogOnly,
    isPulsed,
    /**
     * A process that was killed had decided to press. Where nothing has shown since whether it did, nobody can tell; where the host
     * came, and went by itself while nobody looked, it is waited for, which finds it gone. Another press could be one too many,
     * so the rail counts as pressed (decision 43).
     */
    isDecided: (rail: string): boolean =>
      isPulsed(rail) &&
      !act.undisturbed &&
      ['rising', 'up'].includes(act.hintBefore?.sequence.rails[rail]?.phase ?? 'down'),
    /**
     * The press that began then was held until the host was off, because of what failed in this process, or in one whose hold was
     * cut short.
     */
    wasForcedOff: (rail: string, atMs: number): boolean => {
      const drives = drivesOf(rail, happened);
      const place = drives.findIndex((event) => event.atMs === atMs);
      const failed = ending.kind === 'ended' && ending.result.isFaultOfThisRun;
      const isRepeated = !act.undisturbed && (act.verb === 'off' || act.verb === 'stop');
      return (failed || isRepeated) && place >= 0 && isOverride(drives[place + 1]);
    },
    /** This process pressed, and the host felt nothing: what it runs on broke, and nothing shows that. */
    wasPressedInVain: (rail: string): boolean =>
      isPressedOn(rail) &&
      act.sinceRepair.some(
        ({ effect }) =>
          effect.on === 'rail' &&
          effect.rail !== rail &&
          described.rails[effect.rail]?.good === undefined &&
          withDependents(described.rails, (other) => other === effect.rail).has(rail),
      ),
    hostLeft,
    /** Of its voltage, or of what it needs, since the last repair: it may still be on its way back. */
    wasHit: (rail: string): boolean =>
      act.sinceRepair.some(
        ({ effect }) =>
          effect.on === 'rail' && withDependents(described.rails, (other) => other === effect.rail).has(rail),
      ),
    /** How often a rail was driven on. */
    ups: (rail: string, among = happened): number => {
      const drives = drivesOf(rail, among);
      return drives.filter(
        (event, index) => event.type === 'drive' && event.asserted && !isToHold(rail, drives[index + 1]),
      ).length;
    },
    /** Rails that are switched. */
    rails: Object.keys(described.rails).filter((rail) => described.rails[rail]?.enable !== undefined),
    isSwitched: (rail: string): boolean => described.rails[rail]?.enable !== undefined,
    switchesOf,
    /** Rails that have their voltage without the chassis being on. */
    supplies,
    happened,
    hitsLine,
    line,
    /** Why the command failed; null when it ended with 0, undefined when it did not end by itself. */
    failure,
    isDone: failure === null,
    enabledIn: (scene: Scene, rail: string): boolean => line(scene, 'enable', rail)?.asserted ?? false,
    /** Something but the program moves the enable, or moved it. */
    moved: (rail: string): boolean =>
      isUnknown(rail) || enableFaults(rail).some(({ effect }) => effect.on === 'enable' || isPulsed(rail)),
    /** The program cannot reach what switches the rail. */
    outOfReach: (rail: string): boolean =>
      isUnknown(rail) ||
      enableFaults(rail).some(
        ({ effect }) => effect.on === 'i2c' || ['busy', 'hangs'].includes(effect.does) || isPulsed(rail),
      ),
    /** What switches it has its power from a rail that is off by all that shows it: it is told nothing any more (decision 39). */
    isDeaf: (rail: string): boolean => {
      const { enable } = described.rails[rail] ?? {};
      const power =
        enable !== undefined && 'pmbus' in enable ? board.devices[enable.pmbus]?.poweredBy : undefined;
      return after.rails.some((each) => each.rail === power && !each.enabled);
    },
    enableFaulty: (rail: string): boolean => enableFaults(rail).length > 0,
    goodFaulty,
    /** Nothing tells of its fall: its signal lies, or what shows it has lost its power (docs/decisions/0041). */
    isUnseen: (rail: string): boolean => {
      const { good } = described.rails[rail] ?? {};
      const power = good !== undefined && 'pmbus' in good ? board.devices[good.pmbus]?.poweredBy : undefined;
      const isPowered = ({ good: stands, enabled }: PlantRail) => stands && enabled;
      return goodFaulty(rail) || after.rails.some((each) => each.rail === power && !isPowered(each));
    },
    /** Something that pgood is taken from may not tell the truth, or nothing. */
    pgoodFaulty:
      faults.some((fault) => fault.effect.on === 'pgood' || hitsPgood(fault)) ||
      pgoodRails.some((rail) => uncertain.has(rail)) ||
      pgoodRails.some((rail) =>
        described.rails[rail]?.good === undefined ? enableFaults(rail).length > 0 : goodFaulty(rail),
      ),
    hitsPgood,
    pgoodRails,
    /**
     * It cannot stand while a rail has no voltage: a signal of the board's own, which follows all of them, has a part in it.
     * What is taken from the rails tells of those only that have a signal; and where any signal will do, it may be that one.
     */
    isPgoodOfAll: sourcesOf(described.pgood)['any' in described.pgood ? 'every' : 'some'](
      ({ source }) => !('rails' in source),
    ),
    /**
     * A device shows it that is not asked any more once the rail that powers it is disabled: nothing shows that rail, or tells the
     * truth of it.
     */
    pgoodHidden: sourcesOf(described.pgood).some(({ source }) => {
      const power = 'pmbus' in source ? board.devices[source.pmbus]?.poweredBy : undefined;
      return power !== undefined && goodFaulty(power);
    }),
    /** pgood is asked for again and again: it tells of nothing by itself. */
    pgoodAsked:
      sourcesOf(described.pgood).some(({ source }) => isAsked(source)) ||
      pgoodRails.some((rail) => !('active' in (described.rails[rail]?.good ?? {}))),
    /** What can be seen of pgood changed so shortly before the end that nobody can have acted on it. */
    pgoodChangedNow: (withinMs = 0): boolean =>
      act.history.some(
        (event) =>
          event.type === 'pgood' &&
          event.chassis === chassis &&
          event.atMs >= sightMs - withinMs - SAME_MOMENT_MS,
      ),
    resetsOf: (scene: Scene) => scene.lines.filter(({ role }) => role === 'reset'),
    waitsForHost,
    /** The line changed so shortly before the end that nobody can have seen it. */
    changedNow: (key: string | undefined, withinMs = SAME_MOMENT_MS): boolean =>
      act.history.some(
        (event) => event.type === 'line' && event.line === key && event.atMs >= sightMs - withinMs,
      ),
    lostNow: (rail: string): boolean => turnedNow(rail, false),
    /** Something but the program raised the rail, so late that nobody can have seen it. */
    raisedNow: (rail: string): boolean =>
      enableFaults(rail).some(({ effect }) => effect.on === 'enable') && turnedNow(rail, true),
    /** Told once to end, a process leaves no power that it raised: nobody may come to finish it. */
    withdrew:
      ending.kind === 'rejected' &&
      ending.error instanceof PowerError &&
      ending.error.code === 'INTERRUPTED' &&
      process.disturbedAtMs !== null &&
      process.abandonedAtMs === null &&
      happened.some(
        (event) => event.type === 'drive' && event.chassis === chassis && event.role === 'enable',
      ),
    wasOn:
      before.pgood &&
      before.rails.every(
        ({ rail, enabled, good }) => uncertain.has(rail) || (enabled && (good || isLogOnly(rail))),
      ) &&
      before.lines.every(({ role, line, asserted }) => role !== 'reset' || !asserted || waitsForHost(line)),
    wasOff:
      !before.pgood &&
      before.rails.every(({ rail, enabled, volts }) => supplies.has(rail) || (!enabled && volts === 0)) &&
      before.lines.every(({ role, asserted }) => role !== 'reset' || asserted),
    isOnAfter: after.pgood,
    /** It failed because it waited in vain for a bus that a process which stood still may have held (decision 21). */
    heldUp:
      act.busHeld &&
      ((ending.kind === 'rejected' &&
        ending.error instanceof CodedError &&
        ending.error.code === 'I2C_BUSY') ||
        (ending.kind === 'ended' &&
          ending.result.state === 'failed' &&
          ending.result.sequence.fault?.errorCode === 'I2C_BUSY')),
    /** Where the sequence came to rest; null when it did not. */
    rest: ending.kind === 'ended' ? ending.result.state : null,
  };
}
type Look = ReturnType<typeof lookAt>;
type Rule = (act: Act, look: Look) => string[];

const hazards =
  (kind: HazardKind, isExcused: (hazard: Hazard, act: Act, look: Look) => boolean): Rule =>
  (act, look) =>
    act.hazards
      .filter((hazard) => hazard.kind === kind && !isExcused(hazard, act, look))
      .map(({ text }) => text);

const needsFirst = hazards(
  'enabledTooEarly',
  ({ name, atMs }, act, { described, enableFaulty, isPulsed, wasForcedOff }) => {
    const needs = described.rails[name]?.needs ?? [];
    // Held until it is off: what shows the host to be on lies, or may not be there yet.
    if (enableFaulty(name) && isPulsed(name)) return true;
    // So is what a power-on that failed found on its way, whatever has become of it since (decision 43).
    if (isPulsed(name) && wasForcedOff(name, atMs)) return true;
    // A need that nothing shows counts as good; what breaks it further up cannot be seen either.
    const unseen = needs.some((need) => described.rails[need]?.good === undefined);
    if (unseen && act.faults.length > 0) return true;
    // What is lost while the write is under way comes too late for anybody.
    const slow = act.process.slowWrites.find(({ askedMs, doneMs }) => atMs > askedMs && atMs <= doneMs);
    return (
      slow !== undefined &&
      act.history.some(
        (event) =>
          event.type === 'rail' &&
          !event.good &&
          event.chassis === act.chassis &&
          needs.includes(event.rail) &&
          event.atMs >= slow.askedMs - SAME_MOMENT_MS,
      )
    );
  },
);

const setUpFirst = hazards('enabledUnset', ({ name, atMs }, act, { described }) => {
  const power = act.board.devices[described.rails[name]?.setup?.pmbus ?? '']?.poweredBy;
  // A device forgets what it was told with the power that it loses in the moment between.
  return act.history.some(
    (event) =>
      event.type === 'rail' &&
      !event.good &&
      event.chassis === act.chassis &&
      event.rail === power &&
      event.atMs >= (act.process.beganMs ?? atMs),
  );
});

/** What moves the enable by itself is not to be foreseen. */
const setUpOff = hazards('setUpWhileOn', ({ name }, _, { moved }) => moved(name));

const needsOutlive: Rule = (act, look) => [...removedTooEarly(act, look), ...cutShort(act, look)];

/** Each rail that was on rests for its time before those go that go off after it, where nothing but a request takes power down. */
function cutShort(act: Act, { described, happened, wasOn, hostLeft }: Look): string[] {
  const isOrdinary = wasOn && act.faults.length === 0 && act.undisturbed && !act.besideWatch && !hostLeft();
  if (!isOrdinary || (act.verb !== 'off' && act.verb !== 'stop')) return [];
  const wentMs = (rail: string): number | undefined =>
    happened.find(
      (event) =>
        event.type === 'drive' &&
        event.role === 'enable' &&
        event.chassis === act.chassis &&
        event.rail === rail &&
        !event.asserted,
    )?.atMs;
  return Object.entries(described.rails).flatMap(([first, { offSettleMs = 0 }]) => {
    const firstMs = wentMs(first);
    if (offSettleMs === 0 || firstMs === undefined) return [];
    return nextOff(described, first).flatMap((then) => {
      const thenMs = wentMs(then);
      if (thenMs === undefined || thenMs - firstMs >= offSettleMs) return [];
      return [`${then} goes ${thenMs - firstMs} ms after ${first}, which rests for ${offSettleMs} ms`];
    });
  });
}

/** After a loss a watch keeps the order for 50 ms only (src/run/drives.ts): what it does beside this process is not this one's. */
const removedTooEarly = hazards(
  'needRemoved',
  ({ atMs, name }, { besideWatch, process, stateKept }, { isPulsed, enableFaulty }) =>
    (besideWatch && !process.moves.some((move) => move.atMs <= atMs)) ||
    // What shows the host lies, or nothing tells of a press: a host that is taken to be off is not pressed, and not waited for.
    (isPulsed(name) && (!stateKept || enableFaulty(name))),
);

const noPulse = hazards('enableGlitch', ({ atMs, text, name }, act, look) => {
  const { chassis, faults, process, stateKept } = act;
  const { described, happened, ups } = look;
  // A rail that was just enabled when another one broke, or when the process was told to end, goes off at once, and a
  // rail that never came may be tried again at once where the board asks for no minOffMs: the short pulse is what
  // safety costs.
  if (text.includes('off and on')) {
    // So may one that another process switched off, where the state file that says when did not reach this process.
    const wentOffHere = happened.some(
      (event) =>
        event.type === 'line' &&
        event.role === 'enable' &&
        event.chassis === chassis &&
        event.rail === name &&
        !event.asserted,
    );
    return described.minOffMs === 0 || (!stateKept && !wentOffHere);
  }
  // Another process enabled it, and this one was asked for off, or for off and on again.
  const place = happened.findLastIndex(
    (each) => each.type === 'hazard' && each.atMs === atMs && each.text === text,
  );
  return faults.length > 0 || process.disturbedAtMs !== null || ups(name, happened.slice(0, place)) === 0;
});

/** It came to rest with the power down, or as far down as it goes. */
function mustBeDown({ verb, others }: Act, { ending, rest, withdrew }: Look): boolean {
  // Beside a watch others may have raised the power since.
  if (verb === 'status' || verb === 'reset' || (verb === 'watch' && others.length > 0)) return false;
  const gaveUpOff =
    ending.kind === 'rejected' &&
    ending.error instanceof HardwareError &&
    (verb === 'off' || verb === 'stop');
  if (gaveUpOff || withdrew) return true;
  if (ending.kind !== 'ended') return false;
  // Who only found it so, and was turned away, has driven nothing.
  if (rest === 'off') return TO_OFF.includes(verb) || verb === 'cycle';
  return rest === 'failed' && (ending.result.isFaultOfThisRun || verb === 'off' || verb === 'stop');
}

const resetsHeld: Rule = (act, look) => {
  const { described, hitsLine } = look;
  const ofResets: readonly HazardKind[] = ['resetWithoutPgood', 'resetBeforeHost'];
  const texts = act.hazards.filter(({ kind }) => ofResets.includes(kind)).map(({ text }) => text);
  for (const reset of look.resetsOf(act.after)) {
    const [name, ref] =
      Object.entries(described.resets).find(([, each]) => lineKey(each) === reset.line) ?? [];
    if (reset.asserted || ref === undefined || act.faults.some((fault) => hitsLine(fault, ref))) continue;
    // Where no power was found nothing is driven; the next power-on holds the resets before it does anything.
    const wasReleased = act.before.lines.some((each) => each.line === reset.line && !each.asserted);
    const found =
      act.before.pgood || act.before.rails.some(({ rail, enabled }) => enabled && !look.supplies.has(rail));
    if (wasReleased && !found) continue;
    if (mustBeDown(act, look))
      texts.push(`${name} is released after it ended ${describeEnding(act.process)}`);
    else if (act.healthy && act.verb !== 'status' && !look.pgoodFaulty && !look.isOnAfter && !look.hostLeft())
      texts.push(`${name} is released without pgood`);
  }
  return texts;
};

const drivenOff: Rule = (act, look) => {
  // wait-off looks whether the power is gone; the stage before it has driven.
  const asked = look.isDone && (act.verb === 'off' || act.verb === 'stop');
  if (!asked && !(mustBeDown(act, look) && !(act.verb === 'wait-off' && look.isDone))) return [];
  return act.after.lines.flatMap(({ role, rail, driven }) =>
    role === 'enable' && driven && rail !== null && !look.outOfReach(rail)
      ? [`the enable of ${rail} is driven on after it ended ${describeEnding(act.process)}`]
      : [],
  );
};

const powerTold: Rule = (act, look) => {
  const { failure, rest } = look;
  if (rest !== 'failed' || !(failure instanceof PowerError) || failure.details.powerStillApplied === true)
    return [];
  // Who is turned away is told so in the reason; nothing was done that could have failed.
  if (failure.code === 'REQUEST_REJECTED') return [];
  return act.after.rails.flatMap(({ rail, enabled }) =>
    enabled && look.isSwitched(rail) && !look.moved(rail)
      ? [`${rail} is enabled, and the failure says that power is down`]
      : [],
  );
};

/** Why the chassis is not off. */
function notOff(act: Act, look: Look): string[] {
  // What strikes while the latch is pulsed comes after the levels that were read: the pulse is the last thing of a power-off.
  const { latch } = look.described;
  const unseenMs = Math.max(look.pgoodAsked ? POLL_MS : 0, latch?.pulseMs ?? 0);
  return [
    ...(act.after.pgood && !look.pgoodHidden && !look.pgoodChangedNow(unseenMs) ? ['pgood stands'] : []),
    ...act.after.rails.flatMap(({ rail, enabled, good }) => [
      ...(good &&
      !look.supplies.has(rail) &&
      !look.isUnseen(rail) &&
      !look.uncertain.has(rail) &&
      !look.raisedNow(rail)
        ? [`${rail} still delivers`]
        : []),
      ...(enabled && look.isSwitched(rail) && !look.moved(rail) && !look.isDeaf(rail)
        ? [`${rail} is still enabled`]
        : []),
    ]),
  ];
}

const honestOff: Rule = (act, look) => {
  if (!look.isDone || !TO_OFF.includes(act.verb)) return [];
  if (act.verb === 'stop') {
    return look.rails.flatMap((rail) =>
      look.enabledIn(act.after, rail) && !look.moved(rail) ? [`${rail} is still enabled`] : [],
    );
  }
  return notOff(act, look);
};

/** Why the chassis is not on. */
function notOn(act: Act, look: Look): string[] {
  const { described, pgoodFaulty, goodFaulty, pgoodChangedNow } = look;
  const askedMs = look.pgoodAsked ? POLL_MS : 0;
  const texts: string[] = [];
  if (!act.after.pgood && !pgoodChangedNow(askedMs)) texts.push('pgood does not stand');
  // A latch keeps a chassis on that the enables do not show: there pgood is all that tells, and a process that lost
  // its state, or is lied to, has to take it for the truth.
  if (described.latch !== undefined && (pgoodFaulty || !act.stateKept)) return texts;
  for (const { rail, enabled, good } of act.after.rails) {
    if (look.uncertain.has(rail)) continue;
    const masked = goodFaulty(rail) && (pgoodFaulty || pgoodChangedNow(askedMs + described.pgood.deglitchMs));
    // Nothing tells of such a rail but its enable, and what a fault does behind that nobody can see.
    const isBlind = described.rails[rail]?.good === undefined && !look.isPgoodOfAll;
    // Without a state nobody knows since when its enable stands either.
    const isHidden = isBlind && (act.faults.length > 0 || !act.stateKept || look.wasHit(rail));
    if (!good && !look.isLogOnly(rail) && !look.lostNow(rail) && !masked && !isHidden)
      texts.push(`${rail} is not good`);
    if (!enabled && look.isSwitched(rail) && !look.enableFaulty(rail) && !look.lostNow(rail))
      texts.push(`${rail} is not enabled`);
  }
  for (const reset of look.resetsOf(act.after)) {
    // The service alone releases what waits for the host.
    if (look.waitsForHost(reset.line)) continue;
    const hit = Object.values(described.resets).some(
      (ref) => lineKey(ref) === reset.line && act.faults.some((fault) => look.hitsLine(fault, ref)),
    );
    if (reset.asserted && !hit) texts.push(`reset ${reset.line} is still held`);
  }
  return texts;
}

const honestOn: Rule = (act, look) => {
  if (!look.isDone) return [];
  if (act.verb === 'wait-on' || act.verb === 'on' || act.verb === 'cycle') return notOn(act, look);
  if (act.verb !== 'start' || look.described.latch !== undefined) return [];
  return act.after.lines.flatMap(({ role, rail, driven }) =>
    role === 'enable' &&
    rail !== null &&
    !driven &&
    !look.uncertain.has(rail) &&
    !look.moved(rail) &&
    !look.isDecided(rail) &&
    !look.wasPressedInVain(rail) &&
    !look.enableFaulty(rail)
      ? [`the enable of ${rail} is not driven`]
      : [],
  );
};

function isTurnedAway({ failure }: Look): boolean {
  return failure instanceof PowerError && failure.code === 'REQUEST_REJECTED';
}

const snapshotTrue: Rule = (act, look) => {
  const { hintAfter, verb } = act;
  if (!act.stateKept || hintAfter === null || LOOKING.includes(verb)) return [];
  // Who was turned away and wrote nothing leaves the file to who did: what was lost since, nobody may have seen.
  if (isTurnedAway(look) && !act.hasSaved) return [];
  // Who resets the host says that the chassis is on before that, where nothing says so, and watches nothing meanwhile.
  const isLost = look.happened.some(
    (event) => event.type === 'pgood' && event.chassis === act.chassis && !event.asserted,
  );
  if (verb === 'reset' && (!act.hasSaved || (act.before.pgood && isLost))) return [];
  if (look.ending.kind === 'killed' || look.ending.kind === 'rejected') {
    // Somewhere on its way: at least it must not be forgotten that something is on.
    return hintAfter.state !== 'off'
      ? []
      : act.after.lines.flatMap(({ role, rail, driven }) =>
          role === 'enable' &&
          driven &&
          rail !== null &&
          !look.outOfReach(rail) &&
          act.hintBefore?.state !== 'off'
            ? [`it says off, and the enable of ${rail} is driven on`]
            : [],
        );
  }
  const said =
    hintAfter.state === 'off' ? notOff(act, look) : hintAfter.state === 'pgood' ? notOn(act, look) : [];
  return said.map((text) => `it says ${hintAfter.state}, and ${text}`);
};

/** Nobody left the chassis half done: there is nothing to finish. */
function isSettled({ hintBefore }: Act, state: 'pgood' | 'off'): boolean {
  return hintBefore === null || hintBefore.state === state;
}

const noMove: Rule = (act, look) => {
  const { verb, before, after, process } = act;
  // A watch that ended without a loss has looked, too.
  const looks = verb === 'status' || (verb === 'watch' && look.rest === 'pgood');
  if (looks && process.moves.length > 0) return process.moves.map(({ what }) => `a look wrote to ${what}`);
  if (act.others.length > 0) return [];
  const wasSo =
    act.healthy &&
    // An enable that could not be read may be on, and is switched off with all that belongs to it.
    !look.heldUp &&
    ((look.wasOn && TO_ON.includes(verb) && isSettled(act, 'pgood')) ||
      (look.wasOff && TO_OFF.includes(verb) && isSettled(act, 'off')));
  if (looks) {
    if (act.besideWatch && verb !== 'watch') return [];
    return look.happened.flatMap((event) =>
      event.type === 'drive' && event.chassis === act.chassis ? [`${event.line} was driven by a look`] : [],
    );
  }
  if (!wasSo) return [];
  return after.lines.flatMap(({ line: key, role, changes, direction }) => {
    if (role === 'good' || role === 'pgood' || role === 'state') return [];
    // A host moves by its button, which is a line of its own here, and some time after it.
    if (key.startsWith('host:')) return [];
    // A process that was killed on its way to the enables owes the pulse for what it may have driven (decision 15), and
    // without a state nobody knows what the latch holds.
    const isOwed = !act.stateKept || act.hintBefore === null || act.hintBefore.sequence.latchPending;
    // Who finds pgood asserted for a moment finds power that has to go, and latches that it is off.
    if (role === 'latch' && TO_OFF.includes(verb) && (isOwed || look.pgoodFaulty)) return [];
    const old = before.lines.find((each) => each.line === key);
    // What a killed process left pressed, or held in reset, is let go.
    if ((role === 'button' || role === 'hostReset') && old?.asserted) return [];
    // Power off drives every enable, also one that is off.
    const isDriven = TO_ON.includes(verb) && old?.direction !== direction;
    return old && (old.changes !== changes || isDriven)
      ? [`${role} ${key} moved though it was so already`]
      : [];
  });
};

const healthyStays: Rule = (act, look) => {
  const { verb, process } = act;
  if (!act.healthy || TO_OFF.includes(verb) || verb === 'cycle') return [];
  // The press of a process that was killed, or told twice to end, shuts its host down long after it, and without the state file
  // nobody knows of it.
  if (verb === 'watch' && !act.stateKept && !act.undisturbed && look.hostLeft()) return [];
  if (verb === 'watch' && look.rest === 'failed' && act.others.length === 0) {
    return [`the watch took the power away: ${describeEnding(process)}`];
  }
  if (!look.wasOn || act.others.length > 0 || !isSettled(act, 'pgood')) return [];
  return look.happened.flatMap((event) =>
    event.type === 'drive' && event.chassis === act.chassis && event.role === 'enable' && !event.asserted
      ? [`${event.rail} was switched off`]
      : [],
  );
};

const powerFirst: Rule = (act, look) => {
  const { happened, described, enableFaulty, goodFaulty, pgoodFaulty } = look;
  return happened.flatMap((event, index) => {
    if (event.type !== 'unpowered' || event.chassis !== act.chassis) return [];
    const { rail } = event;
    const isSeen = described.rails[rail]?.good !== undefined;
    // Who is lied to, or cannot read the rail, asks for what may be there.
    if (enableFaulty(rail) || (isSeen && goodFaulty(rail)) || pgoodFaulty) return [];
    // Behind a latch a rail without a signal has power while pgood stands, and a part that has come since may be on.
    const isOfPart = described.rails[rail]?.presence !== undefined;
    if (!isSeen && isOfPart && described.latch !== undefined && act.before.pgood) return [];
    const wasOff = act.before.rails.some((each) => each.rail === rail && !each.enabled && !each.good);
    // What is only watched is raised with an enable that it hangs on.
    const switches = look.switchesOf(rail);
    const raised = happened
      .slice(0, index)
      .some(
        (each) =>
          each.type === 'line' && each.role === 'enable' && each.asserted && switches.has(each.rail ?? ''),
      );
    return wasOff && !raised ? [`${event.device} was asked, and ${rail}, which powers it, is off`] : [];
  });
};

const lossActedOn: Rule = (act, look) => {
  const { described } = look;
  const { process, chassis } = act;
  // Who cannot see the loss cannot act on it.
  const unseen =
    act.faults.some((fault) => look.hitsPgood(fault)) ||
    look.pgoodRails.some((rail) => look.uncertain.has(rail));
  if (act.verb !== 'watch' || unseen || !look.wasOn || process.disturbedAtMs !== null) return [];
  const slow = act.faults.some(({ effect }) => effect.on === 'i2c' || effect.on === 'sensor');
  const slowMs = slow ? TRANSFER_DEADLINE_MS * (2 + 3 * pmbusSignals(described)) : 0;
  // A device that is silent is waited for, where nothing shows that its power is gone, or it went with its part: as long as a
  // hanging one after a loss.
  const isSilent =
    act.faults.some(({ effect }) => effect.on === 'part') ||
    look.happened.some((event) => event.type === 'unpowered' && look.goodFaulty(event.rail));
  const pgood = look.happened.filter((event) => event.type === 'pgood' && event.chassis === chassis);
  const askedMs = look.pgoodAsked ? GUARD_POLL_MS : 0;
  // So is a button that is held, and a bus that another process holds.
  const isWaitedFor = isSilent || hasButton(described) || act.busShared;
  const reactionMs = REACTION_MS + slowMs + askedMs + (isWaitedFor ? GRACE_MS : 0);
  // Who ends by itself, over a chassis that its state file says is on, has acted by then, or never will.
  const hasGivenUp = look.rest !== null && look.rest !== 'pgood';
  const hasEnded = hasGivenUp && act.hintBefore?.state === 'pgood' && act.others.length === 0;
  for (const [index, event] of pgood.entries()) {
    if (event.type !== 'pgood' || event.asserted) continue;
    const backMs = pgood[index + 1]?.atMs ?? Number.POSITIVE_INFINITY;
    // A process that stood still looks anew when it goes on.
    const sinceMs = process.stalls.reduce(
      (latest, { fromMs, toMs }) =>
        fromMs <= latest + described.pgood.deglitchMs + reactionMs && toMs > latest ? toMs : latest,
      event.atMs,
    );
    const reactedMs = sinceMs + described.pgood.deglitchMs + reactionMs;
    const dueMs = hasEnded ? Math.min(reactedMs, act.toMs) : reactedMs;
    if (backMs <= dueMs || act.toMs < dueMs) continue;
    // Somebody else drives: then it is his.
    if (act.others.some(({ fromMs, toMs }) => fromMs <= dueMs && toMs >= event.atMs)) continue;
    return look.rails.flatMap((rail) => {
      const drives = look.happened.filter(
        (each) =>
          each.type === 'drive' && each.role === 'enable' && each.chassis === chassis && each.rail === rail,
      );
      // The output of a device that has lost its power is off without being told, and so is a host.
      const went = look.happened.some(
        (each) =>
          each.type === 'line' &&
          (each.line.startsWith('pmbus:') || each.line.startsWith('host:')) &&
          each.chassis === chassis &&
          each.rail === rail &&
          !each.asserted &&
          each.atMs <= dueMs,
      );
      const isHeld = act.busShared && isOverPmbus(described.rails[rail]?.enable);
      const heldMs = isHeld ? HOLD_LIMIT_MS + TRANSFER_DEADLINE_MS : 0;
      if (act.toMs < dueMs + heldMs) return [];
      const off =
        went || drives.some((each) => each.type === 'drive' && !each.asserted && each.atMs <= dueMs + heldMs);
      // So is one that went with its part.
      const isGone = look.uncertain.has(rail) && isOverPmbus(described.rails[rail]?.enable);
      return off || isGone || look.outOfReach(rail)
        ? []
        : [
            `${rail} is driven on ${reactionMs + described.pgood.deglitchMs} ms after pgood was lost at ${event.atMs}`,
          ];
    });
  }
  return [];
};

/** Whether a host switched itself off while all its power stood; null where one that had lost its power went off. */
function hostLeft(act: Act, { happened, isLogOnly }: Look): boolean | null {
  const { chassis, before, absent } = act;
  const isMissed = (rail: string) => !isLogOnly(rail) && !absent.has(rail);
  const gone = new Set(
    before.rails.filter(({ rail, good }) => !good && isMissed(rail)).map(({ rail }) => rail),
  );
  let pgood = before.pgood;
  let left: boolean | null = false;
  for (const event of happened) {
    if (!('chassis' in event) || event.chassis !== chassis) continue;
    if (event.type === 'pgood') pgood = event.asserted;
    if (event.type === 'rail' && event.good) gone.delete(event.rail);
    else if (event.type === 'rail' && isMissed(event.rail)) gone.add(event.rail);
    if (event.type !== 'line' || !event.line.startsWith('host:') || event.asserted) continue;
    if (left === false) left = pgood && gone.size === 0 ? true : null;
  }
  return left;
}

const hostOff: Rule = (act, look) => {
  const { verb, process, others, faults } = act;
  const { ending } = process;
  if (verb !== 'watch' || ending.kind !== 'ended' || others.length > 0 || !look.wasOn) return [];
  const left = hostLeft(act, look);
  const { state } = ending.result;
  // Who is lied to cannot tell.
  const lies = faults.some(({ effect }) =>
    ['state', 'line', 'gpio', 'good', 'pgood', 'i2c'].includes(effect.on),
  );
  if (state === 'off' && left !== true && !lies)
    return ['the host lost its power, and is told to have switched itself off'];
  const isPlain =
    faults.every(({ effect }) => effect.on === 'host') && process.stalls.length === 0 && !act.busHeld;
  // Only a sleep state tells that from a loss.
  const isShown = Object.values(look.described.rails).some(
    ({ enable }) => enable && 'pulse' in enable && enable.sleepState,
  );
  const isSeen = isPlain && isShown && process.disturbedAtMs === null && state === 'failed';
  return left === true && isSeen
    ? [`the host switched itself off, and is told as ${describeEnding(process)}`]
    : [];
};

const obeys: Rule = (act, look) => {
  const { verb, process, healthy } = act;
  if (!healthy || process.disturbedAtMs !== null || look.isDone || LOOKING.includes(verb) || verb === 'clear')
    return [];
  // Somebody else asked for something between the two stages, or drives for longer than he is waited for.
  if (act.others.length > 0 && (verb === 'wait-on' || verb === 'wait-off')) return [];
  if (look.failure instanceof PowerError && look.failure.code === 'CHASSIS_LOCKED') return [];
  if (look.heldUp) return [];
  // Only the host of a chassis that is on is reset, and only where a watch learns that it is on.
  const isKept = act.stateKept || act.hintBefore !== null;
  if (verb === 'reset' && !(look.wasOn && isSettled(act, 'pgood') && isKept)) return [];
  // A press that is over shows nothing: who does not know of it, or follows one who was killed before it, waits in vain.
  // Who stands still with a finger on the button presses for another length than was meant.
  const isKnown = act.stateKept && act.undisturbed && process.stalls.length === 0;
  if (hasButton(look.described) && !isKnown) return [];
  // Power that falls behind disabled enables contradicts them for whoever was not told that somebody asked for it.
  if (!act.stateKept && act.before.rails.some(({ enabled, good }) => good && !enabled)) return [];
  // On a latched board a process without its state cannot tell power that falls from power that stands.
  if (
    look.described.latch !== undefined &&
    (!act.stateKept || !act.undisturbed) &&
    (verb === 'wait-on' || verb === 'wait-off' || !act.undisturbed)
  )
    return [];
  return [`nothing is broken, and it ended ${describeEnding(process)}`];
};

const noLoop: Rule = (act, look) =>
  look.rails.flatMap((rail) => {
    // Beside a watch others may drive.
    if (act.others.length > 0 && act.verb === 'watch') return [];
    // What a button came to is not seen where its signals lie.
    if (look.isPulsed(rail) && look.enableFaulty(rail)) return [];
    const ups = look.ups(rail);
    if (ups > 0 && (TO_OFF.includes(act.verb) || act.verb === 'watch')) return [`${rail} was enabled by it`];
    return ups > 1 ? [`${rail} was enabled ${ups} times`] : [];
  });

const latched: Rule = (act, look) => {
  // What a fault moves without the program, or keeps from being latched, shows at pgood and is judged there.
  const soundSoFar = act.history.every(({ type }) => type !== 'fault');
  if (
    look.rest === null ||
    !look.described.latch ||
    !act.stateKept ||
    !soundSoFar ||
    LOOKING.includes(act.verb)
  )
    return [];
  const last = act.history.findLast(
    (event) =>
      event.type === 'line' &&
      event.chassis === act.chassis &&
      // A host takes its press when it does, and no latch keeps it.
      ((event.role === 'enable' && !event.line.startsWith('host:')) || event.role === 'latch'),
  );
  // Simulated enables act without the latch: power that a killed process left to fall needs no pulse any more, and a
  // latch that it left open closes with the next power-on.
  if (look.rest === 'off' && look.rails.every((rail) => !look.enabledIn(act.before, rail))) return [];
  const onItsWay = look.rest === 'opPowerStart' || look.rest === 'opPowerStop';
  // Who is turned away drives nothing, and leaves the latch as a process has that was killed while it pulsed it.
  const isLeftOpen = isTurnedAway(look) && look.line(act.before, 'latch')?.asserted === true;
  return [
    ...(look.line(act.after, 'latch')?.asserted && !isLeftOpen ? ['the latch is left asserted'] : []),
    ...(last?.type === 'line' && last.role === 'enable' && !onItsWay
      ? [`${last.rail} was switched and the latch not pulsed: ${describeEnding(act.process)}`]
      : []),
  ];
};

const named: Rule = ({ only, verb, process, board, chassis }, { ending }) => {
  if (only === null || verb !== 'on' || process.disturbedAtMs !== null) return [];
  const expected = diagnosisOf(only, board, chassis);
  if (expected === null) return [];
  const found =
    ending.kind === 'ended'
      ? ending.result.state === 'pgood'
        ? 'pgood'
        : `${ending.result.sequence.fault?.kind} ${ending.result.sequence.fault?.rail ?? ''}`.trim()
      : ending.kind === 'rejected' && ending.error instanceof CodedError
        ? ending.error.code
        : ending.kind;
  if (expected.includes(found)) return [];
  return [`"${only.text}" was called ${found}, not ${expected.join(' or ')}`];
};

const ends: Rule = (act, { ending }) => {
  const { abandonedAtMs, stalls } = act.process;
  if (ending.kind === 'hung') return [`did not end within ${ending.limitMs} ms`];
  if (abandonedAtMs === null) return [];
  const stalledMs = stalls.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0);
  const tookMs = act.toMs - abandonedAtMs;
  return tookMs > leaveMs(act) + stalledMs ? [`went on for ${tookMs} ms after it was told twice to end`] : [];
};

const ownErrors: Rule = ({ verb, process, faults, stateKept }, { ending, heldUp }) => {
  if (ending.kind === 'ended' && ending.failure !== null && !(ending.failure instanceof PowerError)) {
    return [errorText(ending.failure)];
  }
  if (ending.kind !== 'rejected') return [];
  const { error } = ending;
  if (!(error instanceof CodedError))
    return [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  const isExplained =
    error instanceof HardwareError
      ? faults.length > 0 || heldUp
      : error.code === 'CHASSIS_LOCKED' ||
        (error.code === 'INTERRUPTED' && process.disturbedAtMs !== null) ||
        // A reset is turned away where the chassis is not on, or its state cannot be kept: `obeys` has the others.
        (verb === 'reset' && error.code === 'REQUEST_REJECTED') ||
        (verb === 'reset' && error.code === 'RUN_DIR_UNUSABLE' && !stateKept);
  return isExplained ? [] : [`${error.code} though nothing is broken: ${errorText(error)}`];
};

/** A warning may come by the begin of the run, and by what it does. */
const toldOnce: Rule = ({ process: { complaints, beganMs }, toMs }) => {
  const most = 2 + Math.floor((toMs - (beganMs ?? toMs)) / 60_000);
  const counts = new Map<string, number>();
  for (const each of complaints) counts.set(each, (counts.get(each) ?? 0) + 1);
  return [...counts].flatMap(([text, count]) => (count > most ? [`told ${count} times: ${text}`] : []));
};

const resetHost: Rule = (act, look) => {
  const { hostReset } = look.described;
  if (hostReset === undefined || act.faults.some((fault) => look.hitsLine(fault, hostReset))) return [];
  const isHeldIn = ({ lines }: Scene) =>
    lines.some(({ role, driven }) => role === 'hostReset' && driven === true);
  const other = act.process.moves.find(({ what }) => !isLine(what, hostReset));
  const texts: string[] = [];
  if (act.verb === 'reset' && other !== undefined) texts.push(`a reset of the host wrote to ${other.what}`);
  let stood = act.before.pgood;
  let held = isHeldIn(act.before);
  let fromMs = Number.POSITIVE_INFINITY;
  let longestMs = 0;
  for (const event of look.happened) {
    if (event.type === 'pgood' && event.chassis === act.chassis && event.asserted) stood = true;
    if (event.type !== 'drive' || event.chassis !== act.chassis) continue;
    if (event.role === 'hostReset') {
      held = event.asserted;
      if (held) fromMs = event.atMs;
      else longestMs = Math.max(longestMs, event.atMs - fromMs);
      if (held && !stood && !look.pgoodFaulty)
        texts.push('the host was held in reset, and pgood did not stand');
    } else if (held && event.role === 'enable' && event.asserted && act.others.length === 0)
      texts.push(`${event.rail} was enabled while the host was held in reset`);
  }
  if (look.ending.kind === 'done' && longestMs < hostReset.pulseMs - SAME_MOMENT_MS)
    texts.push(`it ended done, and the host was held in reset for ${longestMs} ms`);
  // One that is turned away, or only looks, leaves it to the next that drives, as who was killed does.
  const leaves = LOOKING.includes(act.verb) || act.process.moves.length === 0;
  const isOver = look.ending.kind !== 'killed' && !leaves && act.others.length === 0;
  if (isOver && isHeldIn(act.after)) texts.push('the host is left held in reset');
  return texts;
};

/** What was moved is that line. */
function isLine(what: string, ref: LineBoard): boolean {
  return what.startsWith('line ') && lineKey(JSON.parse(what.slice('line '.length))) === lineKey(ref);
}

const absentLeft: Rule = ({ absent, chassis }, { happened, ending }) => {
  const enabled = happened.flatMap((event) =>
    event.type === 'drive' &&
    event.role === 'enable' &&
    event.chassis === chassis &&
    event.asserted &&
    absent.has(event.rail ?? '')
      ? [`${event.rail} was enabled, and its part is absent`]
      : [],
  );
  const { isFaultOfThisRun = false, sequence = null } = ending.kind === 'ended' ? ending.result : {};
  const blamed = isFaultOfThisRun ? (sequence?.fault?.rail ?? null) : null;
  return blamed !== null && absent.has(blamed)
    ? [...enabled, `${blamed} was named, and its part is absent`]
    : enabled;
};

const doneWithout: Rule = (act, look) => {
  const { ending, isLogOnly, goodFaulty, lostNow } = look;
  const texts: string[] = [];
  const { isFaultOfThisRun = false, sequence = null } = ending.kind === 'ended' ? ending.result : {};
  const { kind, rail = null } = (isFaultOfThisRun && sequence?.fault) || {};
  if (rail !== null && isLogOnly(rail) && (kind === 'railTimeout' || kind === 'railLost'))
    texts.push(`${rail} took the power away`);
  const isSaidOn = look.isDone && ['wait-on', 'on', 'cycle'].includes(act.verb);
  if (!isSaidOn || !act.stateKept || act.others.length > 0) return texts;
  for (const { rail: name, good } of act.after.rails) {
    if (good || !isLogOnly(name) || look.uncertain.has(name) || goodFaulty(name) || lostNow(name)) continue;
    if (act.hintAfter?.sequence.rails[name]?.missed === undefined)
      texts.push(`${name} is not good, and nobody was told`);
  }
  return texts;
};

/** All but `outputAside`, which is told from two plays of one case. */
const RULES: Readonly<Record<Exclude<Invariant, 'outputAside'>, Rule>> = {
  needsFirst,
  needsOutlive,
  noPulse,
  resetsHeld,
  drivenOff,
  powerTold,
  honestOn,
  honestOff,
  snapshotTrue,
  noMove,
  healthyStays,
  powerFirst,
  setUpFirst,
  setUpOff,
  lossActedOn,
  hostOff,
  obeys,
  noLoop,
  latched,
  named,
  ends,
  ownErrors,
  toldOnce,
  resetHost,
  absentLeft,
  doneWithout,
  port: ({ misuses }) => [...misuses],
};

export function judge(act: Act): Violation[] {
  const look = lookAt(act);
  return (Object.entries(RULES) as [Invariant, Rule][]).flatMap(([invariant, rule]) =>
    // Of a process that hangs, or was turned away by the lock, nothing else can be told.
    (look.ending.kind === 'hung' && invariant !== 'ends') ||
    (act.process.beganMs === null && invariant !== 'ownErrors')
      ? []
      : rule(act, look).map((text) => ({ invariant, text: `chassis ${act.chassis}, ${act.verb}: ${text}` })),
  );
}

export function describeEnding({ ending }: Process): string {
  switch (ending.kind) {
    case 'ended': {
      const { state, sequence, answer } = ending.result;
      const fault = sequence.fault ? ` (${sequence.fault.kind}: ${sequence.fault.reason})` : '';
      const refused = answer?.outcome === 'rejected' ? ` (rejected: ${answer.reason})` : '';
      return `${state}${fault}${refused}`;
    }
    case 'rejected':
      return ending.error instanceof CodedError
        ? `${ending.error.code} (${ending.error.message})`
        : `with ${errorText(ending.error)}`;
    case 'done':
    case 'killed':
      return ending.kind;
    case 'hung':
      return `hung for ${ending.limitMs} ms`;
  }
}
