import fc from 'fast-check';
import { nextOff } from '../../src/board/off-order.ts';
import type { Board } from '../../src/board/schema.ts';
import { checkBoard } from '../check-board.ts';

/** A board as it was drawn: plain data, which fast-check can make smaller piece by piece. */
export type BoardDraw =
  | { readonly shipped: string }
  | { readonly wiring: (typeof WIRINGS)[number]; readonly chassis: readonly ChassisDraw[] };

/** Whether the chassis of a board share a PMBus device (each has its own pages), its bus, or nothing. */
const WIRINGS = ['apart', 'oneBus', 'oneDevice'] as const;

/** What pgood is taken from: the first ones are what most boards have. */
const PGOODS = ['line', 'page', 'none', 'allLines', 'anyLines', 'allWithPage', 'anyWithRails'] as const;

interface ChassisDraw {
  readonly rails: readonly RailDraw[];
  /** Written in another order than they rise: the order of the file must not matter. */
  readonly reversed: boolean;
  readonly pgood: LineDraw & {
    readonly by: (typeof PGOODS)[number];
    readonly deglitchMs: number;
    readonly onTimeoutMs: number;
    readonly offTimeoutMs: number;
  };
  /** `held`: until the host has done its work. */
  readonly resets: readonly (LineDraw & { readonly releaseDelayMs: number; readonly held: boolean })[];
  readonly latch: (LineDraw & { readonly pulseMs: number }) | null;
  readonly evidence: boolean;
  /** `behind`: the rail that powers the device, among those that can; null: it always has power. */
  readonly device: { readonly pec: boolean; readonly format: number; readonly behind: number | null };
  readonly minOffMs: number;
}

interface RailDraw {
  /** `watched`: it has none, unless it is the only one that could have. */
  readonly enable: LineDraw & {
    readonly overPmbus: boolean;
    readonly watched: boolean;
    readonly button: ButtonDraw | null;
  };
  readonly good: LineDraw & { readonly by: 'line' | 'pmbus' | 'limits' | 'status' | 'none' };
  /** One bit for each rail before it. */
  readonly needs: number;
  readonly settleMs: number;
  readonly onTimeoutMs: number;
  readonly offTimeoutMs: number;
}

/** A power button in place of a level. What a board must not have, `pulseOf` leaves out. */
interface ButtonDraw {
  readonly hasState: boolean;
  readonly stateLow: boolean;
  readonly onMs: number;
  readonly takenMs: number;
  readonly gracefulMs: number | null;
  readonly forceOffMs: number;
}

interface LineDraw {
  readonly low: boolean;
}

const CHIP = 'gpiochip-generated';
/** Every third line is behind it, as behind an expander. */
const EXPANDER = 'gpiochip-expander';
/** Behind the pages of the rails. */
const PGOOD_PAGE = 30;
/** Of a board with a latch these say nothing where a rail, or what powers the device, has no signal. */
const NEEDS_RAILS: readonly string[] = ['page', 'none', 'allWithPage', 'anyWithRails'];
/** What nobody can see to be good must be so when it has settled; the plant lets it rise in half that time. */
const LEAST_UNSEEN_SETTLE_MS = 6;

/** How a device gives a rail of 1 V, as a board file names it. */
const FORMATS = [
  {},
  {},
  { vout: { m: 1, r: 3 } },
  { vid: 'vr11' },
  { vid: 'vr12' },
  { vid: 'vr13' },
] as const;

/** What a page of 1 V is told. Every format above reaches so far. */
const SETUP = {
  minVolts: 0.95,
  maxVolts: 1.05,
  writes: [
    { command: 'VOUT_COMMAND', volts: 1 },
    { command: 'VOUT_OV_FAULT_LIMIT', volts: 1.2 },
  ],
};

/** Mostly false; shrinks to it. */
const rarely = (percent: number) => fc.nat(99).map((number) => number >= 100 - percent);
const low = rarely(30);

