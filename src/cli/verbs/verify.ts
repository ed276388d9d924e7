import { chassisOf, type LoadedBoard, loadBoard } from '../../board/load.ts';
import type { Board } from '../../board/schema.ts';
import { PowerError } from '../../errors.ts';
import { type Plan, planOf, planWithout } from '../../sequence/plan.ts';
import { WARNING, writeLine } from '../../system/severity.ts';
import { counterexampleOf } from '../../verify/counterexample.ts';
import { MACHINE } from '../../verify/machine.ts';
import { partOf } from '../../verify/parts.ts';
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
 * no line is touched. A board of many rails is tried in parts. `EXIT.findings` where an invariant is broken or a transition of the machine was never taken,
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
    const rails = option('rails');
    const railsAtOnce =
      rails === undefined ? undefined : numberOf('rails', rails, Number.MAX_SAFE_INTEGER, 1);
    const beganMs = world.clock.nowMs();
    const report = verifyPlan(MACHINE, plan, {
      faults,
      maxStates,
      isExact: flag('exact'),
      ...(railsAtOnce !== undefined && { railsAtOnce }),
    });
    const seconds = Math.round(world.clock.nowMs() - beganMs) / 1000;
    if (json)
      world.stdout.write(`${JSON.stringify({ board: path, chassis, seconds, ...report }, null, 2)}\n`);
    else world.stdout.write(textOf(`${path}, chassis ${chassis}`, report, seconds));
    if (report.broken !== null) await keep(report.broken, { loaded, chassis, plan, invocation, world });
    if (report.verdict === 'notFinished') return EXIT.unfinished;
    return report.verdict === 'broken' ? EXIT.findings : EXIT.ok;
  },
};

/** Draws and saves how an invariant is broken, where that is asked for. */
async function keep(
  { invariant, sentence, what, rails, absent, course }: NonNullable<Report['broken']>,
  {
    loaded,
    chassis,
    plan: whole,
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
  const present = absent.length === 0 ? whole : planWithout(whole, absent);
  const plan = rails === null ? present : partOf(present, new Set(rails));
  const title = `${loaded.board.name}, chassis ${chassis}: ${sentence}`;
  if (svg !== undefined && (await writePicture(svg, recordOf(course), plan, title, world)))
    tell(`timing diagram: ${svg}`);
  if (save === undefined) return;
  const board: unknown =
    rails === null
      ? JSON.parse(loaded.bytes.toString('utf8'))
      : boardOfPart(loaded.board, chassis, plan, rails);
  const saved = counterexampleOf({ invariant, what, absent, course }, chassis, board);
  const isSaved = writeOrWarn(save, 'counterexample', () => `${JSON.stringify(saved, null, 2)}\n`, world);
  if (isSaved) tell(`to play it on a simulated chassis: chassis-power-sim replay ${save}`);
}

/** The board file of a part: to play it again takes no more than its rails, the ideal ones without a signal. */
function boardOfPart(board: Board, chassis: number, part: Plan, chosen: readonly string[]): unknown {
  const whole = board.chassis[chassis];
  const absent = part.absent.map(({ name }) => name);
  const rails = [...part.rails, ...part.absent].map(({ name, needs }) => {
    const rail = { ...whole?.rails[name], needs };
    return [
      name,
      chosen.includes(name) || absent.includes(name) ? rail : { ...rail, settleMs: 0, good: undefined },
    ];
  });
  return { ...board, chassis: { [chassis]: { ...whole, rails: Object.fromEntries(rails) } } };
}

/** @throws PowerError USAGE for what is no whole number from `least` to `most` */
function numberOf(name: string, text: string, most: number, least = 0): number {
  if (/^\d+$/.test(text) && Number(text) >= least && Number(text) <= most) return Number(text);
  throw new PowerError('USAGE', `--${name} takes a number from ${least} to ${most}, not "${text}"`);
}

function textOf(what: string, report: Report, seconds: number): string {
  const { verdict, faults, states, transitions, faultsPlaced, situations, broken, neverTaken, parts } =
    report;
  const rate = Math.round(states / Math.max(seconds, 0.001));
  const searched = [
    ...(parts === null ? [] : [partsText(parts)]),
    ...(report.absent === null ? [] : [absentText(report.absent)]),
    `${count(states, 'state')}, ${count(transitions, 'transition')}, ${count(faultsPlaced, 'fault')} placed (up to ${faults} in a course of events)`,
    `${situations} situations of the machine, ${Object.keys(report.invariants).length} invariants, ${seconds} s, ${rate} states/s`,
  ];
  if (verdict === 'notFinished') {
    const why = report.notTried ?? 'the search was given up, and fewer --rails N at a time have fewer states';
    return [`${what}: NOT FINISHED: ${why}: nothing is proven`, ...searched, ''].join('\n');
  }
  if (broken !== null) {
    const { sentence, rails, story, course } = broken;
    const untimed = story.map(
      ({ what: happened, state }, index) => `${String(index + 1).padStart(4)}. ${happened} (${state})`,
    );
    return [
      `${what}: BROKEN (${broken.invariant}): ${sentence}`,
      `  ${broken.what}`,
      ...(rails === null ? [] : [`  seen with all rails ideal but ${rails.join(', ')}`]),
      ...(broken.absent.length === 0 ? [] : [`  seen without ${broken.absent.join(', ')}`]),
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
  const clean = parts === null ? 'clean' : `clean in parts of ${count(parts.railsAtOnce, 'rail')}`;
  return [`${what}: ${clean}`, ...searched, ''].join('\n');
}

function partsText({ railsAtOnce, choices, tried }: NonNullable<Report['parts']>): string {
  const atOnce = railsAtOnce === 1 ? 'each rail' : `any ${railsAtOnce} rails at a time`;
  const ways = `${count(choices, 'choice')}; ${tried} that are unlike each other were tried`;
  return `in parts: ${atOnce}, all others ideal (${ways})`;
}

function absentText(ways: readonly (readonly string[])[]): string {
  const texts = ways.map((rails) => (rails.length === 0 ? 'all there' : `without ${rails.join(', ')}`));
  return `parts that may be absent: ${texts.join('; ')}`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
