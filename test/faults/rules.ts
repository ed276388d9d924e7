import { CodedError, errorText, HardwareError } from '../../hw/errors.ts';
import type { Fault } from '../../mocks/faults.ts';
import { TRANSFER_DEADLINE_MS } from '../../mocks/i2c.ts';
import { lineKey } from '../../mocks/line-key.ts';
import type { Hazard, Plant, PlantEvent, PlantLine, PlantRail } from '../../mocks/plant.ts';
import type { Board, ChassisBoard, LineBoard } from '../../src/board/schema.ts';
import { PowerError } from '../../src/errors.ts';
import type { Job, RunResult } from '../../src/run/runner.ts';
import type { Process } from './process.ts';

/**
 * What may never be, told from the board file and the simulated chassis alone: nothing of `src/` decides
 * here, so that a mistake there cannot excuse itself.
 */

/** What broke a rule, for people. */
export interface Violation {
  readonly rule: Rule;
  readonly text: string;
}

export type Rule =
  /** The plant saw what can damage a chassis. */
  | 'hazard'
  /** A port was used against its contract. */
  | 'misuse'
  /** The process did not end in time. */
  | 'hang'
  /** It ended with something that is no error of this project, or with one that nothing explains. */
  | 'crash'
  /** An enable is asserted though the process said that power is down, or that it failed. */
  | 'leftEnabled'
  /** A rail is enabled and what it needs is not. */
  | 'withoutNeed'
  /** A reset is released in a chassis that is not on. */
  | 'resetReleased'
  /** "off" was claimed of a chassis that delivers. */
  | 'claimedOff'
  /** "on" was claimed of a chassis that is not. */
  | 'claimedOn'
  /** A failed process did not say that power is still applied. */
  | 'hidPower'
  /** Nothing was broken, and still it was not done. */
  | 'notReached'
  /** A power-off switched something on, or an enable moved more often than up and down. */
  | 'toggled'
  /** Asked for what was so already, and a line moved. */
  | 'moved'
  /** Enables moved and the latch was not pulsed after them, or it was left asserted. */
  | 'notLatched'
  /** The fault was not called what it is. */
  | 'diagnosis';

/** The plant at one moment, of one chassis. */
export interface Scene {
  readonly lines: readonly PlantLine[];
  readonly rails: readonly PlantRail[];
}

export function sceneOf(plant: Plant, chassis: number): Scene {
  return {
    lines: plant.lines().filter((line) => line.chassis === chassis),
    rails: plant.rails().filter((rail) => rail.chassis === chassis),
  };
}

/** A process that ran, and the chassis around it. */
export interface Act {
  readonly board: Board;
  readonly chassis: number;
  readonly verb: Verb;
  readonly fromMs: number;
  readonly toMs: number;
  readonly before: Scene;
  readonly after: Scene;
  readonly process: Process;
  readonly limitMs: number;
  /** Hazards and misuses of this chassis that came meanwhile. */
  readonly hazards: readonly Hazard[];
  readonly misuses: readonly string[];
  readonly history: readonly PlantEvent[];
  /** Faults that were active while the process ran. */
  readonly faults: readonly Fault[];
  /** Faults that were active since the last repair, the same ones and those that are over. */
  readonly sinceRepair: readonly Fault[];
  /** No fault that this chassis can feel was active since its last repair. */
  readonly healthy: boolean;
  /** No process of this chassis was killed or told to end, this one included. */
  readonly undisturbed: boolean;
  /** What a process saves, the next one finds. */
  readonly stateKept: boolean;
  /** One lasting fault from before the first command, and nothing else; null otherwise. */
  readonly only: Fault | null;
}

export type Verb = 'start' | 'wait-on' | 'stop' | 'wait-off' | 'on' | 'off' | 'cycle';

const TO_ON: readonly Verb[] = ['start', 'wait-on', 'on', 'cycle'];
const TO_OFF: readonly Verb[] = ['stop', 'wait-off', 'off'];

