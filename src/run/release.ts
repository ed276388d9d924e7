import { HardwareError } from '../../hw/errors.ts';
import type { Flock, LinePlace } from '../../hw/ports.ts';
import { type BoardLine, linesOf } from '../board/lines.ts';
import type { Board } from '../board/schema.ts';
import { PowerError } from '../errors.ts';
import type { Plan } from '../sequence/plan.ts';
import { powerSeen } from '../sequence/state.ts';
import { lockChassis } from '../store/lock.ts';
import type { SnapshotStore } from '../store/snapshot.ts';
import { watchChassis } from '../store/watch-lock.ts';
import { findChassis } from './found.ts';
import { openChassis } from './hardware.ts';
import type { HardwarePorts } from './parts.ts';

export interface ReleaseOptions {
  readonly board: Board;
  readonly chassis: number;
  readonly plan: Plan;
  readonly ports: HardwarePorts;
  readonly flock: Flock;
  readonly runDir: string;
  readonly store: SnapshotStore;
  readonly signal: AbortSignal;
  /** Lines that another program took are given back as well. */
  readonly all: boolean;
}

export interface ReleaseReport {
  readonly released: readonly BoardLine[];
  /** Taken by another program, and left to it. */
  readonly kept: readonly BoardLine[];
}

/**
 * Gives the lines of a chassis back, so that other programs can take them. Only while nobody drives or watches the
 * chassis and every line of it can be read and says that it is off: a controller may make a line that is free an input,
 * and an enable that is one goes where its resistor pulls it. Refused, nothing was given back.
 * @throws PowerError CHASSIS_LOCKED, CHASSIS_WATCHED, REQUEST_REJECTED; HardwareError
 */
export async function releaseChassis(options: ReleaseOptions): Promise<ReleaseReport> {
  const { board, chassis, ports, flock, runDir, signal, all } = options;
  const lines = linesOf(board).filter((line) => line.chassis === chassis);
  const isToGo = ({ takenBy }: LinePlace) => takenBy === 'ours' || (all && takenBy === 'foreign');
  const keptOf = (places: readonly LinePlace[]) =>
    lines.filter((_, index) => places[index]?.takenBy === 'foreign' && !all);
  const before = await placesOf(lines, options);
  // Nothing to give back needs nobody's leave, and no line has to be taken again to find that the chassis is off.
  if (!before.some(isToGo)) return { released: [], kept: keptOf(before) };

  const lock = { clock: ports.clock, flock, waitMs: 0, signal, onWait: () => undefined };
  const watch = await watchChassis(runDir, chassis, 'release', lock);
  try {
    const held = await lockChassis(runDir, chassis, 'release', lock);
    try {
      await expectOff(options);
      // With what was taken to look at it.
      const after = await placesOf(lines, options);
      const leaving = lines.filter((_, index) => after[index] !== undefined && isToGo(after[index]));
      await (await ports.gpio()).release(leaving.map(({ ref }) => ref));
      return { released: leaving, kept: keptOf(after) };
    } finally {
      held.release();
    }
  } finally {
    watch.release();
  }
}

async function placesOf(lines: readonly BoardLine[], { ports }: ReleaseOptions): Promise<LinePlace[]> {
  const places = await (await ports.gpio()).locate(lines.map(({ ref }) => ref));
  return places.map((place) => {
    if (place instanceof HardwareError) throw place;
    return place;
  });
}

async function expectOff({ board, chassis, plan, ports, store }: ReleaseOptions): Promise<void> {
  const hardware = await openChassis(board, chassis, ports);
  try {
    const { state, sequence } = await findChassis({ plan, hardware }, store, ports.clock);
    if (state === 'off' || (state === 'failed' && !powerSeen(sequence))) return;
    throw new PowerError(
      'REQUEST_REJECTED',
      `chassis ${chassis} is ${state}: its lines are given back only while it is off; power it off first`,
      { chassis, state },
    );
  } finally {
    await hardware.close();
  }
}
