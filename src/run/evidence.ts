import { errorText, isHang } from '../../hw/errors.ts';
import { isPassed, VOUT_LIMITS, type VoutLimit } from '../../hw/pmbus/limits.ts';
import type { PmbusPage } from '../../hw/pmbus/pmbus.ts';
import { sensorsToldBy } from '../../hw/pmbus/sensors.ts';
import {
  registersToldBy,
  STATUS_WORD,
  type StatusReading,
  statusReading,
  VOUT_BIT,
} from '../../hw/pmbus/status.ts';
import type { Clock } from '../../hw/ports.ts';
import { sensorLabel } from '../../hw/sensor-labels.ts';
import { sourcesOf } from '../board/pgood-sources.ts';
import type { ChassisBoard } from '../board/schema.ts';
import type { SensorPart } from '../board/sensor.ts';
import { sensorRef, sensorsOf } from '../board/sensor-ref.ts';

/** What a PMBus device, or an input of a chip that a kernel driver reads, says after a fault or when somebody asks. */
export interface Evidence {
  /** Of a chip: the input, and the chip as the board file names it. */
  readonly device: string;
  /** Null: an input of a chip, which has neither a status nor limits of its own here. */
  readonly page: number | null;
  /** Rails that it switches or shows, with what the board file takes for good. None: a device that only watches. */
  readonly rails: Readonly<Record<string, BoardLimits>>;
  readonly statusWord: number | null;
  /** STATUS_WORD with the names of its bits, and each register that it says has something to tell. */
  readonly status: readonly StatusReading[];
  readonly voutVolts: number | null;
  /** Of a page that is suspect: the voltage that its rail was last seen with while it was on. Else null. */
  readonly voltsBefore: number | null;
  /** Of a page that is suspect: its rail failed, or its STATUS_WORD speaks of its voltage. Of every page where no rail is known to have failed. */
  readonly limits: readonly LimitReading[];
  /** Everything that was asked for, as it was answered, by the name of its register: bits of a status, a voltage, a sensor. */
  readonly readings: Readonly<Record<string, Item<number | null>>>;
  /** Why a register could not be read, null when all were that a device has to have. */
  readonly error: string | null;
}

/** One thing that was read, or why it could not be. */
export type Item<T> = { readonly value: T } | { readonly error: string };

export interface BoardLimits {
  readonly minVolts?: number | undefined;
  readonly maxVolts?: number | undefined;
}

/** A limit that the device has of its own. */
export interface LimitReading {
  readonly limit: string;
  readonly volts: number;
  /** On which side of it the voltage is wrong. */
  readonly wrong: VoutLimit['wrong'];
  /** Whether the voltage was on that side; null where nobody had looked at it while the rail was on. */
  readonly passed: boolean | null;
}

/** Evidence that takes longer than this is given up: what fails next must not wait for a device that is sick. */
export const EVIDENCE_LIMIT_MS = 5_000;

/** What is known of the fault. */
export interface FaultKnown {
  /** That failed, null where none did. */
  readonly rail: string | null;
  /** By rail. */
  readonly voltsBefore: ReadonlyMap<string, number | null>;
}

interface EvidencePage {
  readonly device: string;
  readonly page: number;
  /** Rails that it switches or shows. */
  readonly rails: Map<string, BoardLimits>;
}

/** How the evidence of a chassis is had. */
export interface EvidenceSources {
  openPage(device: string, page: number): Promise<PmbusPage>;
  readSensor(sensor: SensorPart): Promise<number>;
}

/**
 * Every PMBus page of the chassis, the first one of its evidence devices, and every voltage that a kernel driver reads; never
 * rejects. A device without power is not asked: what it knew is lost.
 * @param known null where nothing failed: every page is asked for its limits then
 * @param missingPowerOf the rail without which a device has no power now, null where it has
 */
export async function readEvidence(
  chassis: ChassisBoard,
  { openPage, readSensor }: EvidenceSources,
  known: FaultKnown | null,
  missingPowerOf: (device: string) => Promise<string | null>,
  clock: Pick<Clock, 'nowMs'>,
): Promise<Evidence[]> {
  const found: Evidence[] = [];
  const deadlineMs = clock.nowMs() + EVIDENCE_LIMIT_MS;
  const isLate = () => clock.nowMs() >= deadlineMs;
  for (const { device, page, rails } of pagesOf(chassis)) {
    const place = { device, page, rails: Object.fromEntries(rails) };
    const { before, isBlamed } = knownOf([...rails.keys()], known);
    const missing = isLate() ? null : await missingPowerOf(device);
    if (missing !== null) {
      const lastVolts = isBlamed ? before : null;
      found.push({ ...place, ...NOTHING_ASKED, voltsBefore: lastVolts, error: noPower(missing) });
      continue;
    }
    const read = createReader(() => openPage(device, page), isLate);
    const answered = await readPage(read, before, isBlamed);
    found.push({ ...place, ...answered, readings: read.readings(), error: read.error() });
  }
  for (const { rail, sensor } of sensorsOf(chassis)) {
    const { minVolts, maxVolts } = sensor;
    // One of pgood shows no rail.
    const rails = rail === null ? {} : { [rail]: { minVolts, maxVolts } };
    const { before, isBlamed } = knownOf(Object.keys(rails), known);
    const read = createReader(async () => sensor, isLate);
    const { input } = sensorRef(sensor);
    const voutVolts = await read.need(input, readSensor);
    found.push({
      device: sensorLabel(sensorRef(sensor)),
      page: null,
      rails,
      ...NOTHING_READ,
      voutVolts,
      voltsBefore: isBlamed ? before : null,
      readings: read.readings(),
      error: read.error(),
    });
  }
  return found;
}

