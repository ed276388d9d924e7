import { isNews, type Recorded } from '../run/record.ts';
import type { RunEnd, RunOrigin } from '../run/run-record.ts';
import { WARNING, writeLine } from '../system/severity.ts';
import type { Invocation } from './verb.ts';
import type { World } from './world.ts';

/**
 * Takes the run of a command over into the black box, for the process to write before it ends. To be called with the chassis
 * still locked; returns at once where there is nothing to keep, and never rejects.
 */
export async function keepRun(
  { chassis, runDir }: Pick<Invocation, 'chassis' | 'runDir'>,
  origin: Omit<RunOrigin, 'chassis' | 'by' | 'bootId'>,
  end: Omit<RunEnd, 'left'> & { readonly entries: readonly Recorded[] },
  world: World,
): Promise<void> {
  if (end.error === null && !end.entries.some(isNews)) return;
  try {
    const { runRecord, settleRun } = await import('../run/run-record.ts');
    const { createBlackBox } = await import('../store/black-box.ts');
    const { clock, stateDir } = world;
    const by = world.caller();
    const run = runRecord({ ...origin, chassis, by, bootId: world.bootId() }, { ...end, left: 0 }, clock);
    const box = createBlackBox({ stateDir, runDir, chassis, disk: await world.disk(), clock });
    world.background(tell(settleRun(box, run)(), world));
  } catch (error) {
    // What happened is told all the same, and a run that is not kept is no failure of the chassis.
    warn(`the run of chassis ${chassis} is not kept: ${String(error)}`, world);
  }
}

async function tell(writing: Promise<string | null>, world: World): Promise<void> {
  const problem = await writing;
  if (problem !== null) warn(problem, world);
}

function warn(text: string, world: World): void {
  writeLine(world.stderr, WARNING, `${world.programName}: ${text}`);
}
