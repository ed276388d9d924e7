import { HardwareError, type HardwareErrorCode, isHang } from '../../hw/errors.ts';
import type { Plan } from '../sequence/plan.ts';
import type { Observation, SignalRef, Unpowered } from '../sequence/state.ts';
import { located, type Signal, type Switch } from './parts.ts';
import { type Asked, type PowerGood, type Said, verdict } from './power-good.ts';

export interface Observed {
  /**
   * What could not be read is taken for what leaves most to be done by a power-off: an enable for asserted,
   * a good signal for not good, a reset for released.
   */
  readonly observation: Observation;
  readonly unreadable: readonly Unreadable[];
  /** Where pgood has several: each by its role, null where it could not be read. */
  readonly pgoodSources: readonly PgoodSeen[];
}

/** One of several signals of pgood. */
export interface PgoodSeen {
  readonly role: string;
  readonly good: boolean | null;
  /** Why it could not be read; null where it was. */
  readonly reason: string | null;
}

/** A signal that could not be read. */
export interface Unreadable extends SignalRef {
  /** Names the signal and not the chassis: one clause of a message that does. */
  readonly reason: string;
  /** To be thrown: names the chassis as well. */
  readonly error: HardwareError;
}

/** What a device that stores its settings, a bus that another master has, and a service that starts anew answer for a while. */
const MAY_PASS: readonly HardwareErrorCode[] = [
  'GPIO_TIMEOUT',
  'I2C_NO_DEVICE',
  'I2C_TIMEOUT',
  'I2C_BUSY',
  'I2C_PEC',
  'I2C_FAILED',
  'SENSOR_TIMEOUT',
  'SENSOR_FAILED',
  'PROPERTY_UNREAD',
];
/** Whether it is worth reading again. */
export function mayPass(error: unknown): error is HardwareError {
  return error instanceof HardwareError && MAY_PASS.includes(error.code);
}
/** Of a chassis that may be on, before it counts as one that cannot be read: eight seconds are left for a BMC that starts. */
export const READINGS = 5;
export const READ_AGAIN_MS = 2_000;

/** The parts of a chassis that are read, in the order of the board. */
export interface ReadParts {
  /** Names of all rails. One that is only watched has no enable. */
  readonly rails: readonly string[];
  readonly enables: ReadonlyMap<string, Switch>;
  readonly goods: ReadonlyMap<string, Signal>;
  readonly resets: ReadonlyMap<string, Switch>;
  readonly pgood: PowerGood;
  /** What each rail needs. */
  readonly needs: ReadonlyMap<string, readonly string[]>;
}

/** One part to be read, and what it is taken for where it cannot be. */
interface Question extends SignalRef {
  readonly part: Pick<Switch, 'bus' | 'role' | 'poweredBy' | 'read'>;
  readonly assumed: boolean;
}
interface Reply {
  readonly asserted: boolean;
  readonly error: HardwareError | null;
  /** It was not asked for: the rail that powers the device is not good. */
  readonly unpowered?: true;
}
type Replies = ReadonlyMap<Question['part'], Reply>;

/**
 * Reads all parts: all lines at once, beside them each bus, one of its parts after the other. A bus that does not
 * answer within the deadline of a transfer is asked for nothing more, so that all takes one such deadline at most. What
 * has its power from a rail is read after that rail, and only where that rail is good or nobody can say: each rail of a
 * chain of such may add the deadline of its own bus.
 * @param ofChassis the error with the chassis named
 * @param isLatched enables that stand though their lines read otherwise: pgood then tells of rails without a signal
 */
export async function observeParts(
  parts: ReadParts,
  ofChassis: (error: HardwareError) => HardwareError,
  isLatched: boolean,
): Promise<Observed> {
  const { enables, goods, resets, pgood } = parts;
  const questions: Question[] = parts.rails.flatMap((rail): Question[] => {
    const enable = enables.get(rail);
    const good = goods.get(rail);
    return [
      ...(enable ? [{ signal: 'enable', rail, part: enable, assumed: true } as const] : []),
      ...(good ? [{ signal: 'good', rail, part: good, assumed: false } as const] : []),
    ];
  });
  for (const part of resets.values()) questions.push({ signal: 'reset', rail: null, part, assumed: false });
  for (const part of pgood.own) questions.push({ signal: 'pgood', rail: null, part, assumed: false });

  const { replies, asked } = await askAll(questions, parts, isLatched);

  const saidOf = (part: Asked): Said | undefined => replies.get(part)?.error ?? replies.get(part)?.asserted;
  const isPgood = verdict(pgood.whole, saidOf);
  const unread = (error: HardwareError, { signal, rail }: SignalRef): Unreadable => {
    return { signal, rail, reason: error.message, error: ofChassis(error) };
  };
  const unreadable = asked.flatMap((question): Unreadable[] => {
    const error = replies.get(question.part)?.error ?? null;
    // Of several signals of pgood one may not matter.
    const counts = question.signal !== 'pgood' || isPgood === error;
    return error === null || !counts ? [] : [unread(error, question)];
  });
  if (isPgood instanceof HardwareError && !unreadable.some(({ signal }) => signal === 'pgood')) {
    unreadable.push(unread(located(isPgood, 'pgood', { role: 'pgood' }), { signal: 'pgood', rail: null }));
  }
  const unpowered = asked.flatMap(({ signal, rail, part: { poweredBy }, part }): Unpowered[] =>
    poweredBy !== null && replies.get(part)?.unpowered ? [{ signal, rail, poweredBy }] : [],
  );
  const isAsserted = (part: Question['part'] | undefined) => (part && replies.get(part)?.asserted) ?? false;
  // What has only one of the two is as enabled as it is good.
  const rails = parts.rails.map((rail) => {
    const enable = enables.get(rail);
    const good = goods.get(rail);
    return [rail, { enabled: isAsserted(enable ?? good), good: isAsserted(good ?? enable) }] as const;
  });
  const refs = unreadable.map(({ signal, rail }) => ({ signal, rail }));
  const observation = {
    rails: Object.fromEntries(rails),
    pgood: isPgood === true,
    resetsAsserted: Object.fromEntries([...resets].map(([name, reset]) => [name, isAsserted(reset)])),
    ...(refs.length > 0 && { unread: refs }),
    ...(unpowered.length > 0 && { unpowered }),
  };
  const sources = pgood.own.length + pgood.rails.size > 1 ? pgood.own : [];
  const pgoodSources = sources.map((part): PgoodSeen => {
    const said = saidOf(part);
    if (said instanceof HardwareError) return { role: part.role, good: null, reason: said.message };
    return { role: part.role, good: said ?? null, reason: null };
  });
  return { observation, unreadable, pgoodSources };
}