/** Changes at the very moment at which a process ends cannot have been seen by it. */
const SAME_MOMENT_MS = 0.01;
/** PMBus signals are polled. */
const POLL_MS = 10;

/**
 * Whether the command may end with exit code 0: written apart from `src/cli`. A power-off that finds the power
 * down is done though an earlier power-on failed; not so when the fault came while it was powering off.
 */
export function succeeded(job: Job, { state, sequence, answer }: RunResult, fromMs: number): boolean {
  if (answer?.outcome === 'rejected') return false;
  if (job.until.includes(state)) return true;
  if (state !== 'failed' || !job.until.includes('off')) return false;
  if (sequence.fault !== null && sequence.fault.atMs >= fromMs) return false;
  return !sequence.pgood.level && Object.values(sequence.rails).every((rail) => !rail.enabled && !rail.good);
}

function chassisOfBoard(board: Board, chassis: number): ChassisBoard {
  const found = board.chassis[chassis];
  if (!found) throw new RangeError(`no chassis ${chassis}`);
  return found;
}

/** Signals of a chassis that are read over PMBus. */
function pmbusSignals({ rails }: ChassisBoard): number {
  return Object.values(rails).filter(({ enable, good }) => 'pmbus' in enable || (good && 'pmbus' in good))
    .length;
}

/** The longest way through the needs of a chassis, each rail weighing `weight`. */
function longestChain(
  { rails }: ChassisBoard,
  weight: (rail: ChassisBoard['rails'][string]) => number,
): number {
  const known = new Map<string, number>();
  const to = (name: string): number => {
    const rail = rails[name];
    if (!rail) return 0;
    const found = known.get(name) ?? weight(rail) + Math.max(0, ...rail.needs.map(to));
    known.set(name, found);
    return found;
  };
  return Math.max(...Object.keys(rails).map(to));
}

/**
 * Latest end of a process, by the board's own times: a power-off that was left behind, the minimum off time,
 * a power-on that fails at its very end, the power-off after it; and each PMBus signal may run into the
 * deadline of a transfer several times on each of these ways.
 */
export function worstCaseMs(board: Board, chassis: number): number {
  const described = chassisOfBoard(board, chassis);
  const { pgood, minOffMs, resets, latch } = described;
  const downMs = longestChain(described, ({ offTimeoutMs }) => offTimeoutMs) + pgood.offTimeoutMs;
  const upMs =
    longestChain(described, ({ onTimeoutMs, settleMs }) => onTimeoutMs + settleMs) + pgood.onTimeoutMs;
  const resetsMs = Math.max(0, ...Object.values(resets).map(({ releaseDelayMs }) => releaseDelayMs));
  const transfersMs = TRANSFER_DEADLINE_MS * (1 + 8 * pmbusSignals(described));
  return (
    3 * downMs +
    minOffMs +
    upMs +
    resetsMs +
    4 * (pgood.deglitchMs + (latch?.pulseMs ?? 0)) +
    transfersMs +
    100
  );
}

/** Latest end of a process that was told twice to end: what it is just doing ends, nothing new begins. */
function leaveMs(board: Board, chassis: number): number {
  const described = chassisOfBoard(board, chassis);
  return TRANSFER_DEADLINE_MS * (1 + 2 * pmbusSignals(described)) + (described.latch?.pulseMs ?? 0) + 1;
}

