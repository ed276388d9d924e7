import * as v from 'valibot';
import { expects, line, milliseconds } from './values.ts';

/** A press switches on and is over soon: a rail that fails meanwhile waits for its end. */
const LONGEST_ON_MS = 1_000;
/** As long: what is waited for after a press holds up everything else. */
const LONGEST_TAKEN_MS = 2_000;
const LONGEST_GRACEFUL_MS = 130_000;
const LONGEST_FORCE_OFF_MS = 60_000;

/**
 * An enable that is no level: a power button, pressed for a while, as on x86. The defaults are those of OpenBMC's
 * x86-power-control.
 */
export const pulse = v.strictObject({
  pulse: v.pipe(line, v.description('The power button: asserted is pressed')),
  state: v.pipe(
    v.optional(line),
    v.description(
      'What shows that the button was taken, asserted while the rail is on, such as a sleep state that was left. ' +
        'Without it the good signal of the rail does, or pgood where the rail has none',
    ),
  ),
  sleepState: v.pipe(
    v.optional(expects('truth', 'true', 'true', v.literal(true))),
    v.description(
      '"state" is a sleep signal of the chipset, as SLP_S5# and SIO_S5 are: a host that shuts down by itself enters it before its ' +
        'power goes. Power that goes within offTimeoutMs of that is switched off, and not lost. pgood and the good signal of the rail have to ' +
        'be lines',
    ),
  ),
  onMs: v.pipe(
    v.optional(milliseconds(1, LONGEST_ON_MS, '200'), 200),
    v.description('How long the button is pressed to switch on, and to ask for a graceful off'),
  ),
  takenMs: v.pipe(
    v.optional(milliseconds(1, LONGEST_TAKEN_MS, '1000'), 1_000),
    v.description(
      'Longest time from the press until "state" shows that the host is on; without "state" onTimeoutMs of the rail is that. ' +
        'As long after a press that switches off it is not believed: a host that just went off by itself takes it for the other',
    ),
  ),
  gracefulMs: v.pipe(
    v.optional(milliseconds(1, LONGEST_GRACEFUL_MS, '60000')),
    v.description(
      'Time that a host that is on has to shut down by itself after a short press, before it is forced off; ' +
        'without it a power-off forces at once',
    ),
  ),
  forceOffMs: v.pipe(
    v.optional(milliseconds(1, LONGEST_FORCE_OFF_MS, '15000'), 15_000),
    v.description(
      'Longest time that the button is held to force off; it is let go as soon as the rail is off',
    ),
  ),
});
