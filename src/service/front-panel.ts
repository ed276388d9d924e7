import { errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { PowerError } from '../errors.ts';
import type { FollowedLine } from '../run/followed-line.ts';
import { STALL_MS } from '../run/standstill.ts';
import type { ChassisState } from './host-state.ts';
import type { Resident } from './resident.ts';
import { tellUnread, trackLevel } from './track-level.ts';

/** Contacts bounce for a few milliseconds, and a hand presses for fifty at least. */
const BOUNCE_MS = 20;

export interface ButtonOptions {
  readonly chassis: number;
  readonly button: FollowedLine;
  readonly clock: Clock;
  /** @param severity as syslog counts it (RFC 5424, table 2) */
  readonly log: (severity: number, text: string) => void;
  readonly onChange: (property: 'ButtonPressed' | 'ButtonMasked') => void;
}

export interface PowerButtonOptions extends ButtonOptions {
  /** How long it is held to switch off at once. */
  readonly forceOffMs: number;
  readonly state: Pick<ChassisState, 'view' | 'requestHost' | 'requestPower'>;
  readonly resident: Pick<Resident, 'request'>;
}

export interface ResetButtonOptions extends ButtonOptions {
  readonly state: Pick<ChassisState, 'resetHost'>;
}

/** A button of a front panel: what management clients see of it. */
export interface FollowedButton {
  readonly isPressed: boolean;
  /** Whether presses are shown, and request nothing. Until the service ends. */
  readonly isMasked: boolean;
  mask(isMasked: boolean): void;
  /** To be called once all objects are published. A press that began before requests nothing. */
  begin(): void;
  /** Ends it for good. */
  stop(): Promise<void>;
}

/** What a button is for. */
interface Meaning {
  /** For the journal: `power button`. */
  readonly name: string;
  /** It was pressed, and is not masked. */
  pressed(): void;
  /** It was let go, or can tell nothing any more. */
  over(): void;
}

/**
 * Takes presses for requests: of a chassis that is off the host is started, of one that is on the host is asked to shut
 * down, and held for long enough the button switches it off at once. A hold that began as one that starts does no more. While
 * power is on its way a short press requests nothing.
 */
export function createPowerButton(options: PowerButtonOptions): FollowedButton {
  const { forceOffMs, state, resident } = options;
  let cancelHold: () => void = () => undefined;
  const tell = tellerOf(options, 'power button');

  const held = (): void => {
    if (followed.isMasked) return;
    tell(`was held for ${forceOffMs} ms`, 'power off');
    // The targets of systemd wait until the host has stopped. They come to the same after it.
    resident.request('off', 'the power button');
    state.requestPower('Off');
  };

  const pressed = (): void => {
    const { power } = state.view;
    if (power === 'Off') {
      tell('was pressed', 'host on');
      state.requestHost('On', 'PowerButton');
      return;
    }
    cancelHold = awaitHold(options, held);
    if (power === 'On') {
      tell('was pressed', 'host off');
      state.requestHost('Off', 'PowerButton');
    } else tell('was pressed', `nothing while the power is ${power}, unless it is held`);
  };

  const followed = followButton(options, { name: 'power button', pressed, over: () => cancelHold() });
  return followed;
}

/** Takes presses for resets of a host that is on. */
export function createResetButton(options: ResetButtonOptions): FollowedButton {
  const { state } = options;
  const name = 'reset button';
  const tell = tellerOf(options, name);
  const pressed = (): void => {
    try {
      state.resetHost('ResetButton');
      tell('was pressed', 'host reset');
    } catch (error) {
      if (!(error instanceof PowerError)) throw error;
      tell('was pressed', `nothing is reset: ${error.message}`);
    }
  };
  return followButton(options, { name, pressed, over: () => undefined });
}

function tellerOf({ chassis, log }: ButtonOptions, name: string) {
  return (did: string, asks: string) => log(5, `chassis ${chassis}: the ${name} ${did}: ${asks}`);
}

function followButton(options: ButtonOptions, { name, pressed, over }: Meaning): FollowedButton {
  const { chassis, button, clock, log, onChange } = options;
  let isPressed = false;
  let isMasked = false;
  let isOver = false;
  let end: () => void = () => undefined;

  const moved = (now: boolean, isNew = true): void => {
    isPressed = now;
    onChange('ButtonPressed');
    over();
    if (!now || !isNew) return;
    if (isMasked) tellerOf(options, name)('was pressed', 'it is masked, and requests nothing');
    else pressed();
  };

  const follow = async (): Promise<void> => {
    const first = await isHeld(options, name);
    if (isOver) return;
    if (first) moved(true, false);
    end = trackLevel(button, clock, () => BOUNCE_MS, first, {
      changed: (level) => moved(level),
      unread: (reason) => {
        if (reason !== null) over();
        tellUnread(log, `chassis ${chassis}: the ${name}`, 'requests', reason);
      },
    });
  };

  return {
    get isPressed() {
      return isPressed;
    },
    get isMasked() {
      return isMasked;
    },
    mask(next) {
      if (next === isMasked) return;
      isMasked = next;
      log(5, `chassis ${chassis}: the ${name} is ${next ? 'masked' : 'not masked any more'}`);
      onChange('ButtonMasked');
    },
    begin: () => void follow(),
    async stop() {
      isOver = true;
      over();
      end();
      await button.close();
    },
  };
}

/** One that cannot be read is not held. */
async function isHeld({ chassis, button, log }: ButtonOptions, name: string): Promise<boolean> {
  try {
    return await button.read();
  } catch (error) {
    log(4, `chassis ${chassis}: the ${name} is not taken for held: ${errorText(error)}`);
    return false;
  }
}

/**
 * Calls `held` once the button has been held for so long, and reads so after that. Returns the function that ends it, also
 * while the button is being read.
 */
function awaitHold(options: PowerButtonOptions, held: () => void): () => void {
  const { clock, forceOffMs } = options;
  let isCancelled = false;
  let cancel: () => void;
  const begin = (): void => {
    const dueMs = clock.nowMs() + forceOffMs;
    cancel = clock.after(forceOffMs, async () => {
      const isStill = await isHeld(options, 'power button');
      if (isCancelled || !isStill) return;
      // It may have been let go and pressed again while the process stood still.
      if (clock.nowMs() - dueMs > STALL_MS) begin();
      else held();
    });
  };
  begin();
  return () => {
    isCancelled = true;
    cancel();
  };
}