const rail: fc.Arbitrary<RailDraw> = fc.record({
  enable: fc.record({
    low,
    overPmbus: rarely(20),
    watched: rarely(20),
    button: fc.oneof(
      { weight: 7, arbitrary: fc.constant(null) },
      {
        weight: 1,
        arbitrary: fc.record({
          hasState: fc.boolean(),
          stateLow: low,
          onMs: fc.integer({ min: 2, max: 60 }),
          takenMs: fc.integer({ min: 100, max: 200 }),
          gracefulMs: fc.option(fc.integer({ min: 50, max: 400 }), { freq: 2 }),
          forceOffMs: fc.integer({ min: 300, max: 600 }),
        }),
      },
    ),
  }),
  good: fc.record({
    low,
    by: fc.constantFrom('line', 'line', 'line', 'line', 'line', 'pmbus', 'limits', 'status', 'none'),
  }),
  needs: fc.oneof(fc.nat(127), fc.constantFrom(0, 1, 2, 4, 8, 16)),
  settleMs: fc.nat(10),
  onTimeoutMs: fc.integer({ min: 100, max: 500 }),
  offTimeoutMs: fc.integer({ min: 100, max: 400 }),
});

const chassis = (mostRails: number): fc.Arbitrary<ChassisDraw> =>
  fc.record({
    rails: fc.array(rail, { minLength: 1, maxLength: mostRails, size: 'max' }),
    reversed: fc.boolean(),
    pgood: fc.record({
      low,
      by: fc.oneof(
        { weight: 3, arbitrary: fc.constant('line' as const) },
        { weight: 2, arbitrary: fc.constantFrom(...PGOODS) },
      ),
      // Long ones too: what happens while a level is not believed yet has to be seen.
      deglitchMs: fc.constantFrom(0, 2, 5, 10, 60, 200),
      // Rails that are only watched come one after the other when the last enable is on.
      onTimeoutMs: fc.integer({ min: 700, max: 1300 }),
      offTimeoutMs: fc.integer({ min: 400, max: 1000 }),
    }),
    resets: fc.array(fc.record({ low, releaseDelayMs: fc.constantFrom(0, 0, 5, 40), held: rarely(30) }), {
      maxLength: 2,
    }),
    latch: fc.option(fc.record({ low, pulseMs: fc.nat(4) }), { freq: 2 }),
    evidence: rarely(30),
    device: fc.record({
      pec: rarely(40),
      format: fc.nat(FORMATS.length - 1),
      behind: fc.option(fc.nat(7), { freq: 3 }),
    }),
    minOffMs: fc.constantFrom(0, 0, 100, 300),
  });

/** Boards by how often they are drawn. Each case of the evaluation board polls a voltage for up to 20 s. */
export const boardDraws: fc.Arbitrary<BoardDraw> = fc.oneof(
  { weight: 30, arbitrary: fc.record({ wiring: fc.constant('apart'), chassis: fc.tuple(chassis(8)) }) },
  {
    weight: 16,
    arbitrary: fc.record({ wiring: fc.constantFrom(...WIRINGS), chassis: fc.tuple(chassis(5), chassis(3)) }),
  },
  { weight: 8, arbitrary: fc.constant({ shipped: 'reference' }) },
  { weight: 8, arbitrary: fc.constant({ shipped: 'openpower' }) },
  { weight: 4, arbitrary: fc.constant({ shipped: 'relay-bench' }) },
  { weight: 2, arbitrary: fc.constant({ shipped: 'ast2600-evb' }) },
);

/** Boards of `hw/boards` that are drawn. */
export const DRAWN_BOARDS = ['reference', 'openpower', 'ast2600-evb', 'relay-bench', 'risers'];

export interface ShippedBoards {
  readonly [name: string]: Board;
}

/** The rails of a draw as they can be: something is switched, and what is not is seen. */
function railsOf({ rails }: ChassisDraw): readonly RailDraw[] {
  const none = rails.every(({ enable }) => enable.watched);
  return rails.map(({ enable, good, ...rest }, index): RailDraw => {
    const watched = enable.watched && !(none && index === 0);
    return {
      ...rest,
      enable: { ...enable, watched, overPmbus: enable.overPmbus && !watched },
      good: { ...good, by: watched && good.by === 'none' ? 'line' : good.by },
    };
  });
}

function resetsOf({ resets }: ChassisDraw, nextLine: (own: LineDraw) => object): object {
  const described = resets.map(({ releaseDelayMs, held, ...own }, index) => [
    `RESET${index + 1}`,
    { ...nextLine(own), releaseDelayMs, ...(held && { heldUntil: { signal: 'postComplete' } }) },
  ]);
  const isAnyHeld = resets.some(({ held }) => held);
  return {
    resets: Object.fromEntries(described),
    ...(isAnyHeld && { hostSignals: { postComplete: nextLine({ low: false }) } }),
  };
}

