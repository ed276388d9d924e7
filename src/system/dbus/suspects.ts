import type { Clock } from '../../../hw/ports.ts';

/** Somewhat arbitrary: a journal that somebody fills from outside tells nothing any more. */
const QUIET_MS = 60_000;

/**
 * Tells of messages that were refused: once for the messages of one sender in a row, and not more often than once a
 * minute, with the number of those that were left out. The bus gives a new name to whoever connects again, so that
 * names alone are no limit.
 */
export function createSuspects(
  clock: Clock,
  tell: (text: string) => void = () => undefined,
): (sender: string | undefined, what: string) => void {
  let toldMs = Number.NEGATIVE_INFINITY;
  let lastSender: string | undefined;
  let unsaid = 0;

  return (sender, what) => {
    const isTold = sender !== undefined && sender === lastSender;
    if (isTold || clock.nowMs() - toldMs < QUIET_MS) {
      unsaid += 1;
      return;
    }
    const since = unsaid === 0 ? '' : `; ${unsaid} more were refused since the last one that was told`;
    toldMs = clock.nowMs();
    lastSender = sender;
    unsaid = 0;
    const [who, advice] =
      sender === undefined ? ['somebody', ''] : [sender, `: see "busctl status ${sender}"`];
    tell(`${who} on the D-Bus system bus sent ${what}, which was refused${advice}${since}`);
  };
}
