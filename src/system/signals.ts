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
  /** Whether the first one came. Who asks only this makes no AbortSignal, which Node takes a while to load. */
  readonly isAsked: () => boolean;
  /** Calls `handler` with the first one, and when it is repeated, from now on. Replaces the handler of before. */
  readonly whenAsked: (handler: (which: 'first' | 'repeated') => void) => void;
  /** Requests the end for another reason. */
  readonly end: (reason: string) => void;
  /** See `World`. */
  readonly onHangup: (handler: () => void) => () => void;
}

/** Catches every signal that would end or suspend this process. `onStop` is called instead of a suspension. */
export function catchSignals(clock: Clock, onStop: () => void): EndRequests {
  const first = createLateAbort();
  const second = createLateAbort();
  let whenAsked = (_: 'first' | 'repeated'): void => undefined;
  const ask = (reason: string): void => {
    if (first.isAborted()) return;
    first.abort(reason);
    whenAsked('first');
  };
  const repeat = (reason: string): void => {
    if (second.isAborted()) return;
    second.abort(reason);
    whenAsked('repeated');
  };
  let askedAtMs: number | null = null;
  let hangup: (() => void) | null = null;

  for (const name of REQUESTS) {
    process.on(name, () => {
      const nowMs = clock.nowMs();
      if (askedAtMs !== null && nowMs - askedAtMs >= SAME_REQUEST_MS) repeat(name);
      askedAtMs ??= nowMs;
      ask(name);
    });
  }
  for (const name of CAUSES) {
    process.on(name, () => {
      if (name === 'SIGHUP' && hangup !== null) hangup();
      else ask(name);
    });
  }
  for (const name of STOPS) process.on(name, onStop);

  return {
    get signal() {
      return first.signal();
    },
    get abandon() {
      return second.signal();
    },
    isAsked: first.isAborted,
    whenAsked(handler) {
      whenAsked = handler;
    },
    end: ask,
    onHangup(handler) {
      const hadTerminal = hasTerminal();
      hangup = () => {
        if (hadTerminal && !hasTerminal()) ask('SIGHUP');
        else handler();
      };
      return () => {
        hangup = null;
      };
    },
  };
}

/** An AbortSignal that is made when somebody wants to have it, aborted where it was by then. */
interface LateAbort {
  readonly signal: () => AbortSignal;
  readonly isAborted: () => boolean;
  readonly abort: (reason: string) => void;
}

function createLateAbort(): LateAbort {
  let controller: AbortController | undefined;
  let cause: string | undefined;
  return {
    signal() {
      if (controller === undefined) {
        controller = new AbortController();
        if (cause !== undefined) controller.abort(cause);
      }
      return controller.signal;
    },
    isAborted: () => cause !== undefined,
    abort(reason) {
      cause ??= reason;
      controller?.abort(reason);
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
