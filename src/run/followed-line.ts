import { HardwareError } from '../../hw/errors.ts';
import type { Board, LineBoard } from '../board/schema.ts';
import { createPartOpener, type HardwarePorts, located } from './parts.ts';

/** How often a line is looked at that raises no interrupts: several times in the shortest press of a hand. */
const POLL_MS = 50;

/** An input that the service alone follows, as a button that people press. */
export interface FollowedLine {
  /** Whether it is asserted. Rejects with a HardwareError. */
  read(): Promise<boolean>;
  /** Calls `wake` once the watch stands, and when it may have moved. Returns the function that ends it. */
  watch(wake: () => void): () => void;
  /** Gives its line back. */
  close(): Promise<void>;
}

/** Opens such a line of a chassis for reading. Rejects with the HardwareError of a line that cannot be had. */
export async function openFollowedLine(
  board: Board,
  { chassis, role, line }: { readonly chassis: number; readonly role: string; readonly line: LineBoard },
  ports: HardwarePorts,
): Promise<FollowedLine> {
  const opener = createPartOpener(board, ports, () => undefined);
  try {
    const signal = await opener.openSignal(role, line);
    const paces = { pgood: POLL_MS, good: POLL_MS, pmbus: POLL_MS, pgoodAsked: POLL_MS };
    return {
      read: () => signal.read(),
      watch: (wake) => signal.watch(wake, paces, 'good'),
      close: () => opener.close(),
    };
  } catch (error) {
    await opener.close();
    throw error instanceof HardwareError ? located(error, `chassis ${chassis}`, { chassis }) : error;
  }
}
