import { HardwareError } from '../../../hw/errors.ts';
import type { Board, LineBoard } from '../../board/schema.ts';
import { type FollowedLine, openFollowedLine } from '../../run/followed-line.ts';
import type { HardwarePorts } from '../../run/parts.ts';

/** Opens lines of a chassis. One that cannot be had is told, and null: it keeps nothing from being served. */
export function openerOf(
  chassis: number,
  board: Board,
  ports: HardwarePorts,
  log: (severity: number, text: string) => void,
) {
  return async (role: string, line: LineBoard): Promise<FollowedLine | null> => {
    try {
      return await openFollowedLine(board, { chassis, role, line }, ports);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      log(3, `${error.message}: nobody follows this line until the service is started again`);
      return null;
    }
  };
}