export function boardOf(draw: BoardDraw, shipped: ShippedBoards): Board {
  if ('shipped' in draw) {
    const board = shipped[draw.shipped];
    if (!board) throw new RangeError(`no board ${draw.shipped} ships`);
    return board;
  }
  let line = 0;
  const nextLine = (own: LineDraw) => {
    const chip = line % 3 === 2 ? EXPANDER : CHIP;
    return { chip, line: line++, active: own.low ? 'low' : 'high' };
  };
  const devices: Record<string, object> = {};
  let firstPage = 0;
  const described = draw.chassis.map((drawn, number) => {
    const own = { ...drawn, rails: railsOf(drawn) };
    const device = draw.wiring === 'oneDevice' ? 'vr' : `vr${number}`;
    const bus = draw.wiring === 'apart' ? number + 1 : 1;
    const { pec, format } = own.device;
    const names = own.rails.map((_, index) => `R${index}`);
    // A device that two chassis share has its power from none of them.
    const power = draw.wiring === 'oneDevice' ? undefined : powerOf(own);
    devices[device] ??= {
      bus,
      address: `0x${(0x40 + number).toString(16)}`,
      pec,
      ...FORMATS[format],
      ...(power === undefined ? {} : { poweredBy: names[power] }),
    };
    const rails = own.rails.map(({ enable, good, needs, ...times }, index) => {
      const page = { pmbus: device, page: firstPage + index };
      return [
        `R${index}`,
        {
          ...times,
          ...(!enable.watched && times.offTimeoutMs % 4 === 1 && { offSettleMs: times.offTimeoutMs % 45 }),
          nominalVolts: 1,
          ...(enable.watched
            ? {}
            : { enable: pulseOf(own, index, nextLine) ?? (enable.overPmbus ? page : nextLine(enable)) }),
          ...(good.by === 'line' ? { good: nextLine(good) } : {}),
          ...(good.by === 'pmbus'
            ? { good: { ...(sensorOf(own, number, index) ?? page), minVolts: 0.9, maxVolts: 1.1 } }
            : {}),
          ...(good.by === 'limits' ? { good: { ...page, limits: 'device' } } : {}),
          ...(good.by === 'status' ? { good: { ...page, status: true } } : {}),
          ...(isSetUp(own, own.rails[index]) ? { setup: { ...page, ...SETUP } } : {}),
          ...(good.by === 'none'
            ? { settleMs: LEAST_UNSEEN_SETTLE_MS + (times.settleMs % LEAST_UNSEEN_SETTLE_MS) }
            : {}),
          needs: names
            .slice(0, index)
            .filter(
              (_, bit) =>
                (needs & (1 << bit)) !== 0 ||
                needsAll(own, index) ||
                (isOfDevice(own, own.rails[index]) && bit === power),
            ),
        },
      ] as const;
    });
    const presences = presencesOf(own, rails, names[power ?? -1], { bus, number }, nextLine);
    const ordered = presences.size === 0 ? offOrderOf(own, rails) : null;
    const doneWithout = doneWithoutOf(own, rails, names[power ?? -1], presences);
    const withParts = rails.map(([name, rail]) => {
      const presence = presences.get(name);
      const offAfter = name === ordered?.[1] ? { offAfter: [ordered[0]] } : {};
      const logOnly = doneWithout.has(name) ? { logOnly: true } : {};
      return [
        name,
        { ...rail, ...offAfter, ...logOnly, ...(presence !== undefined && { presence }) },
      ] as const;
    });
    if (draw.wiring === 'oneDevice') firstPage += own.rails.length;
    const { low: _, by: __, ...pgoodTimes } = own.pgood;
    return {
      rails: Object.fromEntries(own.reversed ? withParts.reverse() : withParts),
      ...pgoodOf(
        own,
        { pmbus: device, page: PGOOD_PAGE + number },
        power !== undefined,
        () => nextLine(own.pgood),
        pgoodTimes,
      ),
      ...resetsOf(own, nextLine),
      ...(own.latch === null ? {} : { latch: { ...nextLine(own.latch), pulseMs: own.latch.pulseMs } }),
      ...hostResetOf(own, nextLine),
      ...(own.evidence ? { evidence: [device] } : {}),
      minOffMs: own.minOffMs,
    };
  });
  const { board, problems } = checkBoard({ name: 'generated', devices, chassis: { ...described } });
  if (!board) throw new TypeError(`a generated board is refused: ${JSON.stringify(problems)}`);
  return board;
}

