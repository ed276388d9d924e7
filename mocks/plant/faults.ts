import { isLine } from '../../src/board/lines.ts';
import { linesOfPgood, sourcesOf } from '../../src/board/pgood-sources.ts';
import type { Board, ChassisBoard, LineBoard, RailBoard } from '../../src/board/schema.ts';
import { isSensor } from '../../src/board/sensor-ref.ts';
import { didYouMean } from '../../src/near.ts';
import { lineKey } from './line-key.ts';

/** A line of the board, by its part in the chassis or by itself. */
export type FaultLine =
  | { readonly of: 'enable' | 'good' | 'state' | 'presence'; readonly rail: string }
  | { readonly of: 'latch' }
  /** Of several signals of pgood the one of this number; null: the first line. */
  | { readonly of: 'pgood'; readonly source: number | null }
  | { readonly of: 'reset'; readonly reset: string }
  /** Pin name, `chip/offset` or device-tree name, as it was written. */
  | { readonly of: 'board'; readonly text: string };

export type FaultEffect =
  | { readonly on: 'rail'; readonly rail: string; readonly does: 'neverGood' | 'droops' | 'shorts' }
  | { readonly on: 'rail'; readonly rail: string; readonly does: 'trips'; readonly over: TripCause }
  | {
      readonly on: 'rail';
      readonly rail: string;
      readonly does: 'slowRise' | 'slowFall';
      readonly extraMs: number;
    }
  | {
      readonly on: 'enable' | 'good' | 'button' | 'state';
      readonly rail: string;
      readonly does: 'stuckOn' | 'stuckOff';
    }
  /** The part that the rail is on is not there. */
  | { readonly on: 'part'; readonly rail: string; readonly does: 'absent' }
  /** What tells of that part. `hang`: the address is asked in vain. */
  | { readonly on: 'presence'; readonly rail: string; readonly does: 'stuckOn' | 'stuckOff' | 'hang' }
  | { readonly on: 'shutdown'; readonly rail: string; readonly does: 'ignored' }
  /** Its operating system shuts down, and nobody has asked the BMC. */
  | { readonly on: 'host'; readonly rail: string; readonly does: 'shutsDown' }
  /** Somebody presses a button of the front panel. */
  | { readonly on: 'panel'; readonly button: 'power' | 'reset'; readonly does: 'stuckOn' }
  | { readonly on: 'setup'; readonly rail: string; readonly does: 'ignored' | 'altered' }
  | {
      readonly on: 'pgood';
      /** Of several signals the one of this number; null: all. */
      readonly source: number | null;
      readonly does: 'stuckOn' | 'stuckOff' | 'inverts';
    }
  | {
      readonly on: 'i2c';
      readonly device: string;
      readonly does: 'nack' | 'hang' | 'busy' | 'noise';
      /** Transfers that it hits; null for all. */
      readonly times: number | null;
    }
  /** Another device is at its address: it is no other than before but for what it says that it is. */
  | { readonly on: 'device'; readonly device: string; readonly does: 'replaced' }
  /** What reads the voltage of the rail: `gone`, the driver of its chip. */
  | { readonly on: 'sensor'; readonly rail: string; readonly does: 'fails' | 'hangs' | 'gone' }
  | { readonly on: 'line'; readonly line: FaultLine; readonly does: 'busy' | LineTrouble }
  | { readonly on: 'gpio'; readonly does: LineTrouble };

/** `hangs`: the chip of the line, and with it all its lines. */
type LineTrouble = 'readError' | 'hangs' | 'noInterrupts';

/** Why a regulator switches itself off. */
export const TRIP_CAUSES = ['overvoltage', 'overcurrent', 'overtemperature', 'input'] as const;
export type TripCause = (typeof TRIP_CAUSES)[number];

/** What breaks, when, and for how long. Made by `parseFault`. */
export interface Fault {
  /** As it was written. */
  readonly text: string;
  /** Null: the first chassis of the plant. */
  readonly chassis: number | null;
  readonly effect: FaultEffect;
  /**
   * `start`: from the moment the fault is put in, which for the faults a plant is made with is its start.
   * `at`: so long after that moment. `afterGood`: so long after the rail, or for a fault without a rail the
   * chassis, became good; only the first time that it was good for so long.
   */
  readonly when: { readonly kind: 'start' } | { readonly kind: 'at' | 'afterGood'; readonly ms: number };
  /** How long it lasts; null for good. */
  readonly forMs: number | null;
}

