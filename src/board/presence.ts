import * as v from 'valibot';
import { CHIP_LINE, chipLine, choose, expects, i2cPlace, namedLine } from './values.ts';

/** How the part that a rail is of is seen to be there. */
export const presence = expects(
  'object',
  'a line, by "chip" and "line" or by "name", or an I2C device that answers, by "bus" and "address"',
  CHIP_LINE,
  choose(
    ['chip', v.strictObject(chipLine)],
    ['name', v.strictObject(namedLine)],
    ['bus', v.strictObject(i2cPlace)],
  ),
);
