import { lineLabel } from '../../../hw/lines.ts';
import { chassisOf, type LoadedBoard, loadBoard } from '../../board/load.ts';
import { type ReleaseReport, releaseChassis } from '../../run/release.ts';
import { planOf } from '../../sequence/plan.ts';
import { createSnapshotFile } from '../../store/snapshot.ts';
import { EXIT } from '../exit.ts';
import type { Invocation, Verb } from '../verb.ts';
import type { World } from '../world.ts';

/** Gives the lines of a chassis that is off back, so that other programs can take them. */
export const release: Verb = {
  async run(invocation, world) {
    const { boardPath, chassis, flag, json } = invocation;
    const report = await releaseLines(await loadBoard(boardPath), chassis, invocation, world, flag('all'));
    if (json) {
      const names = (lines: ReleaseReport['kept']) =>
        lines.map(({ role, ref }) => ({ role, line: lineLabel(ref) }));
      world.stdout.write(
        `${JSON.stringify({ chassis, released: names(report.released), kept: names(report.kept) })}\n`,
      );
    } else world.stdout.write(`${releaseText(chassis, report)}\n`);
    return EXIT.ok;
  },
};

/** What `release` does to one chassis. */
export function releaseLines(
  loaded: LoadedBoard,
  number: number,
  { runDir }: Pick<Invocation, 'runDir'>,
  world: World,
  all: boolean,
): Promise<ReleaseReport> {
  const plan = planOf(chassisOf(loaded, number));
  const identity = { bootId: world.bootId(), boardHash: loaded.hash, plan, clock: world.clock };
  return releaseChassis({
    board: loaded.board,
    chassis: number,
    plan,
    ports: world,
    runDir,
    store: createSnapshotFile(runDir, number, identity),
    signal: world.signal,
    all,
  });
}

export function releaseText(chassis: number, { released, kept }: ReleaseReport): string {
  const lines = (count: number) => (count === 1 ? '1 line' : `${count} lines`);
  const told =
    released.length === 0 ? 'no line of ours to give back' : `${lines(released.length)} given back`;
  if (kept.length === 0) return `chassis ${chassis}: ${told}`;
  const names = kept.map(({ role, ref }) => `${role} (${lineLabel(ref)})`).join(', ');
  return `chassis ${chassis}: ${told}; ${lines(kept.length)} that another program took stay with it: ${names}; release --all gives them back too`;
}
