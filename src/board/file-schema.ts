import * as v from 'valibot';
import { boardEntries, CHASSIS, chassis, chassisEntries } from './schema.ts';
import { choose, expects, nameLike } from './values.ts';

/*
 * The board file as it is written: `boardSchema` with templates. `templates.ts` makes a board without templates of it, and
 * finds what is wrong with them; this schema is for editors and for the reference.
 */

/** A template: texts and keys may have patterns, and stand also where `chassis` has numbers. */
export const templateSchema = v.strictObject({
  ...chassisEntries.entries,
  devices: boardEntries.entries.devices,
});

const use = expects(
  'object',
  'a template, by "template"',
  '{ "template": "slot" }',
  v.strictObject({
    template: v.pipe(
      nameLike('"slot"'),
      v.description('Name of the template that the chassis is made of; all of it is there'),
    ),
    with: v.pipe(
      v.optional(
        expects(
          'object',
          'texts or whole numbers by name',
          '{ "port": "C", "bus": 3 }',
          v.record(
            v.pipe(v.string(), v.regex(/^(?!n$)[A-Za-z]\w*$/)),
            v.union([v.string(), v.pipe(v.number(), v.integer())]),
          ),
        ),
      ),
      v.description('Values for patterns of the template: {port} stands for the value of "port"'),
    ),
  }),
);

const USE = '{ "template": "slot" }';

export const fileSchema = expects(
  'object',
  'a board, with "name" and "chassis"',
  `{ "name": "my-board", "chassis": { "0": ${CHASSIS} } }`,
  v.strictObject({
    ...boardEntries.entries,
    templates: v.pipe(
      v.optional(
        expects(
          'object',
          'chassis with patterns by name, each as in "chassis", and "devices" as those of the board',
          '{ "slot": { "rails": { "P12V": { "enable": { "name": "slot{n}-p12v" } } }, "pgood": { "name": "slot{n}-pgood" } } }',
          v.record(nameLike('"slot"'), templateSchema),
        ),
      ),
      v.description(
        'What several equal chassis have. In its texts and names {n} is the number of the chassis, {n+1} and {n*8+3} are ' +
          'reckoned from it, and {port} is a value of "with"; a text that is one pattern and nothing else is a number ' +
          'where that is one',
      ),
    ),
    chassis: v.pipe(
      expects(
        'object',
        'the chassis by number, or by a range of numbers for those of a template; at least one',
        `{ "1-4": ${USE} }`,
        v.record(
          expects(
            'chassis',
            'a number from 0 to 99 or a range such as "1-4", in quotes',
            '"0"',
            v.pipe(v.string(), v.regex(/^(0|[1-9][0-9]?)(-[1-9][0-9]?)?$/)),
          ),
          choose(['rails', chassis], ['template', use]),
        ),
      ),
      v.description('Chassis by number: the instance of the systemd units'),
    ),
  }),
);
