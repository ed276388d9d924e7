import { PLATFORM_RESET, POST_COMPLETE } from '../../board/lines.ts';
import type { Board } from '../../board/schema.ts';
import type { FollowedLine } from '../../run/followed-line.ts';
import type { HardwarePorts } from '../../run/parts.ts';
import { createHeldResets, type HeldResets, type HeldSignal } from '../../service/held-resets.ts';
import type { Resident } from '../../service/resident.ts';
import { openerOf } from './open-followed.ts';

const ROLES: Readonly<Record<HeldSignal, string>> = {
  postComplete: POST_COMPLETE,
  platformReset: PLATFORM_RESET,
};

/** Resets of a chassis that the service releases once the host shows how far it is; null where the board has none. */
export async function heldResetsOf(
  chassis: number,
  resident: Resident,
  board: Board,
  ports: HardwarePorts,
  log: (severity: number, text: string) => void,
): Promise<HeldResets | null> {
  const { resets = {}, hostSignals = {} } = board.chassis[chassis] ?? {};
  const held = Object.entries(resets).flatMap(([name, { heldUntil, releaseDelayMs }]) =>
    heldUntil === undefined ? [] : [{ name, releaseDelayMs, ...heldUntil }],
  );
  if (held.length === 0) return null;
  const open = openerOf(chassis, board, ports, log);
  const lines = new Map<HeldSignal, FollowedLine>();
  for (const signal of new Set(held.map((each) => each.signal))) {
    const ref = hostSignals[signal];
    const line = ref && (await open(ROLES[signal], ref));
    if (line) lines.set(signal, line);
  }
  return createHeldResets({ chassis, resets: held, lines, resident, clock: ports.clock, log });
}
