import { errorText, HardwareError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import type { EventOf, SequenceEvent, SleepSeen } from '../sequence/events.ts';
import { codeOf } from './drives.ts';
import type { ChassisHardware, Source } from './hardware.ts';
import { ONCE_MORE_MS } from './parts.ts';
import type { Recording } from './recording.ts';

/** Reads good signals, several at a time but each one once: a slow bus holds up nothing but what waits for its answer. */
export interface Readings {
  /** The signal may have another level than the sequence knows of. */
  mark(source: Source): void;
  /** The host may have gone to sleep. */
  markSleep(): void;
  /** Begins to read what was marked and what is `due`, pgood first; what `mustWait` says stays marked. */
  begin(due: Iterable<Source>, mustWait: (source: Source) => boolean): void;
  /** Reads a rail for whoever has to know now; the events are the caller's. */
  ask(rail: string): Promise<SequenceEvent[]>;
  isUnderWay(): boolean;
  /** Resolves when nothing is under way. */
  end(): Promise<void>;
}

/** How a host is seen to switch itself off. */
export interface SleepReading {
  /** What is to be good after it, where the host switches itself off. */
  readonly stands: readonly Source[];
  /** The chassis is on: otherwise nobody has to know. */
  readonly isAwaited: () => boolean;
}

/** What came of reading a good signal. */
export type LevelEvent = EventOf<'RAIL_LEVEL' | 'PGOOD_LEVEL' | 'READ_FAILED'>;

export interface ReadingsOptions {
  readonly hardware: ChassisHardware;
  readonly clock: Clock;
  readonly recording: Recording;
  /** A device that acknowledges nothing is asked once more before it counts: it may be storing its settings. */
  readonly isPatient: () => boolean;
  /** Rails that are to be read, and told first, where this is bad news. */
  readonly tellsOf: (event: LevelEvent) => readonly string[];
  /** Null where nothing shows it, or nobody waits for it. */
  readonly sleep: SleepReading | null;
  readonly ended: (events: readonly SequenceEvent[]) => void;
}

export function createReadings({ ended, ...options }: ReadingsOptions): Readings {
  const marked = new Set<Source>();
  const underWay = new Map<Source, Promise<void>>();
  let isSleepMarked = false;
  let sleepUnderWay: Promise<void> | null = null;
  const { sleep } = options;

  const lookAtSleep = (of: SleepReading): void => {
    isSleepMarked = false;
    sleepUnderWay = readSleep(of, options).then((event) => {
      sleepUnderWay = null;
      ended([event]);
    });
  };
  const read = (source: Source): void => {
    marked.delete(source);
    const reading = readLevels(source, options).then((events) => {
      underWay.delete(source);
      ended(events);
    });
    underWay.set(source, reading);
  };

  return {
    mark: (source) => void marked.add(source),
    markSleep() {
      isSleepMarked = true;
    },
    begin(due, mustWait) {
      if (isSleepMarked && sleepUnderWay === null && sleep?.isAwaited()) lookAtSleep(sleep);
      const wanted = new Set([...marked, ...due]);
      for (const source of [null, ...wanted]) {
        if (wanted.has(source) && !underWay.has(source) && !mustWait(source)) read(source);
      }
    },
    ask: (rail) => readLevels(rail, options),
    isUnderWay: () => underWay.size > 0 || sleepUnderWay !== null,
    async end() {
      await Promise.all([...underWay.values(), sleepUnderWay]);
    },
  };
}

type ReadOptions = Omit<ReadingsOptions, 'ended'>;

/**
 * The level of a good signal as an event. Where that is bad news, whether the host has gone to sleep is told first, for it may have
 * switched itself off. Never rejects.
 */
async function readLevels(source: Source, options: ReadOptions): Promise<SequenceEvent[]> {
  const { sleep, clock } = options;
  const events = await readWithNeeds(source, options, new Set());
  if (!sleep?.isAwaited() || events.every(isGoodNews)) return events;
  const slept = await readSleep(sleep, options);
  return [slept, ...events.map((event) => ({ ...event, atMs: clock.nowMs() }))];
}

function isGoodNews(event: LevelEvent): boolean {
  return event.type !== 'READ_FAILED' && event.good;
}

/**
 * Whether the host sleeps. Its power is read after that, and only so: what was good before may have gone first. Never
 * rejects.
 */
async function readSleep(
  { stands }: SleepReading,
  { hardware, clock }: Pick<ReadOptions, 'hardware' | 'clock'>,
): Promise<EventOf<'HOST_SLEEP'>> {
  const seen = async (): Promise<SleepSeen> => {
    if (!(await hardware.readSleep())) return 'awake';
    for (const source of stands) if (!(await hardware.readGood(source))) return 'asleep';
    return 'leaving';
  };
  const unread = (error: unknown): SleepSeen => {
    if (error instanceof HardwareError) return 'unread';
    throw error;
  };
  return { type: 'HOST_SLEEP', seen: await seen().catch(unread), atMs: clock.nowMs() };
}

/**
 * The level of a good signal as an event. Where that is bad news, what it hangs on is read as well, each signal once, and told
 * first: what went first is at fault, and not what went with it. Never rejects.
 */
async function readWithNeeds(source: Source, options: ReadOptions, read: Set<Source>): Promise<LevelEvent[]> {
  read.add(source);
  const event = await readLevel(source, options);
  const first = isGoodNews(event) ? [] : options.tellsOf(event);
  const events: LevelEvent[] = [];
  for (const other of first) {
    if (!read.has(other)) events.push(...(await readWithNeeds(other, options, read)));
  }
  return events.length === 0 ? [event] : [...events, { ...event, atMs: options.clock.nowMs() }];
}

/** What a device, or the driver that reads it, says while the device stores its settings. */
const MAY_BE_BUSY = ['I2C_NO_DEVICE', 'SENSOR_FAILED'];

/** The level of a good signal as an event. Never rejects. */
async function readLevel(
  source: Source,
  { hardware, clock, recording, isPatient }: ReadOptions,
): Promise<LevelEvent> {
  const askedMs = clock.nowMs();
  try {
    const good = await hardware.readGood(source).catch(async (error: unknown) => {
      if (!MAY_BE_BUSY.includes(codeOf(error)) || !isPatient()) throw error;
      await pause(clock, ONCE_MORE_MS);
      return hardware.readGood(source);
    });
    const times = { askedMs, atMs: clock.nowMs() };
    return source === null
      ? { type: 'PGOOD_LEVEL', good, ...times }
      : { type: 'RAIL_LEVEL', rail: source, good, ...times };
  } catch (error) {
    const failure = { reason: errorText(error), code: codeOf(error) };
    recording.record({ type: 'readFailed', what: source ?? 'pgood', ...failure });
    const signal = source === null ? 'pgood' : 'good';
    return { type: 'READ_FAILED', signal, rail: source, ...failure, askedMs, atMs: clock.nowMs() };
  }
}
