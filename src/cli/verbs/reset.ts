import { chassisOf, loadBoard } from '../../board/load.ts';
import { PowerError } from '../../errors.ts';
import { openChassis } from '../../run/hardware.ts';
import { resetHost } from '../../run/reset-host.ts';
import { planOf } from '../../sequence/plan.ts';
import { createSnapshotFile } from '../../store/snapshot.ts';
import { EXIT } from '../exit.ts';
import type { Verb } from '../verb.ts';

/** Resets the host of a chassis that is on, which keeps its power. */
export const reset: Verb = {
  async run({ boardPath, chassis: number, runDir, json }, world) {
    const loaded = await loadBoard(boardPath);
    const chassis = chassisOf(loaded, number);
    if (chassis.hostReset === undefined) {
      throw new PowerError(
        'RESET_UNKNOWN',
        `chassis ${number} has no "hostReset" in ${boardPath}: describe the line that resets its host, or power it off and on with cycle`,
        { chassis: number },
      );
    }
    const plan = planOf(chassis, loaded.board.devices);
    const { clock, flock, signal } = world;
    const identity = { bootId: world.bootId(), boardHash: loaded.hash, plan, clock };
    const store = createSnapshotFile(runDir, number, identity);
    const hardware = await openChassis(loaded.board, number, world);
    try {
      await resetHost({ plan, hardware, clock, flock, runDir, store, signal });
    } finally {
      await hardware.close();
    }
    const { pulseMs } = chassis.hostReset;
    world.stdout.write(
      json
        ? `${JSON.stringify({ chassis: number, reset: true, pulseMs })}\n`
        : `chassis ${number}: the host was held in reset for ${pulseMs} ms, and keeps its power\n`,
    );
    return EXIT.ok;
  },
};
