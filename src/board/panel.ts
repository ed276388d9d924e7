import * as v from 'valibot';
import { expects, lineWith, milliseconds } from './values.ts';

/** A hand that means it: ACPI's power button override is after 4 s (ACPI 6.5, 4.8.2.2.1.3). */
const FORCE_OFF_MS = 4_000;
const LONGEST_HOLD_MS = 60_000;
const POWER_LINE = '{ "name": "power-button", "active": "low" }';
const RESET_LINE = '{ "name": "reset-button", "active": "low" }';

const powerTimes = {
  forceOffMs: v.pipe(
    v.optional(milliseconds(500, LONGEST_HOLD_MS, '4000'), FORCE_OFF_MS),
    v.description('How long the button is held to switch off at once, without asking the host'),
  ),
};

/** What people press. Only the service follows it. */
export const panel = expects(
  'object',
  'the buttons of the front panel, "power" and "reset"',
  `{ "power": ${POWER_LINE} }`,
  v.strictObject({
    power: v.pipe(
      v.optional(lineWith(powerTimes, POWER_LINE)),
      v.description(
        'The power button, as an input: asserted is pressed. A press starts the host, or asks it to shut down. Only for a ' +
          'button that nothing else feels: one that reaches the chipset as well would be pressed twice',
      ),
    ),
    reset: v.pipe(
      v.optional(lineWith({}, RESET_LINE)),
      v.description(
        'The reset button, as an input. A press resets a host that is on, by "hostReset" of the chassis. Only for a button that ' +
          'nothing else feels',
      ),
    ),
  }),
);
