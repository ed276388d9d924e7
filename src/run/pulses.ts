import { HardwareError, wasReadBack } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import type { PulseBoard } from '../board/schema.ts';
import { type PressKind, pressesFor } from '../sequence/presses.ts';
import type { Signal, Switch } from './parts.ts';

/** How often what a press does is looked at: the button is let go that soon after it, which the host does not mind. */
const LOOK_MS = 20;

export interface PulseParts {
  /** Of the rail: `enable of rail MAIN`. */
  readonly role: string;
  readonly button: Switch;
  /** What shows whether the rail is on. */
  readonly shown: Signal;
  readonly pulse: PulseBoard;
  /** Longest time from a press until that shows that the rail came on. */
  readonly shownWithinMs: number;
  readonly clock: Clock;
}

/**
 * A rail with a power button, as an enable: what it reads is what shows the rail to be on, because a press that is over
 * shows nothing, and nothing is pressed for what is so already. However a press ends the button is let go: when its time is
 * over, when what it was for has come, when the process is told twice to end, and after a write that failed. A process that
 * is killed meanwhile leaves it pressed, and the next one lets it go before anything else (`letGo`).
 *
 * Switching off rejects `GPIO_PULSE_IGNORED`, with `readBack`, where the rail stays on, and switching on where a signal of its own
 * does not show that the press was taken.
 */
export interface Pulse extends Switch {
  /** Lets go of a button that is pressed. To be called only by who drives the chassis. Returns whether it was. */
  letGo(): Promise<boolean>;
}

export function createPulse(parts: PulseParts): Pulse {
  const { role, button, shown } = parts;
  const letGo = async () => {
    const isPressed = await button.read();
    if (isPressed) await button.write(false);
    return isPressed;
  };
  /** The line did not move when it was to be pressed: nobody has felt anything. */
  let isUnfelt = false;
  return {
    bus: shown.bus,
    poweredBy: null,
    role,
    read: () => shown.read(),
    async write(asserted, { isGraceful, mayBeOn } = { isGraceful: false, mayBeOn: false }, abandoned) {
      try {
        const isOn = asserted ? await shown.read() : (mayBeOn && !isUnfelt) || !(await isOff(parts));
        const hasTime = isGraceful && parts.pulse.gracefulMs !== undefined;
        const presses = pressesFor(asserted, isOn, hasTime);
        if (asserted && presses.length > 0) await switchOn(parts, abandoned);
        if (!asserted && presses.length === 0) await letGo();
        if (!asserted && presses.length > 0) await switchOff(parts, presses, abandoned);
      } catch (error) {
        if (!(error instanceof HardwareError)) throw error;
        isUnfelt = asserted && error.details.isUnfelt === true;
        // What the button reads back is no state of the rail.
        const details = { ...error.details, readBack: (await seenOn(parts)) === !asserted };
        throw new HardwareError(error.code, error.message, details, { cause: error });
      }
    },
    letGo,
  };
}

async function switchOn(parts: PulseParts, abandoned?: AbortSignal): Promise<void> {
  const { button, pulse } = parts;
  await hold(button, () => pause(parts.clock, pulse.onMs, abandoned));
  // The good signal, or pgood, has a time of its own.
  if (pulse.state === undefined) return;
  if (await isShown(parts, true, { limitMs: pulse.takenMs }, abandoned)) return;
  throw ignored(parts, `was pressed for ${pulse.onMs} ms`, `does not show it within ${pulse.takenMs} ms`);
}

/**
 * Held for long enough the button ends in off whatever was before: a host that was off comes up with the press, and goes off
 * with the hold. So only one that was seen to be on is let go sooner. And a host that went off by itself just before a press
 * takes it for one that switches on: that it is off counts once it would have been seen to come.
 */
