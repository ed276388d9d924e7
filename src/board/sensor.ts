import * as v from 'valibot';
import { BOARD_RULES } from './rules.ts';
import { choose, expects, i2cPlace, text, volts } from './values.ts';

/** Voltages that a kernel driver reads: what is seen by one names its chip, its input, and the limits of what is good. */

const CHIP = {
  hwmon:
    'Chip: what its file name says, as in /sys/class/hwmon/hwmon*/name; or, where several have that name, the name of its device (1e6e9000.adc, 3-0060), ' +
    'or the path that hwmon*/device or, in the device tree, hwmon*/of_node leads to',
  iio:
    'Device: what its file name says, as in /sys/bus/iio/devices/iio:device*/name; or, where several have that name, the name of the ' +
    'device that it is of (1e6e9000.adc, 3-0060), or the path of that, or of its node in the device tree',
} as const;
const INPUT = {
  hwmon:
    'Input of the chip: in3 for what in3_input reads, in millivolts (Documentation/hwmon/sysfs-interface.rst of the kernel), or what its in3_label says',
  iio:
    'Input of the device: voltage3 for in_voltage3_raw with its offset and scale, which is in millivolts then (Documentation/ABI/testing/sysfs-bus-iio of the kernel), ' +
    'or what its in_voltage3_label says',
} as const;
const EXAMPLE = {
  hwmon: '{ "chip": "iio_hwmon", "input": "in3" }',
  iio: '{ "chip": "1e6e9000.adc", "input": "voltage3" }',
} as const;

function sensorOf(by: 'hwmon' | 'iio') {
  const example = EXAMPLE[by];
  const input = v.pipe(
    text('an input of the chip', by === 'hwmon' ? '"in3"' : '"voltage3"'),
    v.description(INPUT[by]),
  );
  const chip = v.pipe(
    text(
      'the name of a chip, or the name or path of its device',
      by === 'hwmon' ? '"iio_hwmon"' : '"1e6e9000.adc"',
    ),
    v.description(CHIP[by]),
  );
  return expects(
    'object',
    'an input, by "chip" and "input", or by "bus", "address" and "input"',
    example,
    choose(['chip', v.strictObject({ chip, input })], ['bus', v.strictObject({ ...i2cPlace, input })]),
  );
}

/** A divider that divides by more would leave nothing to measure. */
const MOST_TIMES = 1_000;

const limits = {
  multiply: v.pipe(
    v.optional(
      expects(
        'integer',
        `a number above 0, up to ${MOST_TIMES}`,
        '11',
        v.pipe(v.number(), v.check(BOARD_RULES.isAboveZero, 'is not above 0'), v.maxValue(MOST_TIMES)),
      ),
      1,
    ),
    v.description(
      'How many times the voltage at the input the rail has, where a divider is before it: (R1 + R2) / R2. Drivers know nothing of it',
    ),
  ),
  minVolts: v.pipe(
    expects(
      'volts',
      'a number of volts above 0, up to 100',
      '11.4',
      v.pipe(volts, v.check(BOARD_RULES.isAboveZero, 'would take a rail without voltage for good')),
    ),
    v.description('Least voltage of a rail that is good'),
  ),
  maxVolts: v.pipe(
    v.optional(volts),
    v.description('Greatest voltage of a rail that is good; without it there is none'),
  ),
};

export const byHwmon = {
  hwmon: v.pipe(
    sensorOf('hwmon'),
    v.description('Input of a chip whose driver shows it as hardware monitor (hwmon)'),
  ),
  ...limits,
};
export const byIio = {
  iio: v.pipe(sensorOf('iio'), v.description('Input of a converter whose driver shows it in IIO')),
  ...limits,
};

export const BY_SENSOR = 'a voltage that a kernel driver reads, by "hwmon" or "iio"';

const parts = { hwmon: v.strictObject(byHwmon), iio: v.strictObject(byIio) };
export type SensorPart = v.InferOutput<typeof parts.hwmon> | v.InferOutput<typeof parts.iio>;