/** A fault that was not understood, or names something the board does not have. */
export class FaultSyntaxError extends Error {
  override readonly name = 'FaultSyntaxError';
}

/** The grammar for people, one example for each form. Every example is understood by `parseFault`. */
export const FAULT_GRAMMAR = `A fault is written: [chassis N] WHAT DOES [for TIME] [at TIME | TIME after good]

  rail P1V8 never good              rises to half its voltage only
  rail P1V8 slow 300ms              takes 300 ms longer to rise
  rail P1V8 slow off 3s             takes 3 s longer to discharge
  rail P1V8 droops at 150ms         sinks to half its voltage
  rail P1V8 shorts 50ms after good  drops to 0 V at once
  rail P1V8 trips overcurrent at 1s switches itself off, and its device knows why: overvoltage, overcurrent,
                                    overtemperature or input
  enable P1V8 stuck on              stays asserted whatever is written
  enable P1V8 stuck off             stays off whatever is written, or whatever its power button is pressed for
  button HOST stuck on              the power button of the rail stays pressed; stuck off: no press gets through
  state HOST stuck off              what shows that the button was taken lies; stuck on: the other way
  shutdown HOST ignored             a short press does not shut the host down, a long one does
  host HOST shuts down at 2s        the host behind the power button switches itself off
  panel power pressed for 200ms     somebody presses the power button of the front panel
  panel reset pressed for 200ms     somebody presses its reset button
  setup VDD ignored                 the device acknowledges what it is told before the rail is enabled, and keeps what it had
  setup VDD altered                 it takes half of what it is told
  part P12V_RISER absent            the part that the rail is on is not there; with a time it is pulled then
  presence P12V_RISER stuck on      what tells of the part lies that it is there; stuck off: that it is not
  presence PSU2 hang                who asks the address, or the item of the inventory, that tells of it gets no answer in time
  good P1V8 stuck on                the good signal of the rail lies
  good P1V8 stuck off               the same the other way
  pgood never                       the chassis pgood never comes
  pgood stuck on                    the chassis pgood never goes
  pgood glitch 3ms at 500ms         the chassis pgood is inverted for 3 ms
  pgood 1 never                     the same of one of several signals of pgood
  i2c vr_ddr nack                   no transfer is acknowledged
  i2c vr_ddr nack 2 times           the next two transfers are not acknowledged
  i2c vr_ddr hang at 200ms          transfers run into the driver's deadline
  i2c vr_ddr busy                   a kernel driver owns the address
  i2c vr_ddr noise                  the last bit of what is read is flipped, which "pec" tells
  device vr_cpu replaced            another device answers at its address, which "identity" tells
  sensor P12V fails                 the kernel driver that reads the voltage of the rail gives an error
  sensor P12V hangs                 it gives nothing until the driver's deadline
  sensor P12V gone                  it was taken away, and with it all inputs of its chip
  line C3 busy                      another program has the line
  line rail P1V8 enable busy        the same by its part: rail R enable (or its power button), rail R good,
                                    rail R state, rail R presence, reset R, pgood, latch
  line pgood read error             reading the line fails
  gpio read error at 300ms          reading any line fails
  line pgood hangs                  its chip answers nothing until the driver's deadline, whichever of its lines is asked for
  gpio hangs for 2s                 the same of every chip
  line pgood no interrupts          a change of the line raises none, as behind an I2C expander
  gpio no interrupts                the same of any line

TIME is a number with ms or s. "at" counts from the start of the plant, or from when the fault was added to a
running one. "after good" counts from the rail being good, or the chassis where the fault names no rail; it
strikes once. Without either the fault is there from the start. Without "for" it stays. Without "chassis N" it
is in the first chassis of the plant.
`;

/**
 * Reads one fault.
 *
 * @param board when given, the names are checked against it too
 * @throws FaultSyntaxError telling what was not understood and what may have been meant
 */
export function parseFault(text: string, board?: Board): Fault {
  const words = createWords(text);
  const chassis = words.skip('chassis') ? words.count('a chassis number') : null;
  const { effect, forMs: ownForMs } = parseEffect(words);
  const forMs = words.skip('for') ? words.time() : null;
  if (forMs !== null && ownForMs !== null) throw words.error('a glitch has its length already');
  const when = parseWhen(words);
  words.end();
  const fault: Fault = { text: words.all, chassis, effect, when, forMs: ownForMs ?? forMs };
  if (board !== undefined) checkFault(fault, board);
  return fault;
}

