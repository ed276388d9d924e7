import { closeSync, constants, openSync } from 'node:fs';
import type { Clock } from '../../hw/ports.ts';

/** Signals by which a person or program requests the end of a process, and may repeat the request. */
const REQUESTS = ['SIGINT', 'SIGTERM', 'SIGQUIT'] as const;
/**
 * Signals of an event: a terminal that closes, a limit that is reached. They end a process by default (signal(7)) and can
 * be caught. One event often sends several (a shell and the kernel a SIGHUP each, the kernel a SIGXCPU a second), so
 * together they count as one request. Left out are the signals of a crash (SIGSEGV, SIGABRT and the like), after which
 * nothing can be trusted; SIGPIPE and SIGXFSZ, which Node ignores; and the real-time signals, which Node cannot catch.
 */
const CAUSES = [
  ...(['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGVTALRM', 'SIGPROF'] as const),
  ...(['SIGXCPU', 'SIGIO', 'SIGPWR', 'SIGSTKFLT'] as const),
];
/** Signals that would suspend the process. SIGTTOU is not caught: the kernel would send it again for ever. */
const STOPS = ['SIGTSTP', 'SIGTTIN'] as const;
/** timeout(1), and others that signal a process and then its group, send a request twice within this time. */
const SAME_REQUEST_MS = 100;

export interface EndRequests {
  /** Aborted with the first signal; its reason is the name of the signal. */
  readonly signal: AbortSignal;
  /** Aborted when the request is repeated. */
  readonly abandon: AbortSignal;
  /** Requests the end for another reason. */
  readonly end: (reason: string) => void;
  /** See `World`. */
  readonly onHangup: (handler: () => void) => () => void;
}

/** Catches every signal that would end or suspend this process. `onStop` is called instead of a suspension. */
export function catchSignals(clock: Clock, onStop: () => void): EndRequests {
  const first = new AbortController();
  const second = new AbortController();
  let askedAtMs: number | null = null;
  let hangup: (() => void) | null = null;

  for (const name of REQUESTS) {
    process.on(name, () => {
      const nowMs = clock.nowMs();
      if (askedAtMs !== null && nowMs - askedAtMs >= SAME_REQUEST_MS) second.abort(name);
      askedAtMs ??= nowMs;
      first.abort(name);
    });
  }
  for (const name of CAUSES) {
    process.on(name, () => {
      if (name === 'SIGHUP' && hangup !== null) hangup();
      else first.abort(name);
    });
  }
  for (const name of STOPS) process.on(name, onStop);

  return {
    signal: first.signal,
    abandon: second.signal,
    end: (reason) => first.abort(reason),
    onHangup(handler) {
      const hadTerminal = hasTerminal();
      hangup = () => {
        if (hadTerminal && !hasTerminal()) first.abort('SIGHUP');
        else handler();
      };
      return () => {
        hangup = null;
      };
    },
  };
}

/** Whether this process has a terminal that signals it (tty(4)). */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY));
    return true;
  } catch {
    return false;
  }
}
