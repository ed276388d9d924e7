import type { SequenceAction } from '../sequence/events.ts';
import type { PressKind } from '../sequence/presses.ts';
import {
  type Fault,
  hasTag,
  powerSeen,
  type SequenceState,
  type State,
  type StateTag,
} from '../sequence/state.ts';
import { BIT, MARK, type Plant, type PlantRules } from './plant.ts';
import type { Situation } from './situations.ts';

/** What must hold for every board, in words of the board. Judged by the plant alone wherever it can be. */
export const INVARIANTS = {
  needsFirst: 'No rail is enabled before every rail that it needs is enabled and good.',
  offAfterFault: 'Once a power off or a fault is over, every enable that can be switched off is off.',
  lossAtOnce: 'A running chassis that lost its power has every enable switched off at once.',
  powerIsTold: 'Power that is still applied is never called off: it is told, and leads to quiesce.',
  toldOnce: 'Every failure is told once, and none without its cause.',
  noFalseAlarm: 'A chassis of which nothing is broken is never failed.',
  offIsReached: 'From every state a power off is taken, and comes to rest.',
  neverWaits: 'No state waits for ever.',
  askingMovesNothing: 'Asking for the present state, and a request that is refused, move no line.',
  answeredOnce: 'Every request is answered, once.',
  reverseOrder:
    'On the way down no rail goes off before what needs it, and what the board has go first, is off.',
  restsFirst:
    'What goes off after a rail that rests does so once that has rested, unless the chassis lost its power.',
  adopts:
    'A process that starts adopts what is there: a chassis that is on is on, one with power is not off.',
  resetsFollowPgood:
    'A reset is released only while pgood and every rail are good, and held before power goes.',
  latchFollows: 'What the latch holds is what the enables say, once a sequence is over.',
  nothingOld: 'Nothing is decided on a level older than the moment that it is judged for.',
  absentIsOff:
    'The enable of a rail that is absent is never switched on. A power off and a fault switch it off, before that of what it needs.',
  lossIsTheFault:
    'A drive that came to nothing because what it rests on was lost meanwhile is told as that loss.',
  lossStands: 'A loss is acted on only once it has stood for the de-glitch time of the board.',
  noStartOverContradiction: 'No start is accepted while the lines contradict each other.',
  pressedOnce:
    'No power button is pressed to switch on a host that is on, or that an earlier press may still switch on.',
  letGo:
    'However a press of a power button ends, its line is let go: by who pressed it, or by the next process.',
  hostOff: 'A host that switches itself off is told as that, and one that lost its power never is.',
} as const;
export type InvariantName = keyof typeof INVARIANTS;

export interface Violation {
  readonly invariant: InvariantName;
  readonly what: string;
}

type Say = (invariant: InvariantName, what: string) => void;

/** Not good, and the machine could know: it did not change behind an answer that counts. */
function isSeenLow(rules: PlantRules, plant: Plant, index: number): boolean {
  return !rules.has(plant, index, BIT.good) && !rules.has(plant, index, BIT.excused);
}

/** It does not go off, or is about to, or nobody knows that it is on. */
const CANNOT_BE_OFF = BIT.refused | BIT.pressed | BIT.forgotten;

/** It is on though whoever wants it off could have it off. */
function isLeftOn(rules: PlantRules, plant: Plant, index: number): boolean {
  return rules.has(plant, index, BIT.driven) && !rules.has(plant, index, CANNOT_BE_OFF);
}

/** A power button is about to be pressed. `isLoss`: a running chassis lost its power. */
export function judgePress(
  rules: PlantRules,
  plant: Plant,
  asserted: boolean,
  kind: PressKind,
  isLoss: boolean,
  say: Say,
): void {
  const { host } = rules;
  const name = rules.nameOf(host);
  if (isLoss && !asserted && kind === 'short')
    say('lossAtOnce', `${name} is asked to shut down after the loss, and not switched off`);
  if (asserted && rules.has(plant, host, BIT.driven))
    say('pressedOnce', `the button of ${name}, which is on, is pressed to switch it on`);
  else if (asserted && mayStillCome(rules, plant))
    say('pressedOnce', `the button of ${name} is pressed again, which an earlier press may still switch on`);
}