function parseEffect(words: Words): { effect: FaultEffect; forMs: number | null } {
  const plain = (effect: FaultEffect) => ({ effect, forMs: null });
  const on = words.oneOf(
    'rail',
    'enable',
    'button',
    'state',
    'shutdown',
    'host',
    'panel',
    'setup',
    'part',
    'presence',
    'good',
    'pgood',
    'i2c',
    'device',
    'sensor',
    'line',
    'gpio',
  );
  switch (on) {
    case 'rail': {
      const rail = words.name('a rail');
      const does = words.oneOf('never', 'slow', 'droops', 'shorts', 'trips');
      if (does === 'never') {
        words.oneOf('good');
        return plain({ on, rail, does: 'neverGood' });
      }
      if (does === 'trips') return plain({ on, rail, does, over: words.oneOf(...TRIP_CAUSES) });
      if (does !== 'slow') return plain({ on, rail, does });
      const edge = words.skip('off') ? 'slowFall' : 'slowRise';
      return plain({ on, rail, does: edge, extraMs: words.time() });
    }
    case 'shutdown':
    case 'host':
      return plain(parseHost(words, on));
    case 'panel':
      return plain(parsePanel(words));
    case 'setup':
    case 'part':
    case 'sensor':
      return plain(parseOfRail(words, on));
    case 'presence':
      return plain(parsePresence(words));
    case 'enable':
    case 'button':
    case 'state':
    case 'good': {
      const rail = words.name('a rail');
      words.oneOf('stuck');
      return plain({ on, rail, does: parseStuck(words) });
    }
    case 'pgood': {
      const source = words.nextIsCount() ? words.count('a signal of pgood') : null;
      const does = words.oneOf('never', 'stuck', 'glitch');
      if (does === 'never') return plain({ on, source, does: 'stuckOff' });
      if (does === 'stuck') return plain({ on, source, does: parseStuck(words) });
      return { effect: { on, source, does: 'inverts' }, forMs: words.time() };
    }
    case 'i2c':
      return plain(parseTransfers(words, on));
    case 'device': {
      const device = words.name('a device');
      return plain({ on, device, does: words.oneOf('replaced') });
    }
    case 'line': {
      const line = parseLine(words);
      const does = words.oneOf('busy', 'read', 'hangs', 'no');
      if (does === 'busy') return plain({ on, line, does });
      return plain({ on, line, does: parseLineTrouble(words, does) });
    }
    case 'gpio':
      return plain({ on, does: parseLineTrouble(words, words.oneOf('read', 'hangs', 'no')) });
  }
}

function parseTransfers(words: Words, on: 'i2c'): FaultEffect {
  const device = words.name('a device');
  const does = words.oneOf('nack', 'hang', 'busy', 'noise');
  let times: number | null = null;
  if (words.nextIsCount()) {
    times = words.count('a number of transfers');
    words.oneOf('times', 'time');
  }
  return { on, device, does, times };
}

function parseHost(words: Words, on: 'shutdown' | 'host'): FaultEffect {
  const rail = words.name('a rail');
  if (on === 'shutdown') {
    words.oneOf('ignored');
    return { on, rail, does: 'ignored' };
  }
  words.oneOf('shuts');
  words.oneOf('down');
  return { on, rail, does: 'shutsDown' };
}

function parsePanel(words: Words): FaultEffect {
  const button = words.oneOf('power', 'reset');
  words.oneOf('pressed');
  return { on: 'panel', button, does: 'stuckOn' };
}

function parseOfRail(words: Words, on: 'setup' | 'part' | 'sensor'): FaultEffect {
  const rail = words.name('a rail');
  switch (on) {
    case 'setup':
      return { on, rail, does: words.oneOf('ignored', 'altered') };
    case 'part':
      return { on, rail, does: words.oneOf('absent') };
    case 'sensor':
      return { on, rail, does: words.oneOf('fails', 'hangs', 'gone') };
  }
}

function parsePresence(words: Words): FaultEffect {
  const rail = words.name('a rail');
  const does = words.oneOf('stuck', 'hang');
  return { on: 'presence', rail, does: does === 'hang' ? does : parseStuck(words) };
}

