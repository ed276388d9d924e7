import * as v from 'valibot';
import { expects, lineWith } from './values.ts';

const POST_LINE = '{ "name": "POST_COMPLETE", "active": "low" }';
const RESET_LINE = '{ "name": "PLTRST", "active": "low" }';

/** What the host says of itself. Only the service follows it, and nothing is switched for it. */
export const hostSignals = expects(
  'object',
  'the signals of the host, "postComplete" and "platformReset"',
  `{ "postComplete": ${POST_LINE} }`,
  v.strictObject({
    postComplete: v.pipe(
      v.optional(lineWith({}, POST_LINE)),
      v.description(
        'Asserted once the firmware of the host has done its work: OperatingSystemState is Standby then. One that is let go while the power ' +
          'stays is a host that restarts by itself',
      ),
    ),
    platformReset: v.pipe(
      v.optional(lineWith({}, RESET_LINE)),
      v.description(
        'Asserted while the host is in reset, by whatever: one that nobody here asked for is a restart by itself',
      ),
    ),
  }),
);
