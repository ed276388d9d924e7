import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { counterexampleOf, type SavedCounterexample } from '../../src/verify/counterexample.ts';
import type { InvariantName } from '../../src/verify/invariants.ts';
import type { Machine } from '../../src/verify/machine.ts';
import { verifyPlan } from '../../src/verify/verify.ts';
import {
  ABSENT,
  ASLEEP,
  BUTTON,
  BUTTON_CHAIN,
  CHAIN,
  FORK,
  LATCHED,
  ORDERED,
  RESTING,
  RESTING_UNSEEN,
  SET_UP,
  type SmallBoard,
} from './small-boards.ts';

/** A deliberate defect of the machine: where a text of a file of src/sequence stands, another one stands. */
export interface Defect {
  readonly what: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly board?: SmallBoard;
  readonly faults?: number;
  /** The invariant that has to catch it. */
  readonly breaks: InvariantName;
}

export const DEFECTS: readonly Defect[] = [
  {
    what: 'a start is accepted over contradictory lines',
    file: 'chart.ts',
    from: 'linesContradict: ({ context }) => context.contradictions.length > 0',
    to: 'linesContradict: () => false',
    breaks: 'noStartOverContradiction',
  },
  {
    what: 'a loss is lowered rail by rail',
    file: 'rails.ts',
    from: 'const atOnce = goesAtOnce(context);',
    to: 'const atOnce = false;',
    breaks: 'lossAtOnce',
  },
  {
    what: 'a lost latch is not pulsed again on the way down',
    file: 'chart.ts',
    from: 'latchMissed: ({ context }) => context.latchPending',
    to: 'latchMissed: () => false',
    board: LATCHED,
    breaks: 'latchFollows',
  },
  {
    what: 'the latch is never pulsed',
    file: 'rails.ts',
    from: "return { asks: latchPending ? [{ type: 'pulseLatch' }] : [] };",
    to: 'return { asks: latchPending ? [] : [] };',
    board: LATCHED,
    faults: 0,
    breaks: 'latchFollows',
  },
  {
    what: 'rails are enabled without regard to what they need',
    file: 'survey.ts',
    from: 'areUp(supplyOf(rail), stateOf)',
    to: 'areUp([], stateOf)',
    faults: 0,
    breaks: 'needsFirst',
  },
  {
    what: 'rails go off in the order in which they came',
    file: 'rails.ts',
    from: 'atOnce || downBefore(rail).every(',
    to: 'true || downBefore(rail).every(',
    faults: 0,
    breaks: 'reverseOrder',
  },
  {
    what: 'the fall of what needs a rail is not waited for',
    file: 'rails.ts',
    from: 'driven.has(other) && (!enabled || isGone(other))',
    to: 'driven.has(other)',
    faults: 0,
    breaks: 'reverseOrder',
  },
  {
    what: 'after a fault nothing is switched off',
    file: 'chart.ts',
    from: `        { guard: 'canDisable', actions: 'disableRails' },
        { guard: 'loweredInFault'`,
    to: "        { guard: 'loweredInFault'",
    breaks: 'lossAtOnce',
  },
  {
    what: 'one rail is forgotten when the power goes down',
    file: 'rails.ts',
    from: 'return switchedRails(plan).every((name) => readings.driven.includes(name));',
    to: 'return switchedRails(plan).slice(1).every((name) => readings.driven.includes(name));',
    faults: 0,
    breaks: 'offAfterFault',
  },
  {
    what: 'a rail that does not come is waited for without an end',
    file: 'faults.ts',
    from: "if (deadline.what === 'railComes' && !isInDoubt(rail, context, nowMs)) return late(rail);",
    to: '',
    breaks: 'neverWaits',
  },
  {
    what: 'pgood that does not come is waited for without an end',
    file: 'chart.ts',
    from: "        ...onFault('opWaitPowerOn', 'railTooLateForPgood', 'pgoodTimedOut'),\n",
    to: '',
    breaks: 'neverWaits',
  },
  {
    what: 'power that does not go is waited for without an end',
    file: 'chart.ts',
    from: "        ...onFault('opWaitPowerOff', 'railsStuck', 'powerStays'),\n",
    to: '',
    breaks: 'offIsReached',
  },
  {
    what: 'a fault is not recorded',
    file: 'chart.ts',
    from: "return { change: { fault }, asks: [{ type: 'raiseFault', fault }] };",
    to: 'return {};',
    breaks: 'toldOnce',
  },
  {
    what: 'a low pgood is a loss at once',
    file: 'deadlines.ts',
    from: "return stands('pgoodChanges', null, pgood.sinceMs, plan.pgood.deglitchMs);",
    to: "return stands('pgoodChanges', null, pgood.sinceMs, 0);",
    breaks: 'lossStands',
  },
  {
    what: 'a dropped rail is lost at once',
    file: 'deadlines.ts',
    from: "return stands('railIsLost', name, sinceMs, lostAfterMs(plan, rail));",
    to: "return stands('railIsLost', name, sinceMs, 0);",
    breaks: 'lossStands',
  },
  {
    what: 'time alone makes a deadline over',
    file: 'deadlines.ts',
    from: 'return source === undefined ? nowMs >= dueMs : isFresh(readingOf(readings, source), countsFromMs);',
    to: 'return nowMs >= dueMs;',
    breaks: 'noFalseAlarm',
  },
  {
    what: 'the resets are not held when power goes',
    file: 'chart.ts',
    from: `        { guard: 'anyResetReleased', actions: 'assertResets' },
        { guard: 'canDisable', actions: 'disableRails' },
        {
          guard: 'allDrivenOff',`,
    to: `        { guard: 'canDisable', actions: 'disableRails' },
        {
          guard: 'allDrivenOff',`,
    faults: 0,
    breaks: 'resetsFollowPgood',
  },
  {
    what: 'a request for the present state switches off and on',
    file: 'chart.ts',
    from: `      on: {
        POWER_ON: { actions: 'leaveAsIs' },
        POWER_OFF: { target: 'opPowerStop', actions: ['note', 'accept'] },
        // Here`,
    to: `      on: {
        POWER_ON: { target: 'opPowerStop', actions: ['note', 'accept'] },
        POWER_OFF: { target: 'opPowerStop', actions: ['note', 'accept'] },
        // Here`,
    faults: 0,
    breaks: 'askingMovesNothing',
  },
  {
    what: 'power off is refused while power comes',
    file: 'chart.ts',
    from: `        POWER_ON: { actions: 'leaveAsIs' },
        POWER_OFF: { target: 'opPowerStop', actions: ['note', 'accept'] },
        ...stopRaising('opPowerStart'),`,
    to: `        POWER_ON: { actions: 'leaveAsIs' },
        POWER_OFF: goingOff,
        ...stopRaising('opPowerStart'),`,
    faults: 0,
    breaks: 'offIsReached',
  },
  {
    what: 'a request is not answered',
    file: 'chart.ts',
    from: "POWER_OFF: { actions: 'leaveAsIs' },\n        DRIVE_FAILED: { actions: ['note', 'giveUpRail'] }",
    to: "DRIVE_FAILED: { actions: ['note', 'giveUpRail'] }",
    breaks: 'answeredOnce',
  },
  {
    what: 'off is said before pgood was read',
    file: 'chart.ts',
    from: 'powerIsGone: ({ context }) => fallen(context) && !powerSeen(context) && isFresh(context.readings.pgood)',
    to: 'powerIsGone: ({ context }) => fallen(context)',
    faults: 0,
    breaks: 'powerIsTold',
  },
  {
    what: 'failed is forgotten though power is still applied',
    file: 'chart.ts',
    from: `CLEAR: [
          { guard: 'powerSeen', ...stillApplied },
`,
    to: 'CLEAR: [\n',
    breaks: 'powerIsTold',
  },
  {
    what: 'a chassis that is on is taken for one that is starting',
    file: 'reconcile.ts',
    from: "return as(held ? 'opWaitPowerOn' : 'pgood');",
    to: "return as('opWaitPowerOn');",
    faults: 0,
    breaks: 'adopts',
  },
  {
    what: 'a rail that is down is taken for down before it was seen to fall',
    file: 'rails.ts',
    from: "return { ...state, enabled: false, phase: 'falling', sinceMs: nowMs, deadlineMs };",
    to: "return { ...state, enabled: false, phase: 'down', deadlineMs: null };",
    faults: 0,
    breaks: 'reverseOrder',
  },
  {
    what: 'the order of its own on the way down is forgotten',
    file: 'plan.ts',
    from: 'return [...neededBy, ...offAfter];',
    to: 'return neededBy;',
    board: ORDERED,
    faults: 0,
    breaks: 'reverseOrder',
  },
  {
    what: 'no rail rests on the way down',
    file: 'deadlines.ts',
    from: "const restMs = fault?.state === 'pgood' ? 0 : offSettleMs;",
    to: 'const restMs = 0;',
    board: RESTING,
    faults: 0,
    breaks: 'restsFirst',
  },
  {
    what: 'a rail that nothing shows does not rest',
    file: 'rails.ts',
    from: 'if (rail.offSettleMs > 0) {',
    to: 'if (rail.offSettleMs > 1_000_000) {',
    board: RESTING_UNSEEN,
    faults: 0,
    breaks: 'restsFirst',
  },
  {
    what: 'the next process takes a rail that rests for one that has',
    file: 'reconcile.ts',
    from: "const rests = times.offSettleMs > 0 && hinted?.phase === 'falling' && hasTag(state, 'lowering');",
    to: 'const rests = false;',
    board: RESTING,
    breaks: 'restsFirst',
  },
  {
    what: 'the time of a rail begins before what switches it is set up',
    file: 'rails.ts',
    from: 'return withRail(staged, name, { deadlineMs, sinceMs: atMs });',
    to: 'return staged;',
    board: SET_UP,
    faults: 0,
    breaks: 'noFalseAlarm',
  },
  {
    what: 'what is lost while a rail is set up is not blamed',
    file: 'faults.ts',
    from: '(driven !== null && isRaised ? lostNeedOf(driven, context) : null)',
    to: 'null',
    board: SET_UP,
    breaks: 'lossIsTheFault',
  },
  {
    what: 'what is absent is not driven off',
    file: 'rails.ts',
    from: 'return absent.filter(({ watched }) => watched === null).reverse();',
    to: 'return absent.filter(() => false);',
    board: ABSENT,
    faults: 0,
    breaks: 'absentIsOff',
  },
  {
    what: 'what is absent is driven off after what it needs',
    file: 'rails.ts',
    from: 'asks: [...(isFirst ? absentRails(plan) : []), ...lowered].map(',
    to: 'asks: [...lowered, ...(isFirst ? absentRails(plan) : [])].map(',
    board: ABSENT,
    faults: 0,
    breaks: 'absentIsOff',
  },
  {
    what: 'a button is pressed again for a host that is on already',
    file: 'presses.ts',
    from: 'if (asserted === mayBeOn) return [];',
    to: 'if (!asserted && !mayBeOn) return [];',
    board: BUTTON_CHAIN,
    breaks: 'pressedOnce',
  },
  {
    what: 'a button is pressed for a host that is off already',
    file: 'presses.ts',
    from: 'if (asserted === mayBeOn) return [];',
    to: 'if (asserted && mayBeOn) return [];',
    board: BUTTON,
    faults: 0,
    breaks: 'askingMovesNothing',
  },
  {
    what: 'a host that does not shut down in its time is not forced off',
    file: 'presses.ts',
    from: "return isGraceful ? ['short', 'hold'] : ['hold'];",
    to: "return isGraceful ? ['short'] : ['hold'];",
    board: BUTTON,
    faults: 0,
    breaks: 'offAfterFault',
  },
  {
    what: 'a host that did not come in its time, and may come yet, is not held off',
    file: 'rails.ts',
    from: "mayBeOn: phase === 'rising' }",
    to: 'mayBeOn: false }',
    board: BUTTON,
    breaks: 'offAfterFault',
  },
  {
    what: 'after a loss a host is asked to shut down',
    file: 'rails.ts',
    from: "const isGraceful = context.fault === null && phase === 'up' && context.pgood.good;",
    to: "const isGraceful = phase === 'up';",
    board: BUTTON,
    breaks: 'lossAtOnce',
  },
  {
    what: 'the next process does not know that a button was pressed',
    file: 'reconcile.ts',
    from: "return enabled && !(pulsed === 'state' && isOver);",
    to: 'return false;',
    board: BUTTON,
    breaks: 'pressedOnce',
  },
  {
    what: 'a host that switches itself off is told as a loss',
    file: 'sleep.ts',
    from: 'return isGone || (!pgood.good && pgood.sinceMs <= untilMs);',
    to: 'return false;',
    board: ASLEEP,
    faults: 0,
    breaks: 'hostOff',
  },
  {
    what: 'a host that lost its power is told to have switched itself off',
    file: 'sleep.ts',
    from: "const leaves = seen === 'leaving' && isAwake && allStands(context);",
    to: "const leaves = seen !== 'awake' && isAwake;",
    board: ASLEEP,
    breaks: 'hostOff',
  },
];

