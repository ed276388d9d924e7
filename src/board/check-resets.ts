import { type Check, eachChassis } from './findings.ts';

/** What a reset waits for is a signal that the chassis has. */
export const checkResets: Check = (board) =>
  eachChassis(board, ({ resets = {}, hostSignals }, path) =>
    Object.entries(resets).flatMap(([reset, line]) => {
      const signal = line?.heldUntil?.signal;
      if (signal === undefined || hostSignals?.[signal] !== undefined) return [];
      return [
        {
          at: [...path, 'resets', reset, 'heldUntil', 'signal'],
          message: `reset ${reset} waits for "${signal}", which "hostSignals" does not describe: it would never be released`,
          suggestion: `describe the line of "${signal}" in "hostSignals", or remove "heldUntil"`,
          absent: true,
        },
      ];
    }),
  );