function parseStuck(words: Words): 'stuckOn' | 'stuckOff' {
  return words.oneOf('on', 'off') === 'on' ? 'stuckOn' : 'stuckOff';
}

function parseLineTrouble(words: Words, begin: 'read' | 'hangs' | 'no'): LineTrouble {
  if (begin === 'hangs') return begin;
  words.oneOf(begin === 'read' ? 'error' : 'interrupts');
  return begin === 'read' ? 'readError' : 'noInterrupts';
}

function parseLine(words: Words): FaultLine {
  if (words.skip('rail')) {
    const rail = words.name('a rail');
    return { of: words.oneOf('enable', 'good', 'state', 'presence'), rail };
  }
  if (words.skip('reset')) return { of: 'reset', reset: words.name('a reset') };
  if (words.skip('pgood'))
    return { of: 'pgood', source: words.nextIsCount() ? words.count('a signal of pgood') : null };
  if (words.skip('latch')) return { of: 'latch' };
  return { of: 'board', text: words.name('a line') };
}

function parseWhen(words: Words): Fault['when'] {
  if (words.atEnd()) return { kind: 'start' };
  if (words.skip('at')) return { kind: 'at', ms: words.time() };
  if (!words.nextIsTime()) throw words.unexpected(['for', 'at', 'a time and "after good"']);
  const ms = words.time();
  words.oneOf('after');
  words.oneOf('good');
  return { kind: 'afterGood', ms };
}

type Words = ReturnType<typeof createWords>;

const TIME = /^(\d+(?:\.\d+)?)(ms|s)$/;

/** Takes a text word by word. */
function createWords(text: string) {
  const words = text.trim().split(/\s+/);
  const all = words.join(' ');
  let place = 0;

  const error = (what: string) =>
    new FaultSyntaxError(`fault "${all}": ${what} (--fault list shows the forms)`);
  const unexpected = (expected: readonly string[]) => {
    const word = words[place];
    const list = expected.map((option) => (option.includes(' ') ? option : `"${option}"`)).join(', ');
    if (!word) return error(`something is missing at the end, expected ${list}`);
    return error(`"${word}" was not understood, expected ${list}${suggestion(word, expected)}`);
  };
  const take = (pattern: RegExp, expected: string): RegExpExecArray => {
    const match = pattern.exec(words[place] ?? '');
    if (match === null) throw unexpected([expected]);
    place += 1;
    return match;
  };

  return {
    all,
    error,
    unexpected,
    atEnd: () => place === words.length,
    end: () => {
      if (place < words.length)
        throw error(`"${words.slice(place).join(' ')}" at the end was not understood`);
    },
    skip: (word: string): boolean => {
      if (words[place] !== word) return false;
      place += 1;
      return true;
    },
    oneOf: <const Option extends string>(...options: readonly Option[]): Option => {
      const found = options.find((option) => option === words[place]);
      if (found === undefined) throw unexpected(options);
      place += 1;
      return found;
    },
    name: (what: string): string => take(/^\S+$/, `the name of ${what}`)[0],
    nextIsCount: () => /^\d+$/.test(words[place] ?? ''),
    count: (what: string): number => Number(take(/^\d+$/, what)[0]),
    nextIsTime: () => TIME.test(words[place] ?? ''),
    time: (): number => {
      const [, number = '', unit = ''] = take(TIME, 'a time such as 300ms or 2s');
      return Number(number) * (unit === 's' ? 1000 : 1);
    },
  };
}

/** The nearest of `options`, as the end of a sentence; empty when none is near. */
function suggestion(word: string, options: readonly string[]): string {
  const text = didYouMean(word, options);
  return text === null ? '' : `; ${text}`;
}

/**
 * Checks the names of a fault against the chassis of a plant.
 *
 * @param chassis the chassis that the plant has, first one first; all of the board where it is left out
 * @throws FaultSyntaxError for a name that the board does not have, with the nearest that it has
 */