const root = join(import.meta.dirname, '..', '..');

/** A file of the program with all that it imports, and one text of the machine replaced, as a module of its own. */
export async function withDefect<Module>(
  { file, from, to }: Pick<Defect, 'file' | 'from' | 'to'>,
  entry: string,
  name: string,
): Promise<Module> {
  const folder = join(root, 'build', 'verify-mutants');
  mkdirSync(folder, { recursive: true });
  const outfile = join(folder, `${name}.mjs`);
  const path = join(root, 'src', 'sequence', file);
  const text = readFileSync(path, 'utf8');
  if (text.split(from).length !== 2) throw new TypeError(`src/sequence/${file} does not have once: ${from}`);
  await build({
    entryPoints: [join(root, entry)],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    logLevel: 'error',
    plugins: [
      {
        name: 'defect',
        setup(builder) {
          builder.onLoad({ filter: /src\/sequence\/[a-z]+\.ts$/ }, (args) =>
            args.path === path ? { contents: text.replace(from, () => to), loader: 'ts' } : undefined,
          );
        },
      },
    ],
  });
  return (await import(pathToFileURL(outfile).href)) as Module;
}

/** The board that shows the defect best. */
export function boardFor({ board, what }: Defect): SmallBoard {
  return board ?? (what.includes('fall of') ? FORK : CHAIN);
}

export function defectNamed(what: string): Defect {
  const defect = DEFECTS.find((each) => each.what === what);
  if (defect === undefined) throw new RangeError(`no defect "${what}"`);
  return defect;
}

/** What verification finds of a machine with a defect, as it is saved. */
export async function savedOf(name: string): Promise<SavedCounterexample> {
  const defect = defectNamed(name);
  const file = `saved-${DEFECTS.indexOf(defect)}`;
  const { MACHINE } = await withDefect<{ readonly MACHINE: Machine }>(defect, 'src/verify/machine.ts', file);
  const { value, plan } = boardFor(defect);
  const { broken } = verifyPlan(MACHINE, plan, { faults: defect.faults ?? 1, maxStates: 300_000 });
  if (broken?.course == null) throw new TypeError('there is no counterexample with the times of the board');
  const { invariant, what, absent, course } = broken;
  return JSON.parse(JSON.stringify(counterexampleOf({ invariant, what, absent, course }, 0, value)));
}