/** Whether one of the rails may have failed, and the voltage that one was last seen with while it was on. */
function knownOf(rails: readonly string[], known: FaultKnown | null) {
  const before = rails.map((rail) => known?.voltsBefore.get(rail) ?? null).find((volts) => volts !== null);
  const isBlamed = known === null || known.rail === null || rails.includes(known.rail);
  return { before: before ?? null, isBlamed };
}

const NOTHING_READ = { statusWord: null, status: [], voutVolts: null, limits: [] } as const;
const NOTHING_ASKED = { ...NOTHING_READ, readings: {} } as const;

function noPower(rail: string): string {
  return `not asked: it has no power, rail ${rail} is not good`;
}

function pagesOf({ rails, pgood, evidence }: ChassisBoard): Iterable<EvidencePage> {
  const pages = new Map<string, EvidencePage>();
  const add = (device: string, page: number): EvidencePage => {
    const key = `${device}/${page}`;
    const known = pages.get(key) ?? { device, page, rails: new Map() };
    pages.set(key, known);
    return known;
  };
  for (const [rail, { enable, good }] of Object.entries(rails)) {
    if (enable && 'pmbus' in enable) add(enable.pmbus, enable.page).rails.set(rail, {});
    if (good && 'pmbus' in good) {
      const limits = 'minVolts' in good ? { minVolts: good.minVolts, maxVolts: good.maxVolts } : {};
      add(good.pmbus, good.page).rails.set(rail, limits);
    }
  }
  for (const { source } of sourcesOf(pgood)) if ('pmbus' in source) add(source.pmbus, source.page);
  for (const device of evidence) add(device, 0);
  return pages.values();
}

async function readPage(
  read: Reader,
  lastVolts: number | null,
  isBlamed: boolean,
): Promise<Omit<Evidence, 'device' | 'page' | 'rails' | 'readings' | 'error'>> {
  const statusWord = await read.need(STATUS_WORD.name, (page) => page.statusWord());
  const isSuspect = isBlamed || ((statusWord ?? 0) & VOUT_BIT) !== 0;
  const voltsBefore = isSuspect ? lastVolts : null;
  // A device that does not even answer STATUS_WORD is asked for nothing else.
  if (statusWord === null) return { ...NOTHING_READ, voltsBefore };
  const status = [statusReading(STATUS_WORD, statusWord)];
  for (const register of registersToldBy(statusWord)) {
    const value = await read.need(register.name, (page) => page.readStatus(register));
    if (value !== null) status.push(statusReading(register, value));
  }
  for (const sensor of sensorsToldBy(statusWord))
    await read.want(sensor.name, (page) => page.readSensor(sensor));
  const voutVolts = await read.need('READ_VOUT', (page) => page.readVoutVolts());
  const limits = isSuspect ? await readLimits(read, voltsBefore) : [];
  return { statusWord, status, voutVolts, voltsBefore, limits };
}

/** @param voltsBefore what is read now, when every enable is off, says nothing of the time when the rail was on */
async function readLimits(read: Reader, voltsBefore: number | null): Promise<LimitReading[]> {
  const limits: LimitReading[] = [];
  for (const limit of VOUT_LIMITS) {
    const volts = await read.want(limit.name, (page) => page.readLimitVolts(limit));
    if (volts === null) continue;
    const passed = voltsBefore === null ? null : isPassed(limit, volts, voltsBefore);
    limits.push({ limit: limit.name, volts, wrong: limit.wrong, passed });
  }
  return limits;
}

/** Reads registers of one page, or an input of a chip. Never rejects: one that cannot be read must not hide the others. */
interface Reader<From = PmbusPage> {
  /** One that cannot be read is itself evidence. */
  need(name: string, ask: (from: From) => Promise<number>): Promise<number | null>;
  /** One that devices may lack. */
  want(name: string, ask: (from: From) => Promise<number | null>): Promise<number | null>;
  /** All that was asked for so far. */
  readings(): Evidence['readings'];
  /** Why what was needed could not be read. */
  error(): string | null;
}

function createReader<From>(open: () => Promise<From>, isLate: () => boolean): Reader<From> {
  const readings: Record<string, Item<number | null>> = {};
  const errors: string[] = [];
  let hangs = false;
  let isOver = false;
  const tryRead = async (
    name: string,
    ask: (from: From) => Promise<number | null>,
    isNeeded: boolean,
  ): Promise<number | null> => {
    // A device that hangs is waited for once.
    if (hangs || isOver) return null;
    isOver = isLate();
    if (isOver) {
      errors.push(`the rest was not asked for: the evidence took more than ${EVIDENCE_LIMIT_MS} ms`);
      return null;
    }
    try {
      const value = await ask(await open());
      readings[name] = { value };
      return value;
    } catch (error) {
      hangs = isHang(error);
      readings[name] = { error: errorText(error) };
      if (isNeeded || hangs) errors.push(errorText(error));
      return null;
    }
  };
  return {
    need: (name, ask) => tryRead(name, ask, true),
    want: (name, ask) => tryRead(name, ask, false),
    readings: () => readings,
    error: () => (errors.length === 0 ? null : errors.join('; ')),
  };
}
