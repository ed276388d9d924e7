import * as v from 'valibot';

/**
 * The board file. This one schema gives the types, the defaults, the problems that `check` reports and
 * the JSON Schema that `schema` prints. Objects are strict: a key that is not described here is a problem.
 */

const CHOICES = Symbol('choices');

/** The alternatives of a schema made with `choose`, for the JSON Schema. */
export function choicesOf(schema: unknown): readonly v.GenericSchema[] | undefined {
  return (schema as { [CHOICES]?: readonly v.GenericSchema[] })[CHOICES];
}

/**
 * A union that picks its alternative by the key that only this one has, so that a problem is reported
 * against what the author meant and not against every alternative. Without such a key the first is taken.
 */
function choose<const Schemas extends readonly v.GenericSchema[]>(
  ...alternatives: { [Index in keyof Schemas]: readonly [key: string, schema: Schemas[Index]] }
) {
  const schemas = alternatives.map(([, schema]) => schema);
  const first = schemas[0] as v.GenericSchema;
  const schema = v.lazy((input) => {
    if (typeof input !== 'object' || input === null) return first;
    return alternatives.find(([key]) => key in input)?.[1] ?? first;
  });
  return Object.assign(schema, { [CHOICES]: schemas }) as unknown as v.GenericSchema<
    v.InferInput<Schemas[number]>,
    v.InferOutput<Schemas[number]>
  >;
}

const name = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9_.+-]*$/, 'must be letters, digits and _ . + - only'),
);
const text = v.pipe(v.string(), v.minLength(1, 'must not be empty'));
const durationMs = v.pipe(
  v.number(),
  v.integer('must be a whole number of milliseconds'),
  v.minValue(0, 'must not be negative'),
  v.maxValue(600_000, 'must be at most 600000 (ten minutes)'),
);
const timeoutMs = v.pipe(
  v.number(),
  v.integer('must be a whole number of milliseconds'),
  v.minValue(1, 'must be at least 1'),
  v.maxValue(600_000, 'must be at most 600000 (ten minutes)'),
);
const volts = v.pipe(
  v.number(),
  v.minValue(0, 'must not be negative'),
  v.maxValue(100, 'must be at most 100'),
);
const active = v.optional(v.picklist(['high', 'low']), 'high');

const chipLine = {
  chip: v.pipe(text, v.description('Label of the GPIO chip, as in /sys/class/gpio/gpiochip*/label')),
  line: v.pipe(
    v.union(
      [v.pipe(v.number(), v.integer(), v.minValue(0)), v.pipe(v.string(), v.regex(/^[A-Z]{1,2}[0-7]$/))],
      'must be an offset such as 16 or an ASPEED port name such as "C0"',
    ),
    v.description('Offset in the chip, or ASPEED port name: port letter and bit 0 to 7'),
  ),
  active: v.pipe(active, v.description('The level that means asserted')),
};
const namedLine = {
  name: v.pipe(text, v.description('Name of the line in the device tree (gpio-line-names)')),
  active: v.pipe(active, v.description('The level that means asserted')),
};
const line = choose(['chip', v.strictObject(chipLine)], ['name', v.strictObject(namedLine)]);

const pmbusPage = {
  pmbus: v.pipe(name, v.description('Name of a device in "devices"')),
  page: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(31, 'must be 0 to 31')), 0),
};

const rail = v.strictObject({
  nominalVolts: v.optional(volts),
  enable: v.pipe(
    choose(
      ['chip', v.strictObject(chipLine)],
      ['name', v.strictObject(namedLine)],
      ['pmbus', v.strictObject(pmbusPage)],
    ),
    v.description('What switches the rail: a GPIO level, or OPERATION of a PMBus page'),
  ),
  good: v.pipe(
    v.optional(
      choose(
        ['chip', v.strictObject(chipLine)],
        ['name', v.strictObject(namedLine)],
        ['pmbus', v.strictObject({ ...pmbusPage, minVolts: volts, maxVolts: v.optional(volts) })],
      ),
    ),
    v.description(
      'How the rail is seen to be good: a line, or READ_VOUT within limits and POWER_GOOD# clear. ' +
        'Without it the rail counts as good settleMs after its enable, and the chassis pgood decides',
    ),
  ),
  needs: v.pipe(
    v.optional(v.array(name), []),
    v.description('Rails that must be good before this one is enabled, and that outlive it on the way down'),
  ),
  settleMs: v.pipe(
    v.optional(durationMs, 0),
    v.description('Time the rail must have been good before what needs it is enabled'),
  ),
  onTimeoutMs: v.pipe(v.optional(timeoutMs, 1000), v.description('Longest time from enable to good')),
  offTimeoutMs: v.pipe(
    v.optional(timeoutMs, 2000),
    v.description('Longest time from disable until the rail is no longer good'),
  ),
});