async function switchOff(
  parts: PulseParts,
  presses: readonly PressKind[],
  abandoned?: AbortSignal,
): Promise<void> {
  const { button, pulse, clock, shownWithinMs } = parts;
  const { gracefulMs = 0, onMs, forceOffMs } = pulse;
  if (presses.includes('short')) {
    const notBeforeMs = clock.nowMs() + shownWithinMs;
    await hold(button, () => pause(clock, onMs, abandoned));
    if (await isShown(parts, false, { limitMs: gracefulMs, notBeforeMs }, abandoned)) return;
  }
  if (presses.includes('hold') && !abandoned?.aborted)
    await hold(button, () => untilOff(parts, abandoned), true);
  if (abandoned?.aborted) throw ignored(parts, 'was let go before its time', 'may still show the rail on');
  if (!(await isOff(parts))) throw ignored(parts, `was held for ${forceOffMs} ms`, 'still shows the rail on');
}

/** As long as it takes until a rail that was seen to be on is off, or the time is over. */
async function untilOff(parts: PulseParts, abandoned?: AbortSignal): Promise<void> {
  const { button, pulse, clock, shownWithinMs } = parts;
  let pressedMs = clock.nowMs();
  let wasOn = false;
  let wasOff = false;
  let pressesLeft = 1;
  while (clock.nowMs() < pressedMs + pulse.forceOffMs && !abandoned?.aborted) {
    const isOn = !(await isOff(parts));
    if (wasOn && !isOn && clock.nowMs() >= pressedMs + shownWithinMs) return;
    wasOn ||= isOn;
    wasOff ||= !isOn;
    // Another process took this press for one of the dead, as it may of a watch that acts on a loss. It drives from now on: once
    // the rail was off, what comes is its power-on, and not to be switched off by this press.
    if ((wasOff || pressesLeft > 0) && (await isLetGo(button))) {
      if (wasOff) return;
      pressesLeft -= 1;
      await button.write(true);
      pressedMs = clock.nowMs();
    }
    await pause(clock, LOOK_MS, abandoned);
  }
}

async function isLetGo(button: Switch): Promise<boolean> {
  try {
    return !(await button.read());
  } catch (error) {
    if (error instanceof HardwareError) return false;
    throw error;
  }
}

/**
 * Presses the button for as long as `meanwhile` takes, and lets it go however that ends.
 * @param insists a press that may have reached the line, though that could not be read, lasts as well
 */
async function hold(button: Switch, meanwhile: () => Promise<unknown>, insists = false): Promise<void> {
  let failed: unknown = null;
  try {
    await button.write(true).catch((error: unknown) => {
      failed = wasReadBack(error) ? unfelt(error as HardwareError) : error;
    });
    if (failed === null || (insists && !wasReadBack(failed))) await meanwhile();
  } finally {
    // Also after a write that failed: it may have reached the line all the same.
    await button.write(false);
  }
  if (failed !== null) throw failed;
}

function unfelt(error: HardwareError): HardwareError {
  const { code, message, details } = error;
  return new HardwareError(code, message, { ...details, isUnfelt: true }, { cause: error });
}

/** Whether it is shown to be on; null where that cannot be read. */
async function seenOn({ shown }: PulseParts): Promise<boolean | null> {
  try {
    return await shown.read();
  } catch (error) {
    if (error instanceof HardwareError) return null;
    throw error;
  }
}

/** What cannot be read may be on. */
async function isOff(parts: PulseParts): Promise<boolean> {
  return (await seenOn(parts)) === false;
}

/** Whether the rail is shown to be on, or to be off, within a time, and not before another. */
async function isShown(
  parts: PulseParts,
  asOn: boolean,
  { limitMs, notBeforeMs = 0 }: { readonly limitMs: number; readonly notBeforeMs?: number },
  abandoned?: AbortSignal,
): Promise<boolean> {
  const { clock } = parts;
  const untilMs = Math.max(clock.nowMs() + limitMs, notBeforeMs);
  for (;;) {
    if ((await isOff(parts)) !== asOn && clock.nowMs() >= notBeforeMs) return true;
    const leftMs = untilMs - clock.nowMs();
    if (leftMs <= 0 || abandoned?.aborted) return false;
    await pause(clock, Math.min(LOOK_MS, leftMs), abandoned);
  }
}

function ignored({ role, button, shown }: PulseParts, did: string, shows: string): HardwareError {
  return new HardwareError(
    'GPIO_PULSE_IGNORED',
    `${role}: ${button.role} ${did}, and ${shown.role} ${shows}`,
    {
      role,
    },
  );
}