/** A host is off, and a press that is known of may still switch it on. */
function mayStillCome(rules: PlantRules, plant: Plant): boolean {
  const { host } = rules;
  if (host < 0 || rules.has(plant, host, BIT.driven)) return false;
  return rules.has(plant, host, BIT.asked) && !rules.has(plant, host, BIT.forgotten);
}

/** Nobody presses any more. */
export function judgeLetGo(rules: PlantRules, plant: Plant, say: Say): void {
  if (rules.host >= 0 && rules.has(plant, rules.host, BIT.pressed))
    say('letGo', `the button of ${rules.nameOf(rules.host)} stays pressed`);
}

/** It is told that the host switched itself off. */
export function judgeHostOff(rules: PlantRules, plant: Plant, say: Say): void {
  const isOff = !rules.has(plant, rules.host, BIT.driven) && rules.has(plant, rules.host, BIT.alone);
  if (!isOff) say('hostOff', `${rules.nameOf(rules.host)} is told to have switched itself off`);
}

/** The host was seen to go by itself while its power stood, and nothing else is broken. */
function hasLeft(rules: PlantRules, plant: Plant): boolean {
  if (rules.host < 0 || (plant.marks & MARK.leaving) === 0) return false;
  const isBroken = plant.signals.some((signal) => (signal & (BIT.wild | BIT.stuck | BIT.refused)) !== 0);
  return !isBroken && !rules.has(plant, rules.host, BIT.driven);
}

/** The BMC started anew, and did not drive its enables since. */
const hasInputs = ({ signals }: Plant) => signals.some((signal) => (signal & BIT.input) !== 0);

const rails = ({ railCount }: PlantRules) => Array.from({ length: railCount }, (_, index) => index);
const resets = ({ plan, pgood }: PlantRules) => plan.resets.map((_, index) => pgood + 1 + index);

/** The enable of a rail that is absent is about to be switched. */
export function judgeAbsent(rules: PlantRules, index: number, asserted: boolean, say: Say): void {
  if (asserted) say('absentIsOff', `${rules.nameOf(index)} is enabled, which is absent`);
}

/**
 * An enable is about to be switched in that state. `isAtOnce`: a running chassis lost its power, or its host has switched itself off, so that
 * nothing falls first.
 */
export function judgeEnable(
  rules: PlantRules,
  plant: Plant,
  state: State,
  index: number,
  asserted: boolean,
  isAtOnce: boolean,
  say: Say,
): void {
  const name = rules.nameOf(index);
  if (asserted) {
    if (!hasTag(state, 'rising')) say('needsFirst', `${name} is enabled in ${state}`);
    for (const need of rules.needsOf[index] ?? []) {
      const needed = rules.nameOf(need);
      if (!rules.isOn(plant, need)) say('needsFirst', `${name} is enabled while ${needed} is off`);
      else if (isSeenLow(rules, plant, need))
        say('needsFirst', `${name} is enabled while ${needed} is not good`);
    }
    return;
  }
  if (!rules.has(plant, index, BIT.driven)) return;
  for (const reset of resets(rules)) {
    if (isLeftOn(rules, plant, reset))
      say('resetsFollowPgood', `${name} goes off while reset ${rules.nameOf(reset)} is released`);
  }
  for (const other of rules.absentBehind[index] ?? []) {
    if (isLeftOn(rules, plant, other))
      say('absentIsOff', `${name} goes off while ${rules.nameOf(other)}, which is absent, is enabled`);
  }
  for (const other of rules.offBeforeOf[index] ?? []) {
    const first = rules.nameOf(other);
    if (isLeftOn(rules, plant, other)) say('reverseOrder', `${name} goes off while ${first} is enabled`);
    else if (isAtOnce) continue;
    else if (isStanding(rules, plant, other))
      say('reverseOrder', `${name} goes off before ${first} has fallen`);
    else if ((plant.restMs[other] ?? -1) >= 0 && isWaitedFor(rules, plant, other))
      say('restsFirst', `${name} goes off ${plant.restMs[other]} ms after ${first} has fallen`);
  }
}

