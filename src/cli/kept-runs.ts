import { PowerError } from '../errors.ts';
import { type BlackBox, createBlackBox, type KeptRun } from '../store/black-box.ts';
import { WARNING, writeLine } from '../system/severity.ts';
import type { Invocation } from './verb.ts';
import type { World } from './world.ts';

/** Where the runs of a chassis are kept. */
export async function boxOf(
  { chassis, runDir }: Pick<Invocation, 'chassis' | 'runDir'>,
  { clock, stateDir, disk }: World,
): Promise<BlackBox> {
  return createBlackBox({ stateDir, runDir, chassis, disk: await disk(), clock });
}

/** The runs that are kept of a chassis. What cannot be read is a warning. */
export async function keptRuns(
  { chassis, runDir }: Pick<Invocation, 'chassis' | 'runDir'>,
  world: World,
): Promise<readonly KeptRun[]> {
  const { runs, problems } = await (await boxOf({ chassis, runDir }, world)).read();
  for (const problem of problems) writeLine(world.stderr, WARNING, `${world.programName}: ${problem}`);
  return runs;
}

/**
 * The run of that number, or the last one.
 * @param what the kind of run, for messages
 * @throws PowerError USAGE for a number that is none, or that no run of the kind has
 */
export function runNumbered(
  runs: readonly KeptRun[],
  number: string | undefined,
  what: string,
): KeptRun | null {
  if (number === undefined) return runs.at(-1) ?? null;
  if (!/^\d{1,15}$/.test(number))
    throw new PowerError('USAGE', `the number of a run is digits, not "${number}"`);
  const run = runs.find((each) => each.number === Number(number));
  if (run !== undefined) return run;
  const kept = runs.map((each) => each.number).join(', ') || 'none';
  throw new PowerError('USAGE', `${what} ${number} is not kept: there are ${kept}`);
}