/** By the last digits of a time that is drawn anyway: on every third chassis. */
function hostResetOf(
  { pgood: { offTimeoutMs, low } }: ChassisDraw,
  nextLine: (line: LineDraw) => object,
): object {
  if (offTimeoutMs % 3 !== 2) return {};
  return { hostReset: { ...nextLine({ low }), pulseMs: 1 + (offTimeoutMs % 100) } };
}

/**
 * The voltage that a kernel driver reads in the place of a page, by the last digits of a time that is drawn anyway: so the other
 * boards stay what they are.
 */
function sensorOf({ rails }: ChassisDraw, number: number, index: number): object | null {
  const { onTimeoutMs = 0 } = rails[index] ?? {};
  const divided = { multiply: 1 + (onTimeoutMs % 5) };
  if (onTimeoutMs % 3 === 1) return { hwmon: { chip: `adc${number}`, input: `in${index}` }, ...divided };
  if (onTimeoutMs % 3 === 2) {
    const place = { bus: number, address: '0x48' };
    return { iio: { ...place, input: `voltage${index}` }, ...divided };
  }
  return null;
}

/** How pgood is described; by a line where the board could not tell whether it has power. */
function pgoodOf(
  { pgood, rails, latch }: ChassisDraw,
  at: { readonly pmbus: string; readonly page: number },
  isBehind: boolean,
  nextLine: () => object,
  times: object,
): { readonly pgood?: object } {
  // By the last digit of a time that is drawn anyway: what it is seen by changes nothing that is drawn after it.
  const ways = [{ minVolts: 0.9, maxVolts: 1.1 }, { limits: 'device' }, { status: true }];
  const isSensor = pgood.onTimeoutMs % 4 === 1;
  const told = {
    dbus: `/com/example/sequencer/chassis${at.page}`,
    service: 'com.example.Sequencer',
    interface: 'com.example.Power',
    property: 'Good',
  };
  const asked = { ...at, ...ways[pgood.onTimeoutMs % ways.length] };
  const page = isSensor
    ? { hwmon: { chip: 'pgood', input: `in${at.page}` }, minVolts: 0.9, maxVolts: 1.1 }
    : pgood.onTimeoutMs % 4 === 3
      ? told
      : asked;
  // One that is only watched may be a supply, which stays when the chassis is off.
  const isTold = rails.some(({ enable, good }) => good.by !== 'none' && !enable.watched);
  const isSeen = latch === null || (isTold && !isBehind);
  const by = isSeen || !NEEDS_RAILS.includes(pgood.by) ? pgood.by : 'line';
  switch (by) {
    case 'line':
      return { pgood: { ...nextLine(), ...times } };
    case 'page':
      return { pgood: { ...page, ...times } };
    case 'none':
      return {};
    case 'allLines':
      return { pgood: { all: [nextLine(), nextLine()], ...times } };
    case 'anyLines':
      return { pgood: { any: [nextLine(), nextLine()], ...times } };
    case 'allWithPage':
      return { pgood: { all: [nextLine(), page], ...times } };
    case 'anyWithRails':
      return { pgood: { any: [nextLine(), { rails: true }], ...times } };
  }
}

/**
 * The button of a rail. What is seen over PMBus needs a state; a host that shuts down by itself must be the last rail, which
 * needs all others, of a chassis without resets.
 */
function pulseOf(own: ChassisDraw, index: number, nextLine: (line: LineDraw) => object): object | null {
  const rail = own.rails[index];
  if (!rail?.enable.button) return null;
  const { enable, good } = rail;
  const { hasState, stateLow, gracefulMs, ...times } = rail.enable.button;
  const isLast = index === own.rails.length - 1;
  const isShownByPgood = good.by === 'none' && isLast && own.pgood.by === 'line';
  const needsState = good.by !== 'line' && !isShownByPgood;
  return {
    pulse: nextLine(enable),
    ...(hasState || needsState ? { state: nextLine({ low: stateLow }) } : {}),
    ...(sleeperOf(own) === rail && (hasState || needsState) ? { sleepState: true } : {}),
    ...(gracefulMs !== null && isLast && own.resets.length === 0 ? { gracefulMs } : {}),
    ...times,
  };
}