/** It is as it was, and nothing of it is broken. */
function isStanding(rules: PlantRules, plant: Plant, index: number): boolean {
  return rules.has(plant, index, BIT.good) && isWaitedFor(rules, plant, index);
}

/** Nothing of it is broken, or changed behind an answer. */
function isWaitedFor(rules: PlantRules, plant: Plant, index: number): boolean {
  return !rules.has(plant, index, BIT.wild | BIT.refused | BIT.excused | BIT.forgotten);
}

export function judgeRelease(rules: PlantRules, plant: Plant, reset: number, say: Say): void {
  for (const index of [...rails(rules), rules.pgood]) {
    // What shows a host to be on is its good signal, too.
    const isOff = index !== rules.pgood && index !== rules.host && !rules.isOn(plant, index);
    if (isOff || (rules.isObservable(index) && isSeenLow(rules, plant, index)))
      say(
        'resetsFollowPgood',
        `reset ${rules.nameOf(reset)} is released while ${rules.nameOf(index)} is not good`,
      );
  }
}

/** A state was entered, and every drive before it is over. */
export function judgeEntered(
  rules: PlantRules,
  plant: Plant,
  { sequence }: Situation,
  entered: State,
  isFailing: boolean,
  say: Say,
): void {
  if (entered !== 'off' && entered !== 'failed' && entered !== 'opWaitPowerOff') return;
  for (const reset of resets(rules)) {
    if (isLeftOn(rules, plant, reset))
      say('resetsFollowPgood', `reset ${rules.nameOf(reset)} is released in ${entered}`);
  }
  for (const rail of rails(rules)) {
    if (isLeftOn(rules, plant, rail))
      say('offAfterFault', `the enable of ${rules.nameOf(rail)} is on in ${entered}`);
  }
  if (mayStillCome(rules, plant))
    say('offAfterFault', `a press may still switch ${rules.nameOf(rules.host)} on in ${entered}`);
  for (let index = rules.firstAbsent; index < plant.signals.length; index += 1) {
    if (isLeftOn(rules, plant, index))
      say('absentIsOff', `the enable of ${rules.nameOf(index)}, which is absent, is on in ${entered}`);
  }
  // A drive that failed in the step is told with the next one.
  if (entered === 'opWaitPowerOff' || isFailing) return;
  const standing = standingNow(rules, plant, sequence);
  if (standing.length === 0) return;
  if (entered === 'off') say('powerIsTold', `off is said while ${standing.join(' and ')} stands`);
  else if (!powerSeen(sequence)) say('powerIsTold', `${standing.join(' and ')} stands and is not told`);
}

function standingNow(
  rules: PlantRules,
  plant: Plant,
  { rails: known, pgood: knownPgood }: SequenceState,
): string[] {
  const { pgood } = rules;
  return [...rails(rules), pgood].flatMap((index) => {
    if (rules.has(plant, index, BIT.excused)) return [];
    // What is broken may come back behind the answer that said that it is gone.
    const isKnown = index === pgood ? knownPgood.level : known[rules.nameOf(index)]?.good;
    if (rules.has(plant, index, BIT.wild) && isKnown === false && !rules.has(plant, index, BIT.driven))
      return [];
    if (rules.isSupply(index) || rules.has(plant, index, BIT.forgotten)) return [];
    const isOn = index !== pgood && rules.has(plant, index, BIT.driven);
    const isGood = rules.isObservable(index) && rules.has(plant, index, BIT.good);
    return isOn || isGood ? [rules.nameOf(index)] : [];
  });
}

/** A fault is told of a drive for which these rails had to be good, and were not when it was over. */
export function judgeBlame(
  rules: PlantRules,
  plant: Plant,
  fault: Fault,
  lacking: readonly number[],
  say: Say,
): void {
  if (lacking.length === 0) return;
  const isLow = fault.rail !== null && !rules.has(plant, rules.indexOf(fault.rail), BIT.good);
  if (fault.kind === 'railLost' && isLow) return;
  const lost = lacking.map(rules.nameOf).join(' and ');
  say('lossIsTheFault', `"${fault.reason}" is told where ${lost} was lost`);
}

