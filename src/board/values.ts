import * as v from 'valibot';
import { PRINTABLE } from '../printable.ts';
import { BOARD_RULES } from './rules.ts';

/** What the places of a board file take: the pieces that its schema is made of, each with the words for it. */

const ALTERNATIVES = Symbol('alternatives');

type Alternatives = readonly (readonly [key: string, schema: v.GenericSchema])[];

/** The alternatives of a schema made with `choose`, each with the key that picks it. */
export function alternativesOf(schema: unknown): Alternatives | undefined {
  return (schema as { [ALTERNATIVES]?: Alternatives })[ALTERNATIVES];
}

/**
 * A union of objects that each have a key of their own. That key picks the alternative, so that problems are reported
 * against what the author meant and not against every alternative. Without such a key the first alternative is taken.
 */
export function choose<const Schemas extends readonly v.GenericSchema[]>(
  ...alternatives: { [Index in keyof Schemas]: readonly [key: string, schema: Schemas[Index]] }
) {
  const first = alternatives[0]?.[1] as v.GenericSchema;
  const schema = v.lazy((input) => {
    if (typeof input !== 'object' || input === null) return first;
    return alternatives.find(([key]) => Object.hasOwn(input, key))?.[1] ?? first;
  });
  return Object.assign(schema, { [ALTERNATIVES]: alternatives }) as unknown as v.GenericSchema<
    v.InferInput<Schemas[number]>,
    v.InferOutput<Schemas[number]>
  >;
}

const EXPECTATION = Symbol('expectation');

/** The kind of value that a place takes; suggestions depend on it. */
export type ValueKind =
  | 'name'
  | 'chassis'
  | 'text'
  | 'ms'
  | 'volts'
  | 'integer'
  | 'level'
  | 'choice'
  | 'truth'
  | 'line'
  | 'bus'
  | 'address'
  | 'object'
  | 'list';

/** What a place of the board file takes, in words for people. */
export interface Expectation {
  readonly kind: ValueKind;
  /** What is to be written there: "a whole number of milliseconds from 0 to 600000". */
  readonly wanted: string;
  /** As it could stand in a file. */
  readonly example: string;
}

/** Gives a schema the words for what it takes. */
export function expects<Schema extends v.GenericSchema>(
  kind: ValueKind,
  wanted: string,
  example: string,
  schema: Schema,
): Schema {
  return Object.assign(schema, { [EXPECTATION]: { kind, wanted, example } satisfies Expectation });
}

/** The expectation that was given to a schema, or to the one that `v.pipe` made this one of. */
export function expectationOf(schema: unknown): Expectation | undefined {
  return (schema as { [EXPECTATION]?: Expectation })[EXPECTATION];
}

export const nameLike = (example: string) =>
  expects(
    'name',
    'a name of letters, digits and _ . + - that begins with a letter or a digit',
    example,
    v.pipe(
      v.string(),
      v.regex(/^[A-Za-z0-9][A-Za-z0-9_.+-]*$/),
      v.check(BOARD_RULES.isFreeName, 'is a name that JavaScript has for itself'),
    ),
  );
export const name = nameLike('"P3V3"');
export const deviceName = nameLike('"vr_ddr"');
/** What names of others are printed as they are, so they have no character that commands a terminal or turns a line around. */
export const text = (wanted: string, example: string) =>
  expects('text', wanted, example, v.pipe(v.string(), v.minLength(1), v.regex(PRINTABLE)));

/** The adapter of an I2C bus. None has a number as its name: a text of digits is a number in quotes. */
const ADAPTER = new RegExp(`(?=.*\\D)${PRINTABLE.source}`);

/** Ten minutes. `checkTimeBudgets` limits the sum of the times of a chassis. */
const LONGEST_MS = 600_000;

export const milliseconds = (least: number, most: number, example: string) =>
  expects(
    'ms',
    `a whole number of milliseconds from ${least} to ${most}`,
    example,
    v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most)),
  );