/** The first rail with a button, where lines tell whether its host slept before its power went. */
function sleeperOf({ rails, pgood }: ChassisDraw): RailDraw | undefined {
  const first = rails.find(({ enable }) => enable.button !== null);
  return pgood.by === 'line' && first && ['line', 'none'].includes(first.good.by) ? first : undefined;
}

/** The last rail of a chassis, where it has a button: only then pgood shows it, and nothing is taken from under its host. */
function needsAll(own: ChassisDraw, index: number): boolean {
  return index === own.rails.length - 1 && own.rails[index]?.enable.button !== null;
}

/**
 * Its page is told its voltage: by the last digits of a time that is drawn anyway, so that other boards stay what they are.
 * What comes by itself, and what takes its limits from what is written, is not set up. Nor is a chassis with a power button: what
 * a press that nobody knows of excuses is worked out for the cases of today.
 */
function isSetUp({ rails }: ChassisDraw, rail: RailDraw | undefined): boolean {
  if (rail === undefined || rail.onTimeoutMs % 4 !== 1) return false;
  const comesByItself = rail.enable.watched || rails.some(({ enable }) => enable.button !== null);
  return !comesByItself && rail.good.by !== 'limits';
}

/**
 * What tells of parts that may be absent, by rail, by the last digits of a time that is drawn anyway: a rail and all that needs
 * it are of one part, or the last of these of another part on the first, which an address or the inventory tells of. None where the board would be refused.
 */
function presencesOf(
  own: ChassisDraw,
  rails: readonly (readonly [string, { readonly needs: readonly string[]; readonly enable?: object }])[],
  power: string | undefined,
  { bus, number }: { readonly bus: number; readonly number: number },
  nextLine: (line: LineDraw) => object,
): ReadonlyMap<string, object> {
  const { offTimeoutMs, by, low } = own.pgood;
  const presences = new Map<string, object>();
  if (offTimeoutMs % 3 !== 1 || (own.latch !== null && NEEDS_RAILS.includes(by))) return presences;
  const [root] = rails[offTimeoutMs % rails.length] ?? [];
  const ofPart = new Set<string>();
  for (const [name, { needs }] of rails) {
    if (name === root || needs.some((need) => ofPart.has(need))) ofPart.add(name);
  }
  const isShownByPage = power !== undefined && ofPart.has(power) && ['page', 'allWithPage'].includes(by);
  const hasButton = rails.some(([name, { enable }]) => ofPart.has(name) && enable && 'pulse' in enable);
  const isLeft = rails.some(([name, { enable }]) => enable !== undefined && !ofPart.has(name));
  if (isShownByPage || hasButton || !isLeft) return presences;
  const addressed = (first: number) => ({ bus, address: `0x${(first + number).toString(16)}` });
  const item = (name: string) => ({
    inventory: `/xyz/openbmc_project/inventory/system/chassis${number}/${name}`,
  });
  const asked = offTimeoutMs % 8 === 0 ? item('riser') : addressed(0x50);
  const shown = offTimeoutMs % 2 === 0 ? asked : nextLine({ low });
  for (const name of ofPart) presences.set(name, shown);
  const last = [...ofPart].at(-1);
  if (ofPart.size > 1 && last !== undefined && own.minOffMs > 0) {
    presences.set(last, own.minOffMs === 300 ? item('card') : addressed(0x58));
  }
  return presences;
}

/**
 * Two rails that go off in the order in which they come, by the last digits of a time that is drawn anyway: neither needs the
 * other, and none of the two has a button.
 */
function offOrderOf(
  { pgood: { onTimeoutMs } }: ChassisDraw,
  rails: readonly (readonly [string, { readonly needs: readonly string[]; readonly enable?: object }])[],
): readonly [first: string, then: string] | null {
  if (onTimeoutMs % 3 !== 1) return null;
  const chassis = { rails: Object.fromEntries(rails) };
  const behind = (name: string): string[] =>
    nextOff(chassis, name).flatMap((need) => [need, ...behind(need)]);
  const isSwitched = ({ enable }: { readonly enable?: object }) =>
    enable !== undefined && !('pulse' in enable);
  const names = rails.flatMap(([name, rail]) => (isSwitched(rail) ? [name] : []));
  const pairs = names.flatMap((first, index) =>
    names.slice(index + 1).flatMap((then) => (behind(then).includes(first) ? [] : [[first, then] as const])),
  );
  return pairs[onTimeoutMs % pairs.length] ?? null;
}

