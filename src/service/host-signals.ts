import { errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import type { FollowedLine } from '../run/followed-line.ts';
import type { ChassisState } from './host-state.ts';
import { tellUnread, trackLevel } from './track-level.ts';

/** A host that goes off shows the same, and has no power by then: OpenBMC's x86-power-control, WarmResetCheckMs. */
const RESTART_CHECK_MS = 500;

export interface HostSignalOptions {
  readonly chassis: number;
  readonly postComplete: FollowedLine | null;
  readonly platformReset: FollowedLine | null;
  readonly state: Pick<ChassisState, 'view' | 'isResetting' | 'postChanged' | 'hostRestarted'>;
  readonly clock: Clock;
  /** @param severity as syslog counts it (RFC 5424, table 2) */
  readonly log: (severity: number, text: string) => void;
}

/** What a host says of itself. */
export interface HostSignals {
  /** To be called once all objects are published. */
  begin(): void;
  /** Ends it for good. */
  stop(): Promise<void>;
}

/**
 * Follows the signals of a host: shows when its firmware has done its work, and takes a host that goes through reset while it keeps
 * its power, and that nobody here has reset, for one that restarts by itself. Drives nothing. A signal that cannot be read shows nothing.
 */
export function createHostSignals(options: HostSignalOptions): HostSignals {
  const { chassis, postComplete, platformReset, state, clock, log } = options;
  const ends: (() => void)[] = [];
  let isOver = false;
  let cancelCheck: () => void = () => undefined;

  const wentThroughReset = (): void => {
    if (state.view.power !== 'On' || state.isResetting) return;
    cancelCheck();
    cancelCheck = clock.after(RESTART_CHECK_MS, () => {
      if (state.view.power !== 'On' || state.isResetting) return;
      log(5, `chassis ${chassis}: the host has restarted by itself`);
      state.hostRestarted();
    });
  };

  const follow = async (
    line: FollowedLine | null,
    name: string,
    changed: (level: boolean) => void,
    silent: (reason: string | null, believed: boolean) => void = () => undefined,
  ): Promise<void> => {
    if (line === null) return;
    const first = await line.read().catch((error: unknown) => {
      log(4, `chassis ${chassis}: ${name} is not taken for asserted: ${errorText(error)}`);
      return false;
    });
    if (isOver) return;
    changed(first);
    const end = trackLevel(line, clock, () => 0, first, {
      changed,
      unread(reason, believed) {
        tellUnread(log, `chassis ${chassis}: ${name}`, 'shows', reason);
        silent(reason, believed);
      },
    });
    ends.push(end);
  };

  let wasComplete = false;
  const posted = (isComplete: boolean): void => {
    if (wasComplete && !isComplete) wentThroughReset();
    wasComplete = isComplete;
    state.postChanged(isComplete);
  };

  return {
    begin() {
      // What cannot be read is no restart, and comes back as what it was.
      void follow(postComplete, 'POST complete', posted, (reason, believed) =>
        state.postChanged(reason === null && believed),
      );
      let isFirst = true;
      void follow(platformReset, 'the platform reset', (isInReset) => {
        if (isInReset && !isFirst) wentThroughReset();
        isFirst = false;
      });
    },
    async stop() {
      isOver = true;
      cancelCheck();
      for (const end of ends) end();
      await Promise.all([postComplete?.close(), platformReset?.close()]);
    },
  };
}
