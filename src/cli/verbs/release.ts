import { CodedError, HardwareError } from '../../../hw/errors.ts';
import { lineLabel } from '../../../hw/lines.ts';
import { chassisOf, type LoadedBoard, loadBoard } from '../../board/load.ts';
import { PowerError } from '../../errors.ts';
import { type ReleaseReport, releaseChassis } from '../../run/release.ts';
import { planOf } from '../../sequence/plan.ts';
import { createSnapshotFile } from '../../store/snapshot.ts';
import { EXIT } from '../exit.ts';
import type { Invocation, Verb } from '../verb.ts';
import type { World } from '../world.ts';

/** Gives back the lines of a chassis that is off, so that other programs can take them. */
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

/**
 * Gives back the lines of every chassis after the units were uninstalled. A machine without GPIO has none. Without a board
 * file it is not known whether a chassis is off: its lines stay taken until the next boot, and a message says so.
 * @throws PowerError LINES_KEPT for the first chassis whose lines stay; those of the others are given back
 */
export async function releaseUninstalled(
  invocation: Pick<Invocation, 'boardPath' | 'runDir' | 'json'>,
  world: World,
): Promise<void> {
  let loaded: LoadedBoard;
  try {
    loaded = await loadBoard(invocation.boardPath);
  } catch (error) {
    if (!(error instanceof PowerError)) throw error;
    world.stderr.write(
      `${world.programName}: GPIO lines that were taken stay so until the next boot (${error.message}); release --board FILE gives them back\n`,
    );
    return;
  }
  let refused: { readonly number: number; readonly error: CodedError } | null = null;
  for (const number of Object.keys(loaded.board.chassis).map(Number)) {
    try {
      const report = await releaseLines(loaded, number, invocation, world, false);
      if (!invocation.json) world.stdout.write(`${releaseText(number, report)}\n`);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      if (error instanceof HardwareError && error.code === 'GPIO_UNAVAILABLE') return;
      refused ??= { number, error };
    }
  }
  if (refused === null) return;
  throw new PowerError(
    'LINES_KEPT',
    `the units are uninstalled, but GPIO lines stay taken (${refused.error.message}): then run chassis-power release --chassis ${refused.number}`,
    refused.error.details,
    { cause: refused.error },
  );
}

/** Releases the lines of one chassis. */
function releaseLines(
  loaded: LoadedBoard,
  number: number,
  { runDir }: Pick<Invocation, 'runDir'>,
  world: World,
  all: boolean,
): Promise<ReleaseReport> {
  const plan = planOf(chassisOf(loaded, number), loaded.board.devices);
  const identity = { bootId: world.bootId(), boardHash: loaded.hash, plan, clock: world.clock };
  return releaseChassis({
    board: loaded.board,
    chassis: number,
    plan,
    ports: world,
    flock: world.flock,
    runDir,
    store: createSnapshotFile(runDir, number, identity),
    signal: world.signal,
    all,
  });
}

function releaseText(chassis: number, { released, kept }: ReleaseReport): string {
  const lines = (count: number) => (count === 1 ? '1 line' : `${count} lines`);
  const given =
    released.length === 0 ? 'no line of ours to give back' : `${lines(released.length)} given back`;
  if (kept.length === 0) return `chassis ${chassis}: ${given}`;
  const names = kept.map(({ role, ref }) => `${role} (${lineLabel(ref)})`).join(', ');
  return `chassis ${chassis}: ${given}; ${lines(kept.length)} that another program took stay with it: ${names}; release --all gives them back too`;
}
