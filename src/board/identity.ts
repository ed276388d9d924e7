import * as v from 'valibot';
import { expects } from './values.ts';

/** The bytes of a block, without the one that says how many they are. */
const MOST_BYTES = 30;

/** As IDENTITY_REGISTERS of hw/pmbus/identity.ts has it. */
const said = (register: string, example: string, description: string) =>
  v.pipe(
    v.optional(
      expects(
        'text',
        `what ${register} reads, as text of at most ${MOST_BYTES} characters, or as "0x" and two digits for each byte`,
        example,
        v.pipe(
          v.string(),
          v.regex(
            new RegExp(
              `^(?:0x(?:[0-9a-fA-F]{2}){1,${MOST_BYTES}}|(?!0x)[!-~](?:[ -~]{0,${MOST_BYTES - 2}}[!-~])?)$`,
            ),
          ),
        ),
      ),
    ),
    v.description(`${register}: ${description}`),
  );

/** What a PMBus device says that it is. */
export const identity = expects(
  'object',
  'what the device says of itself, by the name of at least one register',
  '{ "MFR_ID": "TI" }',
  v.strictObject({
    MFR_ID: said('MFR_ID', '"TI"', 'who made the device'),
    MFR_MODEL: said('MFR_MODEL', '"ADM1272-A1"', 'its model'),
    MFR_REVISION: said('MFR_REVISION', '"A0"', 'its revision'),
    IC_DEVICE_ID: said('IC_DEVICE_ID', '"MAX15301"', 'the type of the circuit in it'),
    IC_DEVICE_REV: said('IC_DEVICE_REV', '"0x10"', 'the revision of that'),
  }),
);