export function judge(act: Act): Violation[] {
  const { board, chassis, verb, process, faults, healthy, before, after } = act;
  const described = chassisOfBoard(board, chassis);
  const { ending } = process;
  const violations: Violation[] = [];
  const say = (rule: Rule, text: string) => {
    violations.push({ rule, text: `chassis ${chassis}, ${verb}: ${text}` });
  };
  const line =
    (role: PlantLine['role'], rail: string | null = null) =>
    (scene: Scene) =>
      scene.lines.find((each) => each.role === role && each.rail === rail);
  /** The enable of a rail, which two rails may share over one page of PMBus never. */
  const enabledIn = (scene: Scene, rail: string): boolean => line('enable', rail)(scene)?.asserted ?? false;

  const hitsLine = (fault: Fault, ref: LineBoard): boolean => {
    const { effect } = fault;
    if (effect.on === 'gpio') return true;
    if (effect.on !== 'line') return false;
    const part = effect.line;
    const hit =
      part.of === 'enable' || part.of === 'good'
        ? described.rails[part.rail]?.[part.of]
        : part.of === 'reset'
          ? described.resets[part.reset]
          : part.of === 'pgood' || part.of === 'latch'
            ? described[part.of]
            : undefined;
    return hit !== undefined && !('pmbus' in hit) && lineKey(hit) === lineKey(ref);
  };
  /** A fault keeps the program from switching the rail, or switches it by itself. */
  const enableFaulty = (rail: string): boolean => {
    const enable = described.rails[rail]?.enable;
    return faults.some((fault) => {
      const { effect } = fault;
      if (effect.on === 'enable') return effect.rail === rail;
      if (enable === undefined) return false;
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
      return 'pmbus' in good ? effect.on === 'i2c' && effect.device === good.pmbus : hitsLine(fault, good);
    });
  };
  const pgoodFaulty = faults.some((fault) => fault.effect.on === 'pgood' || hitsLine(fault, described.pgood));
  const wasOn = (rail: string) => enabledIn(before, rail);
  for (const { kind, text, name } of act.hazards) {
    // A rail that was just enabled when another one broke, or when the process was told to end, goes off at
    // once, and a rail that never came may be tried again at once where the board asks for no minOffMs: the
    // short pulse is what safety costs.
    const offAndOn = kind === 'enableGlitch' && text.includes('off and on');
    const cutShort = faults.length > 0 || process.disturbedAtMs !== null;
    if (kind === 'enableGlitch' && (offAndOn ? described.minOffMs === 0 : cutShort)) continue;
    // A need that nothing shows counts as good; what breaks it further up cannot be seen either.
    const unseen = described.rails[name]?.needs.some((need) => described.rails[need]?.good === undefined);
    if (kind === 'enabledTooEarly' && unseen && faults.length > 0) continue;
    // An enable that was held off and let go of again comes back: nobody can see that it is still driven.
    const cameBack = act.sinceRepair.some(
      ({ effect }) =>
        effect.on === 'enable' &&
        (effect.rail === name || described.rails[name]?.needs.includes(effect.rail)),
    );
    if ((kind === 'needRemoved' || kind === 'enabledTooEarly') && cameBack) continue;
    say('hazard', text);
  }
  for (const misuse of act.misuses) say('misuse', misuse);

  const happened = act.history.filter((event) => event.atMs >= act.fromMs && event.atMs <= act.toMs);

  // How it ended.

  if (ending.kind === 'hung') {
    say('hang', `did not end within ${ending.limitMs} ms`);
    return violations;
  }
  const ok = ending.kind === 'ended' && succeeded(ending.job, ending.result, act.fromMs);
  if (ending.kind === 'rejected') {
    const { error } = ending;
    const interrupted = error instanceof PowerError && error.code === 'INTERRUPTED';
    if (!(error instanceof CodedError)) {
      say('crash', error instanceof Error ? (error.stack ?? error.message) : String(error));
    } else if (
      error instanceof HardwareError ? faults.length === 0 : !interrupted || process.disturbedAtMs === null
    ) {
      say('crash', `${error.code} though nothing is broken: ${errorText(error)}`);
    } else if (process.abandonedAtMs !== null && act.toMs - process.abandonedAtMs > leaveMs(board, chassis)) {
      say('hang', `went on for ${act.toMs - process.abandonedAtMs} ms after it was told twice to end`);
    }
  }
  // On a latched board a process without its state cannot tell power that falls from power that stands.
  const blindLatch =
    described.latch !== undefined && !act.stateKept && (verb === 'wait-off' || !act.undisturbed);
  if (healthy && process.disturbedAtMs === null && !ok && !blindLatch) {
    say('notReached', `nothing is broken, and it ended ${describeEnding(process)}`);
  }

  // What it left behind.

  const failed =
    ending.kind === 'ended' && (ending.result.state === 'failed' || ending.result.state === 'off');
  const gaveUpOff =
    ending.kind === 'rejected' && ending.error instanceof HardwareError && TO_OFF.includes(verb);
  // Told once to end, a process leaves no power that it raised: nobody may come to finish it.
  const withdrew =
    ending.kind === 'rejected' &&
    ending.error instanceof PowerError &&
    process.disturbedAtMs !== null &&
    process.abandonedAtMs === null &&
    happened.some((event) => event.type === 'line' && event.chassis === chassis && event.role === 'enable');
  const resetsOf = (scene: Scene) => scene.lines.filter(({ role }) => role === 'reset');
  for (const rail of Object.keys(described.rails)) {
    if (!enabledIn(after, rail)) continue;
    if ((failed || gaveUpOff || withdrew) && !enableFaulty(rail)) {
      say('leftEnabled', `${rail} is enabled after it ended ${describeEnding(process)}`);
    }
    for (const need of described.rails[rail]?.needs ?? []) {
      if (enabledIn(after, need) || enableFaulty(rail) || enableFaulty(need)) continue;
      // A process that could not act is not blamed for what it found.
      if (!failed && enabledIn(before, rail) && !enabledIn(before, need)) continue;
      say(
        'withoutNeed',
        `${rail} is enabled and ${need}, which it needs, is not, after ${describeEnding(process)}`,
      );
    }
  }
  for (const reset of resetsOf(after)) {
    if (reset.asserted) continue;
    const name = Object.keys(described.resets).find((each) => {
      const ref = described.resets[each];
      return ref !== undefined && lineKey(ref) === reset.line;
    });
    const ref = name === undefined ? undefined : described.resets[name];
    if (ref === undefined || faults.some((fault) => hitsLine(fault, ref))) continue;
    // Where no power was found nothing is driven; the next power-on holds the resets before it does anything.
    const wasReleased = before.lines.some((each) => each.line === reset.line && !each.asserted);
    if (wasReleased && !line('pgood')(before)?.asserted && before.rails.every(({ enabled }) => !enabled))
      continue;
    if (failed || gaveUpOff || withdrew)
      say('resetReleased', `${name} is released after it ended ${describeEnding(process)}`);
    else if (healthy && !pgoodFaulty && !line('pgood')(after)?.asserted)
      say('resetReleased', `${name} is released without pgood`);
  }

  // What it said.

  const pgoodNow = line('pgood')(after);
  const changedNow = (key: string | undefined, withinMs: number): boolean =>
    act.history.some(
      (event) => event.type === 'line' && event.line === key && event.atMs >= act.toMs - withinMs,
    );
  if (ok && ending.kind === 'ended' && (ending.result.state === 'off' || ending.result.state === 'failed')) {
    if (pgoodNow?.asserted && !changedNow(pgoodNow.line, SAME_MOMENT_MS)) say('claimedOff', 'pgood stands');
    for (const { rail, enabled, good } of after.rails) {
      if (good && !goodFaulty(rail)) say('claimedOff', `${rail} still delivers`);
      if (enabled && !faults.some(({ effect }) => effect.on === 'enable' && effect.rail === rail)) {
        say('claimedOff', `${rail} is still enabled`);
      }
    }
  }
  if (ending.kind === 'ended' && ending.result.state === 'pgood') {
    const { deglitchMs } = described.pgood;
    // A latch keeps a chassis on that the enables do not show: there pgood is all that tells, and a process
    // that lost its state, or is lied to, has to take it for the truth.
    const latched = described.latch !== undefined && (pgoodFaulty || !act.stateKept);
    if (!pgoodNow?.asserted && !changedNow(pgoodNow?.line, SAME_MOMENT_MS)) {
      say('claimedOn', 'pgood does not stand');
    }
    for (const { rail, enabled, good } of after.rails) {
      const justLost = act.history.some(
        (event) =>
          event.type === 'rail' &&
          event.rail === rail &&
          event.chassis === chassis &&
          !event.good &&
          event.atMs >=
            act.toMs - SAME_MOMENT_MS - ('pmbus' in (described.rails[rail]?.good ?? {}) ? POLL_MS : 0),
      );
      const masked =
        goodFaulty(rail) && (pgoodFaulty || pgoodNow === undefined || changedNow(pgoodNow.line, deglitchMs));
      if (latched) continue;
      if (!good && !justLost && !goodFaulty(rail)) say('claimedOn', `${rail} is not good`);
      else if (!good && !justLost && !masked) say('claimedOn', `${rail} is not good, and pgood says so`);
      if (!enabled && !enableFaulty(rail)) say('claimedOn', `${rail} is not enabled`);
    }
    for (const reset of resetsOf(after)) {
      const hit = Object.values(described.resets).some(
        (ref) => lineKey(ref) === reset.line && faults.some((fault) => hitsLine(fault, ref)),
      );
      if (reset.asserted && !hit && !latched) say('claimedOn', `reset ${reset.line} is still held`);
    }
  }
  if (ending.kind === 'ended' && ending.result.state === 'failed') {
    const { sequence } = ending.result;
    const told =
      sequence.pgood.level || Object.values(sequence.rails).some(({ enabled, good }) => enabled || good);
    for (const { rail, enabled } of after.rails) {
      const moved = faults.some(({ effect }) => effect.on === 'enable' && effect.rail === rail);
      if (enabled && !told && !moved)
        say('hidPower', `${rail} is enabled, and the failure says that power is down`);
    }
  }

  // What a fault moves without the program, or keeps from being latched, shows at pgood and is judged there.
  const soundSoFar = act.history.every(({ type }) => type !== 'fault');
  if (ending.kind === 'ended' && described.latch && act.stateKept && soundSoFar) {
    const last = act.history.findLast(
      (event) =>
        event.type === 'line' &&
        event.chassis === chassis &&
        (event.role === 'enable' || event.role === 'latch'),
    );
    const onItsWay = ending.result.state === 'opPowerStart' || ending.result.state === 'opPowerStop';
    // Simulated enables act without the latch: power that a killed process left to fall needs no pulse any
    // more, and a latch that it left open closes with the next power-on.
    const fellAlready = ending.result.state === 'off' && before.rails.every(({ enabled }) => !enabled);
    if (line('latch')(after)?.asserted && !fellAlready) say('notLatched', 'the latch is left asserted');
    if (last?.type === 'line' && last.role === 'enable' && !onItsWay && !fellAlready) {
      say('notLatched', `${last.rail} was switched and the latch not pulsed: ${describeEnding(process)}`);
    }
  }

  // How it moved the lines.

  for (const rail of Object.keys(described.rails)) {
    if (faults.some(({ effect }) => effect.on === 'enable' && effect.rail === rail)) continue;
    const changes = happened.filter(
      (event) =>
        event.type === 'line' && event.role === 'enable' && event.chassis === chassis && event.rail === rail,
    );
    const ups = changes.filter((event) => event.type === 'line' && event.asserted).length;
    if (TO_OFF.includes(verb) && ups > 0 && !wasOn(rail))
      say('toggled', `${rail} was enabled by a power-off`);
    if (ups > 1) say('toggled', `${rail} was enabled ${ups} times`);
    if (TO_OFF.includes(verb) && ups > 0 && wasOn(rail)) say('toggled', `${rail} went off and on`);
    if (healthy && verb !== 'cycle' && verb !== 'on' && verb !== 'start' && changes.length > 1) {
      say('toggled', `${rail} changed ${changes.length} times`);
    }
  }
  if (act.undisturbed && healthy && verb !== 'cycle') {
    const isOn =
      line('pgood')(before)?.asserted &&
      before.rails.every(({ enabled, good }) => enabled && good) &&
      resetsOf(before).every(({ asserted }) => !asserted);
    const isOff =
      !line('pgood')(before)?.asserted &&
      before.rails.every(({ enabled, volts }) => !enabled && volts === 0) &&
      resetsOf(before).every(({ asserted }) => asserted);
    if ((isOn && TO_ON.includes(verb)) || (isOff && TO_OFF.includes(verb))) {
      for (const { line: key, role, changes, direction } of after.lines) {
        const old = before.lines.find((each) => each.line === key);
        if (old && (old.changes !== changes || old.direction !== direction)) {
          say('moved', `${role} ${key} moved though the chassis was ${isOn ? 'on' : 'off'} already`);
        }
      }
    }
  }

  if (act.only !== null) violations.push(...misnamed(act, act.only, described));
  return violations;
}