/** A fault is told. `isBroken`: something of the hardware is. `isOfDrive`: it was found by a drive that failed, which waits for nothing. */
export function judgeFault(
  rules: PlantRules,
  plant: Plant,
  { sequence }: Situation,
  fault: Fault,
  { isBroken, isOfDrive }: { readonly isBroken: boolean; readonly isOfDrive: boolean },
  say: Say,
): void {
  if ((plant.marks & MARK.told) !== 0) say('toldOnce', `"${fault.reason}" is told after another fault`);
  if (!isBroken) say('noFalseAlarm', `"${fault.reason}" is told of a chassis that is whole`);
  if (fault.state === 'pgood' && hasLeft(rules, plant))
    say('hostOff', `"${fault.reason}" is told of a host that was seen to switch itself off`);
  const index = fault.rail === null ? rules.pgood : rules.indexOf(fault.rail);
  const isGood = rules.has(plant, index, BIT.good) && !rules.has(plant, index, BIT.excused);
  const old = (why: string) => say('nothingOld', `"${fault.reason}" is told while ${why}`);
  switch (fault.kind) {
    case 'railLost':
    case 'railTimeout':
      if (isGood) old(`${fault.rail} is good`);
      break;
    case 'pgoodLost':
      if (isGood) old('pgood is good');
      break;
    case 'pgoodTimeout':
      if (isGood && rails(rules).every((rail) => rules.has(plant, rail, BIT.good))) old('everything is good');
      break;
    case 'powerOffTimeout':
      // Of a rail it was judged when its own time was over.
      if (fault.rail === null && standingNow(rules, plant, sequence).length === 0 && !hasExcuse(rules, plant))
        old('nothing stands');
      break;
    case 'railStray':
    case 'hardware':
      break;
  }
  const lowMs = plant.lowMs[index] ?? -1;
  const isLoss = fault.kind === 'railLost' || (fault.kind === 'pgoodLost' && fault.state === 'pgood');
  // What was low when it was asked for may have come and gone behind a late answer.
  const isOutrun = rules.has(plant, index, BIT.excused);
  if (isLoss && !isOfDrive && !isGood && !isOutrun && lowMs >= 0 && lowMs < rules.plan.pgood.deglitchMs)
    say('lossStands', `"${fault.reason}" is acted on after ${lowMs} ms`);
}

function hasExcuse(rules: PlantRules, plant: Plant): boolean {
  return [...rails(rules), rules.pgood].some((index) => rules.has(plant, index, BIT.excused | BIT.forgotten));
}

/** Where an event and all that it caused have led. */
export function judgeEnd(
  rules: PlantRules,
  before: Situation,
  plant: Plant,
  after: Situation,
  say: Say,
): void {
  // A request may find a line that fails: that is no loss.
  const { fault } = after.sequence;
  const isLoss = fault !== null && before.sequence.fault === null && fault.kind !== 'hardware';
  if (before.state === 'pgood' && hasTag(after.state, 'lowering') && isLoss) {
    for (const rail of rails(rules)) {
      if (isLeftOn(rules, plant, rail)) say('lossAtOnce', `${rules.nameOf(rail)} is on after the loss`);
    }
  }
  if (after.state === 'failed' && after.sequence.fault === null && before.state !== 'failed')
    say('toldOnce', 'failed is entered without a fault');
  const isOver = after.state === 'pgood' || after.state === 'off' || after.state === 'failed';
  if (!rules.plan.latched || !isOver || after.state === before.state) return;
  if ((plant.marks & MARK.latchRefused) !== 0 || hasInputs(plant)) return;
  for (const rail of rails(rules)) {
    const isHeld = rules.has(plant, rail, BIT.held);
    if (isHeld !== rules.has(plant, rail, BIT.driven))
      say('latchFollows', `the latch holds ${rules.nameOf(rail)} ${isHeld ? 'on' : 'off'} in ${after.state}`);
  }
}

