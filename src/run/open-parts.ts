import { HardwareError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { HOST_RESET, presencesOf } from '../board/lines.ts';
import { sourcesOf } from '../board/pgood-sources.ts';
import type { ChassisBoard, LineBoard, PulseBoard, RailBoard } from '../board/schema.ts';
import type { Parts } from './chassis-parts.ts';
import {
  type LatePart,
  latePart,
  type PartOpener,
  type Presence,
  type Setup,
  type Signal,
  type Switch,
} from './parts.ts';
import { powerGoodOf } from './power-good.ts';
import { createPulse, type Pulse } from './pulses.ts';

/** A part that could not be had. */
export interface Missing {
  /** That it is a part of; null for one of the whole chassis, as what tells of a presence is. */
  readonly rail: string | null;
  readonly error: HardwareError;
  readonly lookAgain: LatePart['lookAgain'];
}

/**
 * All parts of the chassis, and what could not be had of them, in the order of the board. They are opened at once: what is on a
 * chip that hangs holds up no other part.
 */
export async function openParts(
  chassis: ChassisBoard,
  opener: PartOpener,
  clock: Clock,
): Promise<{ readonly parts: Parts; readonly missing: readonly Missing[] }> {
  const found: (Missing | null)[] = [];
  const orBroken = async <Part extends object>(
    role: string,
    open: (role: string) => Promise<Part>,
    rail: string | null = null,
  ) => {
    const place = found.push(null) - 1;
    try {
      return await open(role);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      const { part, lookAgain } = latePart(role, error, open, clock);
      found[place] = { rail, error, lookAgain };
      return part;
    }
  };
  const openLine = async (role: string, line: LineBoard | undefined) =>
    line && (await orBroken(role, () => opener.openSwitch(role, line)));

  const opening = Object.entries(chassis.rails).map(([rail, board]) =>
    openRail(rail, board, opener, orBroken),
  );
  const presencesOpening = presencesOf(chassis).map(async ({ role, ref, rails }) => {
    const shown = await orBroken<Presence>(role, (named) => opener.openPresence(named, ref));
    return rails.map((rail) => [rail, shown] as const);
  });
  const ownOpening = sourcesOf(chassis.pgood).map(async ({ source, role }) => {
    if ('rails' in source) return [];
    return [[source, await orBroken<Signal>(role, (named) => opener.openShown(named, source))] as const];
  });
  const resetsOpening = Object.entries(chassis.resets).map(
    async ([reset, line]) =>
      [reset, await orBroken<Switch>(`reset ${reset}`, (role) => opener.openSwitch(role, line))] as const,
  );
  const latchOpening = openLine('latch', chassis.latch);
  const hostResetOpening = openLine(HOST_RESET, chassis.hostReset);

  const [rails, presences, own, resets, latch, hostReset] = await allOf([
    allOf(opening),
    allOf(presencesOpening),
    allOf(ownOpening),
    allOf(resetsOpening),
    latchOpening,
    hostResetOpening,
  ]);
  const missing = found.filter((each) => each !== null);
  const buttons = rails.flatMap(({ button }) => button ?? []);
  const lines = { enables: mapOf(rails, 'enable'), goods: mapOf(rails, 'good') };
  const ownSignals = own.flat();
  const ofPgood = ownSignals.map(([, signal]) => signal);
  const maps = withPulses(chassis, lines, ofPgood, buttons, clock);
  const pgood = powerGoodOf(chassis, new Map(ownSignals), maps);
  const parts = {
    rails: Object.keys(chassis.rails),
    needs: new Map(Object.entries(chassis.rails).map(([rail, each]) => [rail, each.needs])),
    ...maps,
    resets: new Map(resets),
    setups: mapOf(rails, 'setup'),
    presences: new Map(presences.flat()),
    absent: new Map(),
    absentGoods: new Map(),
    pgood,
    latch,
    hostReset,
  };
  return { parts, missing };
}

/** The parts of a rail that it has. */
interface RailParts {
  readonly rail: string;
  readonly enable: Switch | undefined;
  readonly button: Button | undefined;
  readonly setup: Setup | undefined;
  readonly good: Signal | undefined;
}

type OrBroken = <Part extends object>(
  role: string,
  open: (role: string) => Promise<Part>,
  rail: string | null,
) => Promise<Part | LatePart['part']>;

async function openRail(
  rail: string,
  { enable, good, setup }: RailBoard,
  opener: PartOpener,
  orBroken: OrBroken,
): Promise<RailParts> {
  const openButton = async (pulse: PulseBoard): Promise<Button> => {
    const [button, shown] = await allOf([
      orBroken<Switch>(`power button of rail ${rail}`, (role) => opener.openSwitch(role, pulse.pulse), rail),
      openState(pulse.state),
    ]);
    return { rail, pulse, button, shown };
  };
  const openState = async (state: LineBoard | undefined): Promise<Signal | undefined> =>
    state && orBroken<Signal>(`state of rail ${rail}`, (role) => opener.openSignal(role, state), rail);
  const openEnable = async (): Promise<Switch | undefined> => {
    if (enable === undefined || 'pulse' in enable) return undefined;
    const open = (role: string) =>
      'pmbus' in enable ? opener.openOperation(role, enable) : opener.openSwitch(role, enable);
    return orBroken<Switch>(`enable of rail ${rail}`, open, rail);
  };
  const openSetup = async (): Promise<Setup | undefined> =>
    setup && orBroken<Setup>(`set-up of rail ${rail}`, (role) => opener.openSetup(role, setup), rail);
  const openGood = async (): Promise<Signal | undefined> =>
    good && orBroken<Signal>(`good signal of rail ${rail}`, (role) => opener.openShown(role, good), rail);
  const openPulse = async () => (enable && 'pulse' in enable ? openButton(enable) : undefined);

  const [button, switched, told, shown] = await allOf([openPulse(), openEnable(), openSetup(), openGood()]);
  return { rail, button, enable: switched, setup: told, good: shown };
}

/** By rail, where a rail has it. */
function mapOf<Kind extends 'enable' | 'setup' | 'good'>(
  rails: readonly RailParts[],
  kind: Kind,
): Map<string, NonNullable<RailParts[Kind]>> {
  return new Map(
    rails.flatMap((each) => {
      const part = each[kind];
      return part === undefined ? [] : [[each.rail, part] as const];
    }),
  );
}

/** Rejects with the first that does, and not before all have ended: what they have opened is given back then. */
async function allOf<Work extends readonly unknown[]>(
  work: readonly [...{ [Place in keyof Work]: Promise<Work[Place]> }],
): Promise<Work> {
  await Promise.allSettled(work);
  return (await Promise.all(work)) as unknown as Work;
}

interface Button {
  readonly rail: string;
  readonly pulse: PulseBoard;
  readonly button: Switch;
  readonly shown: Signal | undefined;
}

/**
 * The rails with a power button among the others, in the order of the board: what shows each to be on is its good signal, too.
 * @param ofPgood signals of pgood: the one line that it is where a rail has nothing else
 */
function withPulses(
  { rails }: ChassisBoard,
  { enables, goods }: Pick<Parts, 'enables' | 'goods'>,
  [ofPgood]: readonly Signal[],
  buttons: readonly Button[],
  clock: Clock,
): Pick<Parts, 'enables' | 'goods' | 'pulses' | 'awake'> {
  const pulses = new Map<string, Pulse>();
  const allGoods = new Map(goods);
  for (const { rail, pulse, button, shown: state } of buttons) {
    const shown = state ?? goods.get(rail) ?? ofPgood;
    if (shown === undefined) throw new RangeError(`nothing shows the rail ${rail}`);
    const role = `enable of rail ${rail}`;
    const shownWithinMs = state ? pulse.takenMs : (rails[rail]?.onTimeoutMs ?? 0);
    pulses.set(rail, createPulse({ role, button, shown, pulse, shownWithinMs, clock }));
    if (!goods.has(rail)) allGoods.set(rail, shown);
  }
  const allEnables = new Map<string, Switch>();
  for (const rail of Object.keys(rails)) {
    const enable = enables.get(rail) ?? pulses.get(rail);
    if (enable !== undefined) allEnables.set(rail, enable);
  }
  const awake = buttons.find(({ pulse }) => pulse.sleepState)?.shown ?? null;
  return { enables: allEnables, goods: allGoods, pulses, awake };
}
