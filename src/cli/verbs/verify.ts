import { chassisOf, type LoadedBoard, loadBoard } from '../../board/load.ts';
import { PowerError } from '../../errors.ts';
import { type Plan, planOf } from '../../sequence/plan.ts';
import { WARNING, writeLine } from '../../system/severity.ts';
import { counterexampleOf } from '../../verify/counterexample.ts';
import { MACHINE } from '../../verify/machine.ts';
import { type Report, verifyPlan } from '../../verify/verify.ts';
import { EXIT } from '../exit.ts';
import type { Invocation, Verb } from '../verb.ts';
import { recordOf, storyText } from '../verify-story.ts';
import type { World } from '../world.ts';
import { writeOrWarn, writePicture } from '../write-picture.ts';

const NO_COURSE =
  'with the times of the board this does not come about as it is told, so that it is neither drawn nor played: --exact searches with these times';

/** A state takes about 2 kB: with more, Node's heap is full. */
const MAX_STATES = 1_000_000;

/**
 * Tries every course of events of a chassis, with every placement of up to so many faults, on the machine that drives it;
 * no line is touched. `EXIT.findings` where an invariant is broken or a transition of the machine was never taken,
 * `EXIT.unfinished` where the search was given up. How an invariant is broken can be drawn (`--svg`) and kept (`--save`), to
 * be played again on a simulated chassis; a file that cannot be written is a warning.
 */
export const verify: Verb = {
  async run(invocation, world) {
    const { boardPath: path, chassis, option, flag, json } = invocation;
    const faults = numberOf('faults', option('faults') ?? '1', 2);
    const maxStates = numberOf('states', option('states') ?? String(MAX_STATES), Number.MAX_SAFE_INTEGER);
    const loaded = await loadBoard(path);
    const plan = planOf(chassisOf(loaded, chassis), loaded.board.devices);
    const beganMs = world.clock.nowMs();
    const report = verifyPlan(MACHINE, plan, { faults, maxStates, isExact: flag('exact') });
    const seconds = Math.round(world.clock.nowMs() - beganMs) / 1000;
    if (json)
      world.stdout.write(`${JSON.stringify({ board: path, chassis, seconds, ...report }, null, 2)}\n`);
    else world.stdout.write(textOf(`${path}, chassis ${chassis}`, report, seconds));
    if (report.broken !== null) await keep(report.broken, { loaded, chassis, plan, invocation, world });
    if (report.verdict === 'notFinished') return EXIT.unfinished;
    return report.verdict === 'clean' ? EXIT.ok : EXIT.findings;
  },
};

/** Draws and saves how an invariant is broken, where that is asked for. */
async function keep(
  { invariant, sentence, what, course }: NonNullable<Report['broken']>,
  {
    loaded,
    chassis,
    plan,
    invocation: { option, json },
    world,
  }: {
    readonly loaded: LoadedBoard;
    readonly chassis: number;
    readonly plan: Plan;
    readonly invocation: Invocation;
    readonly world: World;
  },
): Promise<void> {
  const [svg, save] = [option('svg'), option('save')];
  if (course === null) {
    if (svg === undefined && save === undefined) return;
    const text = `nothing is written: ${NO_COURSE}`;
    writeLine(world.stderr, WARNING, `${world.programName}: ${text}`);
    return;
  }
  const tell = (text: string) => {
    if (!json) world.stdout.write(`${text}\n`);
  };
  const title = `${loaded.board.name}, chassis ${chassis}: ${sentence}`;
  if (svg !== undefined && (await writePicture(svg, recordOf(course), plan, title, world)))
    tell(`timing diagram: ${svg}`);
  if (save === undefined) return;
  const board: unknown = JSON.parse(loaded.bytes.toString('utf8'));
  const saved = counterexampleOf({ invariant, what, course }, chassis, board);
  const isSaved = writeOrWarn(save, 'counterexample', () => `${JSON.stringify(saved, null, 2)}\n`, world);
  if (isSaved) tell(`to play it on a simulated chassis: chassis-power-sim replay ${save}`);
}

/** @throws PowerError USAGE for what is no whole number up to `most` */
function numberOf(name: string, text: string, most: number): number {
  if (/^\d+$/.test(text) && Number(text) <= most) return Number(text);
  throw new PowerError('USAGE', `--${name} takes a number from 0 to ${most}, not "${text}"`);
}

function textOf(what: string, report: Report, seconds: number): string {
  const { verdict, faults, states, transitions, faultsPlaced, situations, broken, neverTaken } = report;
  const rate = Math.round(states / Math.max(seconds, 0.001));
  const searched = [
    `${count(states, 'state')}, ${count(transitions, 'transition')}, ${count(faultsPlaced, 'fault')} placed (up to ${faults} in a course of events)`,
    `${situations} situations of the machine, ${Object.keys(report.invariants).length} invariants, ${seconds} s, ${rate} states/s`,
  ];
  if (verdict === 'notFinished') {
    const why = report.notTried ?? 'the search was given up';
    return [`${what}: NOT FINISHED: ${why}: nothing is proven`, ...searched, ''].join('\n');
  }
  if (broken !== null) {
    const { sentence, story, course } = broken;
    const untimed = story.map(
      ({ what: happened, state }, index) => `${String(index + 1).padStart(4)}. ${happened} (${state})`,
    );
    return [
      `${what}: BROKEN (${broken.invariant}): ${sentence}`,
      `  ${broken.what}`,
      ...(course === null ? [...untimed, `  ${NO_COURSE}`] : storyText(course)),
      ...searched,
      '',
    ].join('\n');
  }
  if (neverTaken.length > 0) {
    const never = neverTaken.map((name) => `  ${name}`);
    return [`${what}: transitions of the machine that nothing reaches:`, ...never, ...searched, ''].join(
      '\n',
    );
  }
  return [`${what}: clean`, ...searched, ''].join('\n');
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