/**
 * Rails that the chassis can do without, by the last digits of a time that is drawn anyway: seen, needed by none, without a button. None where
 * nothing else would be left that is seen, switched and always there.
 */
function doneWithoutOf(
  own: ChassisDraw,
  rails: readonly (readonly [string, { readonly needs: readonly string[]; readonly enable?: object }])[],
  power: string | undefined,
  presences: ReadonlyMap<string, object>,
): ReadonlySet<string> {
  const needed = new Set(rails.flatMap(([, { needs }]) => needs));
  const chosen = rails.flatMap(([name, { enable }], index) => {
    const { onTimeoutMs = 0, good } = own.rails[index] ?? {};
    const isSeen = good !== undefined && good.by !== 'none';
    const isFree = !needed.has(name) && name !== power && !(enable && 'pulse' in enable);
    return onTimeoutMs % 5 < 2 && isSeen && isFree ? [name] : [];
  });
  const isLeft = rails.some(([name, { enable }], index) => {
    const isSeen = own.rails[index]?.good.by !== 'none';
    return enable !== undefined && isSeen && !chosen.includes(name) && !presences.has(name);
  });
  return new Set(isLeft ? chosen : []);
}

function isOfDevice(own: ChassisDraw, rail: RailDraw | undefined): boolean {
  if (rail === undefined) return false;
  const isSwitched = rail.enable.overPmbus && rail.enable.button === null;
  if (isSetUp(own, rail)) return true;
  return isSwitched || !['line', 'none'].includes(rail.good.by);
}

/** The rail that powers the device of a chassis: one that comes before all rails of the device. */
function powerOf(own: ChassisDraw): number | undefined {
  const {
    rails,
    device: { behind },
  } = own;
  if (behind === null) return undefined;
  const first = rails.findIndex((rail) => isOfDevice(own, rail));
  const choices = first < 0 ? rails.length : first;
  return choices === 0 ? undefined : behind % choices;
}

export function boardNameOf(draw: BoardDraw, board: Board): string {
  if ('shipped' in draw) return draw.shipped;
  const isWatched = draw.chassis.some((each) => railsOf(each).some(({ enable }) => enable.watched));
  const isBehind = Object.values(board.devices).some(({ poweredBy }) => poweredBy !== undefined);
  const hasSetup = Object.values(board.chassis).some(({ rails }) =>
    Object.values(rails).some(({ setup }) => setup !== undefined),
  );
  const hasParts = Object.values(board.chassis).some(({ rails }) =>
    Object.values(rails).some(({ presence }) => presence !== undefined),
  );
  const hasOrder = Object.values(board.chassis).some(({ rails }) =>
    Object.values(rails).some(({ offAfter }) => offAfter !== undefined),
  );
  const hasButton = Object.values(board.chassis).some(({ rails }) =>
    Object.values(rails).some(({ enable }) => enable && 'pulse' in enable),
  );
  const isDoneWithout = Object.values(board.chassis).some(({ rails }) =>
    Object.values(rails).some(({ logOnly }) => logOnly !== undefined),
  );
  const hasSensors = /"(?:hwmon|iio)":/.test(JSON.stringify(board));
  const hasHostReset = Object.values(board.chassis).some(({ hostReset }) => hostReset !== undefined);
  const what = [
    ...(hasButton ? ['a power button'] : []),
    ...(isBehind ? ['a device behind a rail'] : []),
    ...(hasSetup ? ['a device that is set up'] : []),
    ...(isWatched ? ['rails only watched'] : []),
    ...(hasParts ? ['parts that may be absent'] : []),
    ...(hasSensors ? ['voltages that a kernel driver reads'] : []),
    ...(hasHostReset ? ['a host that is reset'] : []),
    ...(hasOrder ? ['an order of its own on the way down'] : []),
    ...(isDoneWithout ? ['a rail that it can do without'] : []),
  ].join(' and ');
  const name = draw.chassis.length === 1 ? 'generated' : `two chassis ${draw.wiring}`;
  return what === '' ? name : `${name} with ${what}`;
}