/** For one lasting fault under a plain power-on: what it has to be called. */
function misnamed(act: Act, fault: Fault, described: ChassisBoard): Violation[] {
  const { ending } = act.process;
  if (act.verb !== 'on' || act.process.disturbedAtMs !== null) return [];
  const expected = diagnosisOf(fault, described);
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
  return [{ rule: 'diagnosis', text: `"${fault.text}" was called ${found}, not ${expected.join(' or ')}` }];
}

/** What a power-on from off may say of a fault that was there before it; null where several answers are right. */
function diagnosisOf({ effect }: Fault, { rails, evidence }: ChassisBoard): readonly string[] | null {
  const seen = (rail: string) => rails[rail]?.good !== undefined;
  const inTime = (rail: string, extraMs: number) => {
    const limitMs = rails[rail]?.onTimeoutMs ?? 0;
    // Close to the limit either answer is right.
    if (extraMs < limitMs * 0.7) return ['pgood'];
    return extraMs > limitMs ? [`railTimeout ${rail}`] : null;
  };
  switch (effect.on) {
    case 'rail':
      if (effect.does === 'slowFall') return ['pgood'];
      if (!seen(effect.rail)) return null;
      if (effect.does === 'slowRise') return inTime(effect.rail, effect.extraMs);
      return [`railTimeout ${effect.rail}`];
    case 'enable':
      return effect.does === 'stuckOff' ? [`hardware ${effect.rail}`] : null;
    case 'good':
      return effect.does === 'stuckOff' ? [`railTimeout ${effect.rail}`] : null;
    case 'pgood':
      return effect.does === 'stuckOff' ? ['pgoodTimeout'] : null;
    case 'i2c': {
      if (effect.times !== null) return null;
      const used = Object.values(rails).some(({ enable, good }) =>
        [enable, good].some((part) => part && 'pmbus' in part && part.pmbus === effect.device),
      );
      if (!used) return evidence.includes(effect.device) ? ['pgood'] : null;
      return [{ nack: 'I2C_NO_DEVICE', hang: 'I2C_TIMEOUT', busy: 'I2C_BUSY' }[effect.does]];
    }
    case 'line':
      // The latch is not read before it is pulsed.
      if (effect.line.of === 'latch' && effect.does === 'readError') return null;
      return [effect.does === 'busy' ? 'GPIO_BUSY' : 'GPIO_FAILED'];
    case 'gpio':
      return ['GPIO_FAILED'];
  }
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
    case 'killed':
      return 'killed';
    case 'hung':
      return `hung for ${ending.limitMs} ms`;
  }
}