/** @returns replies to all questions, and the questions in the order in which they were dealt with */
async function askAll(
  questions: readonly Question[],
  parts: ReadParts,
  isLatched: boolean,
): Promise<{ readonly replies: Replies; readonly asked: readonly Question[] }> {
  const replies = new Map<Question['part'], Reply>();
  const hung = new Map<Question['part']['bus'], HardwareError>();
  const asked: Question[] = [];
  for (let left = questions; left.length > 0; left = left.filter(({ part }) => !replies.has(part))) {
    const waiting = new Set(left.map(({ rail }) => rail));
    const ready = left.filter(({ part: { poweredBy } }) => poweredBy === null || !waiting.has(poweredBy));
    const next: Question[] = [];
    for (const question of ready) {
      const { poweredBy } = question.part;
      if (poweredBy === null || mayBeGood(poweredBy, parts, isLatched, replies)) next.push(question);
      else replies.set(question.part, { asserted: false, error: null, unpowered: true });
    }
    const buses = new Set(next.flatMap(({ part }) => part.bus ?? []));
    await Promise.all([
      ...next.filter(({ part }) => part.bus === null).map((line) => askBus([line], replies, hung)),
      ...[...buses].map((bus) => {
        const ofBus = next.filter(({ part }) => part.bus === bus);
        return askBus(ofBus, replies, hung);
      }),
    ]);
    asked.push(...ready);
  }
  return { replies, asked };
}

/** What keeps a chassis from being judged: what cannot be read, but for the signals of rails that it can do without. */
export function decisive({ rails }: Plan, unreadable: readonly Unreadable[]): readonly Unreadable[] {
  const isLogOnly = (name: string | null) => rails.some((rail) => rail.name === name && rail.isLogOnly);
  return unreadable.filter(({ signal, rail }) => signal !== 'good' || !isLogOnly(rail));
}

/** The rail was read to be good, or could not be read. One without a signal is as good as its enable and what it needs. */
function mayBeGood(rail: string, parts: ReadParts, isLatched: boolean, replies: Replies): boolean {
  const isOrMayBe = (part: Question['part'] | undefined) => {
    const reply = part && replies.get(part);
    return reply === undefined || reply.asserted || reply.error !== null;
  };
  const good = parts.goods.get(rail);
  if (good !== undefined) return isOrMayBe(good);
  const saidOf = (part: Asked): Said | undefined => replies.get(part)?.error ?? replies.get(part)?.asserted;
  const isSupplied = () =>
    (parts.needs.get(rail) ?? []).every((need) => mayBeGood(need, parts, isLatched, replies));
  return (
    (isOrMayBe(parts.enables.get(rail)) && isSupplied()) ||
    (isLatched && verdict(parts.pgood.whole, saidOf) !== false)
  );
}

async function askBus(
  questions: readonly Question[],
  replies: Map<Question['part'], Reply>,
  hungBuses: Map<Question['part']['bus'], HardwareError>,
): Promise<void> {
  for (const { part, assumed } of questions) {
    const hung = part.bus === null ? undefined : hungBuses.get(part.bus);
    if (hung !== undefined) {
      replies.set(part, { asserted: assumed, error: located(hung, part.role, { role: part.role }) });
      continue;
    }
    try {
      replies.set(part, { asserted: await part.read(), error: null });
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      replies.set(part, { asserted: assumed, error });
      // Without the role that it hit.
      if (isHang(error) && part.bus !== null) {
        hungBuses.set(part.bus, error.cause instanceof HardwareError ? error.cause : error);
      }
    }
  }
}