export function checkFault(fault: Fault, board: Board, chassis: readonly number[] = chassisOf(board)): void {
  const { effect } = fault;
  const refuse = (kind: string, name: string, options: readonly string[], where: string) =>
    new FaultSyntaxError(
      `fault "${fault.text}": ${where} has no ${kind} "${name}"${suggestion(name, options) || listOf(kind, options)}`,
    );
  const number = fault.chassis ?? chassis[0] ?? 0;
  const described = chassis.includes(number) ? board.chassis[number] : undefined;
  if (described === undefined) throw refuse('chassis', String(number), chassis.map(String), 'the plant');
  const where = `chassis ${number}`;

  const checkRail = (name: string): void => {
    if (!Object.hasOwn(described.rails, name))
      throw refuse('rail', name, Object.keys(described.rails), where);
  };
  if ('rail' in effect) checkRail(effect.rail);
  if (effect.on === 'enable' && described.rails[effect.rail]?.enable === undefined) {
    throw new FaultSyntaxError(
      `fault "${fault.text}": rail ${effect.rail} is only watched, and has no enable`,
    );
  }
  if (effect.on === 'button' || effect.on === 'state' || effect.on === 'shutdown' || effect.on === 'host') {
    const { enable } = described.rails[effect.rail] ?? {};
    if (enable === undefined || !('pulse' in enable)) {
      throw new FaultSyntaxError(`fault "${fault.text}": rail ${effect.rail} has no power button`);
    }
    if (effect.on === 'state' && enable.state === undefined) {
      throw new FaultSyntaxError(
        `fault "${fault.text}": the power button of rail ${effect.rail} has no state line`,
      );
    }
  }
  if (effect.on === 'setup' && described.rails[effect.rail]?.setup === undefined) {
    throw new FaultSyntaxError(`fault "${fault.text}": the device of rail ${effect.rail} is not set up`);
  }
  if (effect.on === 'part' || effect.on === 'presence') checkPresence(fault, effect, board, described);
  if (effect.on === 'good' && described.rails[effect.rail]?.good === undefined) {
    throw new FaultSyntaxError(`fault "${fault.text}": rail ${effect.rail} has no good signal`);
  }
  if (effect.on === 'sensor' && !isSensor(described.rails[effect.rail]?.good ?? {})) {
    throw new FaultSyntaxError(
      `fault "${fault.text}": no kernel driver reads the voltage of rail ${effect.rail}`,
    );
  }
  if (effect.on === 'panel' && described.panel?.[effect.button] === undefined) {
    throw new FaultSyntaxError(`fault "${fault.text}": ${where} has no ${effect.button} button on its panel`);
  }
  if ((effect.on === 'i2c' || effect.on === 'device') && !Object.hasOwn(board.devices, effect.device)) {
    throw refuse('device', effect.device, Object.keys(board.devices), 'the board');
  }
  if (effect.on === 'device') checkIdentity(fault, board, effect.device);
  if (effect.on === 'pgood') checkPgood(fault, described, effect.source, where);
  if (effect.on !== 'line') return;
  const { line } = effect;
  switch (line.of) {
    case 'enable':
    case 'state':
    case 'presence':
    case 'good': {
      checkRail(line.rail);
      if (partLine(described.rails[line.rail], line.of) === undefined) {
        throw new FaultSyntaxError(`fault "${fault.text}": rail ${line.rail} has no ${line.of} line`);
      }
      return;
    }
    case 'reset':
      if (Object.hasOwn(described.resets, line.reset)) return;
      throw refuse('reset', line.reset, Object.keys(described.resets), where);
    case 'latch':
      if (described.latch !== undefined) return;
      throw new FaultSyntaxError(`fault "${fault.text}": ${where} has no latch`);
    case 'pgood':
      if (pgoodLine(described, line.source) !== undefined) return;
      throw new FaultSyntaxError(`fault "${fault.text}": ${where} has no such line of pgood`);
    case 'board': {
      const lines = linesByName(board, chassis);
      if (!lines.has(line.text)) throw refuse('line', line.text, [...lines.keys()], 'the plant');
    }
  }
}

function checkPresence(
  { text }: Fault,
  { on, rail, does }: FaultEffect & { readonly on: 'part' | 'presence' },
  { devices }: Board,
  { rails }: ChassisBoard,
): void {
  const { presence } = rails[rail] ?? {};
  if (presence === undefined) throw new FaultSyntaxError(`fault "${text}": rail ${rail} has no presence`);
  if (on === 'part') return;
  const isBus = 'bus' in presence;
  if (does === 'hang' && isLine(presence))
    throw new FaultSyntaxError(
      `fault "${text}": the presence of rail ${rail} is a line, which does not hang`,
    );
  const device = Object.entries(devices).find(
    ([, { bus, address }]) => isBus && bus === presence.bus && Number(address) === Number(presence.address),
  );
  if (device === undefined) return;
  throw new FaultSyntaxError(
    `fault "${text}": the presence of rail ${rail} is device ${device[0]}: break that`,
  );
}

