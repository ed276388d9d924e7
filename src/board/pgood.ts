import * as v from 'valibot';
import { BY_LINE_PAGE_OR_SENSOR, pageByLimits, pageByStatus, pageByVolts, SHOWN_BY } from './good.ts';
import { BY_PROPERTY, byProperty } from './property.ts';
import { byHwmon, byIio } from './sensor.ts';
import { chipLine, choose, expects, milliseconds, namedLine, timeoutMs } from './values.ts';

/** A lost power good is acted on only when it has stood for the de-glitch time. */
const LONGEST_DEGLITCH_MS = 10_000;

const ON_TIMEOUT_MS = 10_000;
const OFF_TIMEOUT_MS = 10_000;

const times = {
  deglitchMs: v.pipe(
    v.optional(milliseconds(0, LONGEST_DEGLITCH_MS, '5'), 0),
    v.description('Time the level must stand before it is believed'),
  ),
  onTimeoutMs: v.pipe(
    v.optional(timeoutMs, ON_TIMEOUT_MS),
    v.description('Longest time from the last enable until all rails and pgood are good'),
  ),
  offTimeoutMs: v.pipe(
    v.optional(timeoutMs, OFF_TIMEOUT_MS),
    v.description('Longest time from the last disable until pgood is gone'),
  ),
};

const rails = {
  rails: v.pipe(
    expects('truth', 'true', 'true', v.literal(true)),
    v.description(
      'Every rail is good. One without a signal is as good as its enable reads; on a board with a latch, where an enable tells nothing, it does not count',
    ),
  ),
};

const LINE = '{ "chip": "1e780000.gpio", "line": "B7" }';
const PAGE = '{ "pmbus": "vr_ddr", "page": 0, "minVolts": 1.14, "maxVolts": 1.26 }';
const BY_SOURCE = `${BY_LINE_PAGE_OR_SENSOR}, or ${BY_PROPERTY}, or the rails, by "rails"`;

const source = expects(
  'object',
  BY_SOURCE,
  LINE,
  choose(...SHOWN_BY, ['dbus', v.strictObject(byProperty)], ['rails', v.strictObject(rails)]),
);
const sources = expects('list', 'a list of signals, at least one', `[${LINE}, ${PAGE}]`, v.array(source));
const all = { all: v.pipe(sources, v.description('Good while all of these are')) };
const any = { any: v.pipe(sources, v.description('Good while any of these is')) };

/** What shows that all rails of a chassis are up. */
export const pgood = expects(
  'object',
  `${BY_SOURCE}, or several of these, by "all" or "any"`,
  LINE,
  choose(
    ['chip', v.strictObject({ ...chipLine, ...times })],
    ['name', v.strictObject({ ...namedLine, ...times })],
    ['limits', v.strictObject({ ...pageByLimits, ...times })],
    ['status', v.strictObject({ ...pageByStatus, ...times })],
    ['pmbus', v.strictObject({ ...pageByVolts, ...times })],
    ['hwmon', v.strictObject({ ...byHwmon, ...times })],
    ['iio', v.strictObject({ ...byIio, ...times })],
    ['dbus', v.strictObject({ ...byProperty, ...times })],
    ['rails', v.strictObject({ ...rails, ...times })],
    ['all', v.strictObject({ ...all, ...times })],
    ['any', v.strictObject({ ...any, ...times })],
  ),
);
/** What a board means that says nothing of pgood. */
export const PGOOD_OF_RAILS = {
  rails: true,
  deglitchMs: 0,
  onTimeoutMs: ON_TIMEOUT_MS,
  offTimeoutMs: OFF_TIMEOUT_MS,
} as const;

export type PgoodBoard = v.InferOutput<typeof pgood>;
/** One of several, or the only one. */
export type PgoodSource = v.InferOutput<typeof source>;
