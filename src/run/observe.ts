import { HardwareError, type HardwareErrorCode } from '../../hw/errors.ts';
import type { Observation, SignalRef } from '../sequence/state.ts';
import { located, type Signal, type Switch } from './parts.ts';

export interface Observed {
  /**
   * What could not be read is taken for what leaves most to be done by a power-off: an enable for asserted,
   * a good signal for not good, a reset for released.
   */
  readonly observation: Observation;
  readonly unreadable: readonly Unreadable[];
}

/** A signal that could not be read. */
export interface Unreadable extends SignalRef {
  /** Names the signal and not the chassis: one clause of a message that does. */
  readonly reason: string;
  /** To be thrown: names the chassis as well. */
  readonly error: HardwareError;
}

/** What a device that stores its settings and a bus that another master has answer for a while. */
const MAY_PASS: readonly HardwareErrorCode[] = [
  'I2C_NO_DEVICE',
  'I2C_TIMEOUT',
  'I2C_BUSY',
  'I2C_PEC',
  'I2C_FAILED',
];
/** Whether it is worth reading again. */
export const mayPass = ({ code }: HardwareError): boolean => MAY_PASS.includes(code);
/** Of a chassis that may be on, before it counts as one that cannot be read: eight seconds are left for a BMC that starts. */
export const READINGS = 5;
export const READ_AGAIN_MS = 2_000;

/** The parts of a chassis that are read, in the order of the board. */
export interface ReadParts {
  readonly enables: ReadonlyMap<string, Switch>;
  readonly goods: ReadonlyMap<string, Signal>;
  readonly resets: ReadonlyMap<string, Switch>;
  readonly pgood: Signal;
}

/** One part to be read, and what it is taken for where it cannot be. */
interface Question extends SignalRef {
  readonly part: Pick<Switch, 'bus' | 'role' | 'read'>;
  readonly assumed: boolean;
}
interface Reply {
  readonly asserted: boolean;
  readonly error: HardwareError | null;
}

/**
 * Reads all parts: lines one after the other, beside them each bus, one of its parts after the other. A bus that does not
 * answer within the deadline of a transfer is asked for nothing more, so that all takes one such deadline at most.
 * @param ofChassis the error with the chassis named
 */
export async function observeParts(
  { enables, goods, resets, pgood }: ReadParts,
  ofChassis: (error: HardwareError) => HardwareError,
): Promise<Observed> {
  const questions: Question[] = [...enables].flatMap(([rail, enable]): Question[] => {
    const good = goods.get(rail);
    return [
      { signal: 'enable', rail, part: enable, assumed: true },
      ...(good ? [{ signal: 'good', rail, part: good, assumed: false } as const] : []),
    ];
  });
  for (const part of resets.values()) questions.push({ signal: 'reset', rail: null, part, assumed: false });
  questions.push({ signal: 'pgood', rail: null, part: pgood, assumed: false });

  const replies = new Map<Question['part'], Reply>();
  const buses = new Set(questions.map(({ part }) => part.bus));
  await Promise.all(
    [...buses].map((bus) =>
      askBus(
        questions.filter(({ part }) => part.bus === bus),
        replies,
      ),
    ),
  );

  const unreadable = questions.flatMap(({ signal, rail, part }): Unreadable[] => {
    const error = replies.get(part)?.error ?? null;
    return error === null ? [] : [{ signal, rail, reason: error.message, error: ofChassis(error) }];
  });
  const isAsserted = (part: Question['part']) => replies.get(part)?.asserted ?? false;
  const rails = [...enables].map(([rail, enable]) => {
    const good = goods.get(rail);
    const enabled = isAsserted(enable);
    return [rail, { enabled, good: good ? isAsserted(good) : enabled }] as const;
  });
  const observation = {
    rails: Object.fromEntries(rails),
    pgood: isAsserted(pgood),
    resetsAsserted: Object.fromEntries([...resets].map(([name, reset]) => [name, isAsserted(reset)])),
  };
  if (unreadable.length === 0) return { observation, unreadable };
  const unread = unreadable.map(({ signal, rail }) => ({ signal, rail }));
  return { observation: { ...observation, unread }, unreadable };
}

async function askBus(questions: readonly Question[], replies: Map<Question['part'], Reply>): Promise<void> {
  let hung: HardwareError | null = null;
  for (const { part, assumed } of questions) {
    if (hung !== null && part.bus !== null) {
      replies.set(part, { asserted: assumed, error: located(hung, part.role, { role: part.role }) });
      continue;
    }
    try {
      replies.set(part, { asserted: await part.read(), error: null });
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      replies.set(part, { asserted: assumed, error });
      // Without the role that it hit.
      if (error.code === 'I2C_TIMEOUT') hung = error.cause instanceof HardwareError ? error.cause : error;
    }
  }
}
