import { type Check, eachChassis } from './findings.ts';

/** A reset button has something that it does. */
export const checkPanel: Check = (board) =>
  eachChassis(board, ({ panel, hostReset }, path) =>
    panel?.reset === undefined || hostReset !== undefined
      ? []
      : [
          {
            at: [...path, 'panel', 'reset'],
            message: 'the panel has a reset button, and the chassis no "hostReset": a press would do nothing',
            suggestion: 'describe the line that resets the host as "hostReset", or remove the button',
            absent: true,
          },
        ],
  );