const pgoodTimes = {
  deglitchMs: v.pipe(
    v.optional(durationMs, 0),
    v.description('Time the level must stand before it is believed'),
  ),
  onTimeoutMs: v.pipe(
    v.optional(timeoutMs, 10_000),
    v.description('Longest time from the last enable until all rails and pgood are good'),
  ),
  offTimeoutMs: v.pipe(
    v.optional(timeoutMs, 10_000),
    v.description('Longest time from the last disable until pgood is gone'),
  ),
};
const resetTimes = {
  releaseDelayMs: v.pipe(
    v.optional(durationMs, 0),
    v.description('Time after pgood at which the reset is released'),
  ),
};
const latchTimes = {
  pulseMs: v.pipe(v.optional(durationMs, 1), v.description('Width of the pulse that latches the enables')),
};

const chassis = v.strictObject({
  rails: v.pipe(
    v.record(name, rail),
    v.check((rails) => Object.keys(rails).length > 0, 'must name at least one rail'),
  ),
  pgood: v.pipe(
    choose(
      ['chip', v.strictObject({ ...chipLine, ...pgoodTimes })],
      ['name', v.strictObject({ ...namedLine, ...pgoodTimes })],
    ),
    v.description('The signal that all rails are up'),
  ),
  resets: v.pipe(
    v.optional(
      v.record(
        name,
        choose(
          ['chip', v.strictObject({ ...chipLine, ...resetTimes })],
          ['name', v.strictObject({ ...namedLine, ...resetTimes })],
        ),
      ),
      {},
    ),
    v.description('Resets held asserted until pgood and asserted again before the power goes down'),
  ),
  latch: v.pipe(
    v.optional(
      choose(
        ['chip', v.strictObject({ ...chipLine, ...latchTimes })],
        ['name', v.strictObject({ ...namedLine, ...latchTimes })],
      ),
    ),
    v.description('Pulsed after the enables changed, so that they stand while the BMC restarts'),
  ),
  evidence: v.pipe(
    v.optional(v.array(name), []),
    v.description('Devices whose STATUS_WORD is read when the power fails, beside those of the rails'),
  ),
  minOffMs: v.pipe(
    v.optional(durationMs, 0),
    v.description('Shortest time the chassis stays off before it is powered on again'),
  ),
});

const device = v.strictObject({
  bus: v.pipe(
    v.union(
      [v.pipe(v.number(), v.integer(), v.minValue(0)), text],
      'must be a bus number or an adapter name',
    ),
    v.description('I2C bus: number, or adapter name as in /sys/class/i2c-dev/i2c-*/name'),
  ),
  address: v.pipe(
    v.string(),
    v.regex(/^0x[0-9a-fA-F]{2}$/, 'must be written like "0x60"'),
    v.check((address) => Number(address) >= 0x03 && Number(address) <= 0x77, 'must be 0x03 to 0x77'),
    v.description('7-bit address'),
  ),
  vout: v.pipe(
    v.optional(
      v.strictObject({
        m: v.pipe(v.number(), v.integer()),
        b: v.optional(v.pipe(v.number(), v.integer()), 0),
        r: v.pipe(v.number(), v.integer()),
      }),
    ),
    v.description(
      'Coefficients of a device whose VOUT_MODE says direct format (PMBus 1.3 part II, 7.4): volts = (raw * 10^-r - b) / m',
    ),
  ),
});

export const boardSchema = v.strictObject({
  $schema: v.optional(v.string()),
  name,
  description: v.optional(v.string()),
  devices: v.pipe(v.optional(v.record(name, device), {}), v.description('PMBus devices by name')),
  chassis: v.pipe(
    v.record(
      v.pipe(v.string(), v.regex(/^(0|[1-9][0-9]?)$/, 'must be a chassis number from 0 to 99')),
      chassis,
    ),
    v.check((all) => Object.keys(all).length > 0, 'must describe at least one chassis'),
    v.description('Chassis by number: the instance of the systemd units'),
  ),
});

export type Board = v.InferOutput<typeof boardSchema>;
export type ChassisBoard = v.InferOutput<typeof chassis>;
export type RailBoard = v.InferOutput<typeof rail>;
export type DeviceBoard = v.InferOutput<typeof device>;
export type LineBoard = v.InferOutput<typeof line>;
export type GoodBoard = NonNullable<RailBoard['good']>;
