import { errorText, HardwareError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { endsWithin, pause } from '../../hw/waiting.ts';
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

export function createReadings({ ended, ...given }: ReadingsOptions): Readings {
  const marked = new Set<Source>();
  const notWaitedFor = (source: Source) => void marked.add(source);
  const options: ReadOptions = { ...given, notWaitedFor, unanswered: new Set() };
  const underWay = new Map<Source, Promise<void>>();
  let isSleepMarked = false;
  let sleepUnderWay: Promise<void> | null = null;
  const { sleep } = options;

  const lookAtSleep = (of: SleepReading): void => {
    isSleepMarked = false;
    sleepUnderWay = readSleep(of, options, createPatience(options)).then((event) => {
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

interface ReadOptions extends Omit<ReadingsOptions, 'ended'> {
  /** It was to be told first, and was not read in time. */
  readonly notWaitedFor: (source: Source) => void;
  readonly unanswered: Set<Source | 'sleep'>;
}

/**
 * How long bad news waits for all that lines tell of it. They answer in some milliseconds. A chip that hangs does not, and what is
 * to go off for the news goes off all the same.
 */
const LINES_LIMIT_MS = 50;

/** Waits for readings of lines, until the time for them is over. What is not answered is not waited for by the next news either. */
interface Patience {
  /** Whether a reading of a line ends in that time. */
  endsInTime(of: Source | 'sleep', reading: Promise<unknown>): Promise<boolean>;
}

/** @param unanswered what is still being read that somebody had no time for */
function createPatience({ clock, unanswered }: Pick<ReadOptions, 'clock' | 'unanswered'>): Patience {
  let leftMs = LINES_LIMIT_MS;
  return {
    async endsInTime(of, reading) {
      if (unanswered.has(of)) {
        reading.catch(() => undefined);
        return false;
      }
      const fromMs = clock.nowMs();
      const isOver = await endsWithin(clock, leftMs, reading);
      leftMs = Math.max(0, leftMs - (clock.nowMs() - fromMs));
      if (isOver) return true;
      unanswered.add(of);
      const answered = () => void unanswered.delete(of);
      reading.then(answered, answered);
      return false;
    },
  };
}

/**
 * The level of a good signal as an event. Where that is bad news, whether the host has gone to sleep is told first, for it may have
 * switched itself off. Never rejects.
 */
async function readLevels(source: Source, options: ReadOptions): Promise<SequenceEvent[]> {
  const { sleep, clock } = options;
  const patience = createPatience(options);
  const events = await readWithNeeds(source, options, new Set(), patience);
  if (!sleep?.isAwaited() || events.every(isGoodNews)) return events;
  const slept = await readSleep(sleep, options, patience);
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
  { endsInTime }: Patience,
): Promise<EventOf<'HOST_SLEEP'>> {
  const seen = async (): Promise<SleepSeen> => {
    const asleep = hardware.readSleep();
    if (!(await endsInTime('sleep', asleep))) return 'unread';
    if (!(await asleep)) return 'awake';
    for (const source of stands) {
      const good = hardware.readGood(source);
      if (!hardware.asksBus(source) && !(await endsInTime(source, good))) return 'unread';
      if (!(await good)) return 'asleep';
    }
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
async function readWithNeeds(
  source: Source,
  options: ReadOptions,
  read: Set<Source>,
  patience: Patience,
): Promise<LevelEvent[]> {
  const { hardware, clock, tellsOf, notWaitedFor } = options;
  read.add(source);
  const event = await readLevel(source, options);
  const first = isGoodNews(event) ? [] : tellsOf(event);
  const events: LevelEvent[] = [];
  for (const other of first) {
    if (read.has(other)) continue;
    const reading = readWithNeeds(other, options, read, patience);
    if (hardware.asksBus(other) || (await patience.endsInTime(other, reading)))
      events.push(...(await reading));
    else notWaitedFor(other);
  }
  return events.length === 0 ? [event] : [...events, { ...event, atMs: clock.nowMs() }];
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