export const durationMs = milliseconds(0, LONGEST_MS, '10');
export const timeoutMs = milliseconds(1, LONGEST_MS, '500');
export const volts = expects(
  'volts',
  'a number of volts from 0 to 100',
  '3.3',
  v.pipe(v.number(), v.minValue(0), v.maxValue(100)),
);
const active = v.optional(expects('level', '"high" or "low"', '"low"', v.picklist(['high', 'low'])), 'high');
/** A coefficient of the direct format, a signed number of so many bits (PMBus 1.3 part II, 7.4). */
export const coefficient = (letter: string, bits: number, example: string) => {
  const limit = 2 ** (bits - 1);
  return expects(
    'integer',
    `the coefficient ${letter}, a whole number from ${-limit} to ${limit - 1}`,
    example,
    v.pipe(v.number(), v.integer(), v.minValue(-limit), v.maxValue(limit - 1)),
  );
};

export const chipLine = {
  chip: v.pipe(
    text('the label of a GPIO chip, or the name or path of its device', '"1e780000.gpio"'),
    v.description(
      'GPIO chip: its label, as in /sys/class/gpio/gpiochip*/label; or, where labels follow the order in which chips are ' +
        'found, as gpio-32-63 does, the name of its device (4804c000.gpio), or the path that gpiochip*/device or, in the ' +
        'device tree, gpiochip*/device/of_node leads to (/ahb/apb/gpio@1e780000)',
    ),
  ),
  line: v.pipe(
    expects(
      'line',
      'an offset in the chip such as 16, or an ASPEED port name such as "C0" (letters and a bit from 0 to 7)',
      '"C0"',
      v.union([
        v.pipe(v.number(), v.integer(), v.minValue(0)),
        v.pipe(v.string(), v.regex(/^[A-Z]{1,2}[0-7]$/)),
      ]),
    ),
    v.description('Offset in the chip, or ASPEED port name: port letter and bit 0 to 7'),
  ),
  active: v.pipe(active, v.description('The level that means asserted')),
};
export const namedLine = {
  name: v.pipe(
    text('the name of a line', '"power-chassis-control"'),
    v.description('Name of the line in the device tree (gpio-line-names)'),
  ),
  active: v.pipe(active, v.description('The level that means asserted')),
};
export const CHIP_LINE = '{ "chip": "1e780000.gpio", "line": "C0" }';
const BY_LINE = 'a line, by "chip" and "line" or by "name"';
export const BY_LINE_OR_PAGE = `${BY_LINE}, or a PMBus page, by "pmbus" and "page"`;
/** A line of the board with what belongs to its role. */
export const lineWith = <const Entries extends v.ObjectEntries>(entries: Entries, example: string) =>
  expects(
    'object',
    BY_LINE,
    example,
    choose(
      ['chip', v.strictObject({ ...chipLine, ...entries })],
      ['name', v.strictObject({ ...namedLine, ...entries })],
    ),
  );
export const line = lineWith({}, CHIP_LINE);

export const pmbusPage = {
  pmbus: v.pipe(deviceName, v.description('Name of a device in "devices"')),
  page: v.pipe(
    v.optional(
      expects(
        'integer',
        'a page of the device, a whole number from 0 to 31',
        '0',
        v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(31)),
      ),
      0,
    ),
    v.description('Page of a device with several outputs'),
  ),
};

export const voltageWindow = {
  minVolts: v.pipe(volts, v.description('Least voltage of a rail that is good')),
  maxVolts: v.pipe(
    v.optional(volts),
    v.description('Greatest voltage of a rail that is good; without it there is none'),
  ),
};

/** Where an I2C device is. */
export const i2cPlace = {
  bus: v.pipe(
    expects(
      'bus',
      'a bus number such as 3, or the name of an adapter',
      '3',
      v.union([v.pipe(v.number(), v.integer(), v.minValue(0)), v.pipe(v.string(), v.regex(ADAPTER))]),
    ),
    v.description('I2C bus: number, or adapter name as in /sys/class/i2c-dev/i2c-*/name'),
  ),
  address: v.pipe(
    expects(
      'address',
      'a 7-bit address as a text from "0x03" to "0x77"',
      '"0x60"',
      v.pipe(v.string(), v.regex(/^0x[0-9a-fA-F]{2}$/), v.check(BOARD_RULES.isAddress, 'is out of range')),
    ),
    v.description('7-bit address'),
  ),
};
