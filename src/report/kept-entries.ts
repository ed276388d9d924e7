import type { Happening, Recorded, RunRecord } from '../run/record.ts';
import { isCause } from '../sequence/causes.ts';
import { STATE_WORDS } from './words.ts';

/** Whether a value is what an entry has in that place. */
type Is = (value: unknown) => boolean;

const text: Is = (value) => typeof value === 'string';
const truth: Is = (value) => typeof value === 'boolean';
const number: Is = (value) => typeof value === 'number' && Number.isFinite(value);
const state: Is = (value) => typeof value === 'string' && Object.hasOwn(STATE_WORDS, value);
const orNull =
  (is: Is): Is =>
  (value) =>
    value === null || is(value);
const orAbsent =
  (is: Is): Is =>
  (value) =>
    value === undefined || is(value);
const listOf =
  (is: Is): Is =>
  (value) =>
    Array.isArray(value) && value.every(is);
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const recordOf =
  (is: Is): Is =>
  (value) =>
    isRecord(value) && Object.values(value).every(is);
const has =
  (shape: Readonly<Record<string, Is>>): Is =>
  (value) =>
    isRecord(value) && Object.entries(shape).every(([key, is]) => is(value[key]));

const evidence = has({
  device: text,
  page: orNull(number),
  status: listOf(has({ register: text, value: number, bits: listOf(has({ means: text })) })),
  voutVolts: orNull(number),
  voltsBefore: orNull(number),
  limits: listOf(has({ limit: text, volts: number, wrong: text, passed: orNull(truth) })),
  error: orNull(text),
});

/** What is shown of each kind of entry. */
const SHAPES: Readonly<Record<Happening['type'], Is>> = {
  reconciled: has({
    state,
    hint: orNull(state),
    rails: recordOf(has({ enabled: truth, good: truth })),
    pgood: truth,
    resetsAsserted: recordOf(truth),
    unread: orAbsent(listOf(has({ signal: text }))),
  }),
  absent: has({ rails: listOf(text) }),
  request: has({ request: text, outcome: text, reason: text }),
  state: has({ to: state }),
  enable: has({ rail: text, asserted: truth }),
  reset: has({ reset: text, asserted: truth }),
  latch: has({}),
  rail: has({ rail: text, phase: text, good: truth }),
  pgood: has({ level: truth }),
  hostOff: has({ rail: text }),
  missed: has({ rail: text, reason: text }),
  fault: has({ fault: has({ reason: text, rail: orNull(text) }) }),
  driveFailed: has({ reason: text }),
  readFailed: has({ reason: text }),
  evidence: has({ evidence: listOf(evidence) }),
  diagnosis: has({
    diagnosis: has({ rail: orNull(text), cause: isCause, because: text, unread: listOf(text) }),
  }),
  warning: has({ message: text }),
};

/**
 * The entries of a kept run, as a run tells them. One that an older or newer program wrote, or that somebody has edited, and that says
 * nothing here, is passed over.
 */
export function entriesOf({ trace }: Pick<RunRecord, 'trace'>): readonly Recorded[] {
  return trace.filter(isRecorded);
}

function isRecorded(entry: RunRecord['trace'][number]): entry is RunRecord['trace'][number] & Recorded {
  return Object.hasOwn(SHAPES, entry.type) && SHAPES[entry.type as Happening['type']](entry);
}
