import * as v from 'valibot';
import { expects, pmbusPage, volts } from './values.ts';

/** What a page may be told of its voltage, by the names of PMBus. Nothing that switches an output is among them. */
const COMMANDS = [
  'VOUT_COMMAND',
  'VOUT_MAX',
  'VOUT_OV_FAULT_LIMIT',
  'VOUT_OV_WARN_LIMIT',
  'VOUT_UV_WARN_LIMIT',
  'VOUT_UV_FAULT_LIMIT',
  'POWER_GOOD_ON',
  'POWER_GOOD_OFF',
] as const;
export type SetupCommand = (typeof COMMANDS)[number];

const WRITE = '{ "command": "VOUT_COMMAND", "volts": 1.2 }';
const write = expects(
  'object',
  'a write, with "command" and "volts"',
  WRITE,
  v.strictObject({
    command: v.pipe(
      expects(
        'choice',
        `one of ${COMMANDS.join(', ')}; what switches an output, as OPERATION does, is left to the sequence`,
        '"VOUT_COMMAND"',
        v.picklist(COMMANDS),
      ),
      v.description('What is written, by its name in the PMBus specification'),
    ),
    volts: v.pipe(
      volts,
      v.description('Voltage that is written, in the format that VOUT_MODE of the page says'),
    ),
  }),
);

/** What the device of a rail is told before the rail is enabled. */
export const setup = expects(
  'object',
  'a set-up, with "pmbus", "minVolts", "maxVolts" and "writes"',
  `{ "pmbus": "vr_ddr", "page": 0, "minVolts": 1.14, "maxVolts": 1.26, "writes": [${WRITE}] }`,
  v.strictObject({
    ...pmbusPage,
    minVolts: v.pipe(volts, v.description('Least voltage that the rail may be told to have')),
    maxVolts: v.pipe(volts, v.description('Greatest voltage that the rail may be told to have')),
    writes: v.pipe(
      expects('list', 'a list of writes, at least one', `[${WRITE}]`, v.array(write)),
      v.description(
        'What is written, one after the other. Each is read back: where the device reads something else, the power-on fails before the rail is enabled',
      ),
    ),
  }),
);

export type SetupBoard = v.InferOutput<typeof setup>;
