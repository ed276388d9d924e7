import * as v from 'valibot';
import { BY_SENSOR, byHwmon, byIio } from './sensor.ts';
import { BY_LINE_OR_PAGE, chipLine, choose, expects, namedLine, pmbusPage, voltageWindow } from './values.ts';

/** By what of a PMBus page something is seen to be good. What names a page says that as well: the key picks the alternative. */
export const pageByLimits = {
  ...pmbusPage,
  limits: v.pipe(
    expects('choice', '"device"', '"device"', v.picklist(['device'])),
    v.description(
      'Takes VOUT_UV_FAULT_LIMIT and VOUT_OV_FAULT_LIMIT of the page, as the device has them, for "minVolts" and "maxVolts"',
    ),
  ),
};
export const pageByStatus = {
  ...pmbusPage,
  status: v.pipe(
    expects('truth', 'true', 'true', v.literal(true)),
    v.description(
      'Takes POWER_GOOD# of the page alone, for a device that measures no voltage; what STATUS_VOUT keeps of the past is evidence only',
    ),
  ),
};
export const pageByVolts = { ...pmbusPage, ...voltageWindow };

/** What a signal may be that shows power, by the word that tells which it is. */
export const SHOWN_BY = [
  ['chip', v.strictObject(chipLine)],
  ['name', v.strictObject(namedLine)],
  ['limits', v.strictObject(pageByLimits)],
  ['status', v.strictObject(pageByStatus)],
  ['pmbus', v.strictObject(pageByVolts)],
  ['hwmon', v.strictObject(byHwmon)],
  ['iio', v.strictObject(byIio)],
] as const;

export const BY_LINE_PAGE_OR_SENSOR = `${BY_LINE_OR_PAGE}, or ${BY_SENSOR}`;

/** How a rail is seen to be good. */
export const goodEntry = expects(
  'object',
  BY_LINE_PAGE_OR_SENSOR,
  '{ "pmbus": "vr_ddr", "page": 0, "minVolts": 1.14, "maxVolts": 1.26 }',
  choose(...SHOWN_BY),
);