/** Nothing would tell a device that is replaced. */
function checkIdentity({ text }: Fault, { devices }: Board, device: string): void {
  if (devices[device]?.identity !== undefined) return;
  throw new FaultSyntaxError(`fault "${text}": the board does not say what ${device} is ("identity")`);
}

function checkPgood(fault: Fault, described: ChassisBoard, number: number | null, where: string): void {
  const signals = sourcesOf(described.pgood).map(({ source }) => !('rails' in source));
  if (number === null ? signals.includes(true) : signals[number - 1]) return;
  throw new FaultSyntaxError(
    `fault "${fault.text}": ${where} has no ${number === null ? 'signal of pgood' : `signal ${number} of pgood`}`,
  );
}

/** @param number of several signals; null: the first line */
function pgoodLine({ pgood }: ChassisBoard, number: number | null): LineBoard | undefined {
  if (number === null) return linesOfPgood(pgood)[0];
  const source = sourcesOf(pgood)[number - 1]?.source;
  return source !== undefined && 'active' in source ? source : undefined;
}

/** Key of the line that a fault names, in a chassis. Undefined for what `checkFault` refuses. */
export function faultLineKey(
  line: FaultLine,
  board: Board,
  number: number,
  chassis: readonly number[] = chassisOf(board),
): string | undefined {
  if (line.of === 'board') return linesByName(board, chassis).get(line.text);
  const described = board.chassis[number];
  if (described === undefined) return undefined;
  const refOf = () => {
    switch (line.of) {
      case 'enable':
      case 'state':
      case 'presence':
      case 'good':
        return partLine(described.rails[line.rail], line.of);
      case 'reset':
        return described.resets[line.reset];
      case 'pgood':
        return pgoodLine(described, line.source);
      case 'latch':
        return described.latch;
    }
  };
  const ref = refOf();
  return ref === undefined ? undefined : lineKey(ref);
}

/** The line of a part of a rail; undefined where it has none. The enable of a rail with a power button is that button. */
export function partLine(
  rail: RailBoard | undefined,
  of: 'enable' | 'good' | 'state' | 'presence',
): LineBoard | undefined {
  if (rail === undefined) return undefined;
  const { enable, good, presence } = rail;
  if (of === 'presence') return presence !== undefined && isLine(presence) ? presence : undefined;
  if (of === 'good') return good !== undefined && isLine(good) ? good : undefined;
  if (enable === undefined) return undefined;
  if ('pulse' in enable) return of === 'state' ? enable.state : enable.pulse;
  return of === 'state' || 'pmbus' in enable ? undefined : enable;
}

/** Numbers of the chassis of a board, lowest first. */
export function chassisOf(board: Board): number[] {
  return Object.keys(board.chassis)
    .map(Number)
    .sort((left, right) => left - right);
}

/** All lines of the chassis by each of their names: `C3`, `1e780000.gpio/19`, `power-chassis-good`. */
function linesByName(board: Board, chassis: readonly number[]): Map<string, string> {
  const lines = new Map<string, string>();
  for (const number of chassis) {
    const described = board.chassis[number];
    if (described === undefined) continue;
    const { rails, pgood, resets, hostReset, hostSignals, latch, panel } = described;
    const refs = [
      ...Object.values(rails).flatMap((rail) =>
        (['enable', 'state', 'good', 'presence'] as const).map((of) => partLine(rail, of)),
      ),
      ...linesOfPgood(pgood),
      ...Object.values(resets),
      hostReset,
      hostSignals?.postComplete,
      hostSignals?.platformReset,
      latch,
      panel?.power,
      panel?.reset,
    ];
    for (const ref of refs) {
      if (ref === undefined) continue;
      const key = lineKey(ref);
      if (key === undefined) continue;
      lines.set(key, key);
      const name = 'name' in ref ? ref.name : String(ref.line);
      if (!lines.has(name)) lines.set(name, key);
    }
  }
  return lines;
}

function listOf(kind: string, options: readonly string[]): string {
  return options.length === 0 ? `; it has no ${kind} at all` : `; it has ${options.join(', ')}`;
}