/** A request, and what was moved for it. */
export function judgeRequest(
  rules: PlantRules,
  before: { readonly situation: Situation; readonly plant: Plant },
  after: { readonly situation: Situation; readonly plant: Plant },
  request: string,
  answers: readonly Extract<SequenceAction, { type: 'answer' }>[],
  say: Say,
): void {
  const [answer] = answers;
  const from = before.situation.state;
  if (answers.length !== 1) say('answeredOnce', `${request} in ${from} has ${answers.length} answers`);
  if (request === 'POWER_OFF' && (answer === undefined || answer.outcome === 'rejected'))
    say('offIsReached', `power off is refused in ${from}`);
  const { state } = after.situation;
  if (request === 'POWER_OFF' && rules.plan.latched && (state === 'off' || state === 'failed')) {
    for (const rail of rails(rules)) {
      const isHeldAlone = rules.has(after.plant, rail, BIT.held) && !rules.has(after.plant, rail, BIT.driven);
      if (isHeldAlone && (after.plant.marks & MARK.latchRefused) === 0)
        say('latchFollows', `the latch holds ${rules.nameOf(rail)} on after a power off in ${from}`);
    }
  }
  const isContradictory = (before.plant.marks & MARK.contradiction) !== 0 && from === 'unknown';
  if (request === 'POWER_ON' && isContradictory && answer?.outcome !== 'rejected')
    say('noStartOverContradiction', 'a start is accepted over lines that contradict each other');
  const isThere =
    (request === 'POWER_ON' && (hasTag(from, 'rising') || from === 'pgood')) ||
    (request === 'POWER_OFF' && (hasTag(from, 'lowering') || from === 'off')) ||
    (request === 'CLEAR' && from !== 'failed');
  if (isThere && answer?.outcome === 'changed') say('askingMovesNothing', `${request} in ${from} changes it`);
  if (answer?.outcome === 'changed' || hasInputs(before.plant)) return;
  // A host that has come on by itself meanwhile goes off, and what one that went by itself has left does.
  const isAlone = rules.host >= 0 && rules.has(before.plant, rules.host, BIT.alone);
  if (request === 'POWER_OFF' && isAlone) return;
  const moved = before.plant.signals.some(
    (signal, index) =>
      index < rules.firstAbsent &&
      ((signal ^ (after.plant.signals[index] ?? 0)) & (BIT.driven | BIT.pressed)) !== 0 &&
      (signal & BIT.refused) === 0,
  );
  // What a process before left half done goes on with whatever comes first.
  const isFinishing = (before.plant.marks & MARK.taken) !== 0;
  if (moved && !isFinishing) say('askingMovesNothing', `${request} in ${from} moves a line`);
}

/** A process found the chassis. */
export function judgeTakenUp(
  rules: PlantRules,
  plant: Plant,
  hinted: State | null,
  found: State,
  say: Say,
): void {
  const isOwn = hinted === null || hinted === 'pgood' || hinted === 'off';
  if (isOwn && !hasInputs(plant) && rules.isWhole(plant) && found !== 'pgood')
    say('adopts', `a chassis that is on is taken for ${found}`);
  const seen = rules.observe(plant);
  const isPowered =
    seen.pgood ||
    rails(rules).some((index) => {
      const rail = seen.rails[rules.nameOf(index)];
      return !rules.isSupply(index) && (rail?.enabled || rail?.good);
    });
  if (isPowered && found === 'off') say('adopts', 'a chassis with power is taken for off');
  // Whether a press was felt of which the process before had not heard is not known before its time is over.
  const goesOn = (tag: StateTag) => hinted !== null && hasTag(hinted, tag) && hasTag(found, tag);
  const mayBeFelt = rules.host >= 0 && (goesOn('rising') || goesOn('lowering'));
  if (!isPowered && found !== 'off' && found !== 'failed' && !mayBeFelt)
    say('adopts', `a chassis without power is ${found}`);
}
