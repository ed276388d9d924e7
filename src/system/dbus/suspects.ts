import type { Clock } from '../../../hw/ports.ts';

/** Somewhat arbitrary: a client must not be able to fill the journal. */
const QUIET_MS = 60_000;

/**
 * Reports refused messages: once for consecutive messages of one sender, and at most once a minute, with the number of
 * those that were left out. The bus gives a new name to a client that connects again, so names alone are no limit.
 */
export function createSuspects(
  clock: Clock,
  report: (text: string) => void = () => undefined,
): (sender: string | undefined, what: string) => void {
  let reportedMs = Number.NEGATIVE_INFINITY;
  let lastSender: string | undefined;
  let unreported = 0;

  return (sender, what) => {
    const isReported = sender !== undefined && sender === lastSender;
    if (isReported || clock.nowMs() - reportedMs < QUIET_MS) {
      unreported += 1;
      return;
    }
    const since =
      unreported === 0 ? '' : `; ${unreported} more were refused since the last one that was told`;
    reportedMs = clock.nowMs();
    lastSender = sender;
    unreported = 0;
    const [who, advice] =
      sender === undefined ? ['somebody', ''] : [sender, `: see "busctl status ${sender}"`];
    report(`${who} on the D-Bus system bus sent ${what}, which was refused${advice}${since}`);
  };
}
