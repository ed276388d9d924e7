import type { Board, ChassisBoard } from '../board/schema.ts';
import type { ReadParts } from './observe.ts';
import type { Presence, Setup, Signal, Switch } from './parts.ts';
import { powerGoodWithout } from './power-good.ts';
import type { Pulse } from './pulses.ts';

/** All parts of a chassis that were opened. */
export interface Parts extends ReadParts {
  readonly latch: Switch | undefined;
  readonly hostReset: Switch | undefined;
  /** Rails with a power button: each is among the enables, too. */
  readonly pulses: ReadonlyMap<string, Pulse>;
  /** Asserted while the host is awake; null where nothing shows it. */
  readonly awake: Signal | null;
  /** Rails whose page is told something before they are enabled. */
  readonly setups: ReadonlyMap<string, Setup>;
  /** By rail. Rails of one part have the same. */
  readonly presences: ReadonlyMap<string, Presence>;
  /** Enables of rails that are left out, because their parts are absent. */
  readonly absent: ReadonlyMap<string, Switch>;
  /** Their good signals, which tell whether what hangs on them has power. */
  readonly absentGoods: ReadonlyMap<string, Signal>;
}

/** A chassis with the devices of its board. */
export interface WholeChassis {
  readonly chassis: ChassisBoard;
  readonly devices: Board['devices'];
}

/** The chassis as it is without rails whose parts are absent. What is on these parts is no evidence either. */
export function chassisWithout({ chassis, devices }: WholeChassis, absent: readonly string[]): WholeChassis {
  if (absent.length === 0) return { chassis, devices };
  const rails = Object.entries(chassis.rails);
  const left = rails.filter(([name]) => !absent.includes(name));
  const namedBy = (some: typeof rails) => new Set(some.flatMap(([, rail]) => devicesOf(rail)));
  const [all, ofLeft] = [namedBy(rails), namedBy(left)];
  const isThere = (device: string) => {
    const { poweredBy } = devices[device] ?? {};
    if (poweredBy !== undefined && absent.includes(poweredBy)) return false;
    return !all.has(device) || ofLeft.has(device);
  };
  const evidence = chassis.evidence.filter(isThere);
  return { chassis: { ...chassis, rails: Object.fromEntries(left), evidence }, devices };
}

function devicesOf({ enable, good, setup }: ChassisBoard['rails'][string]): string[] {
  return [enable, good, setup].flatMap((part) => (part && 'pmbus' in part ? [part.pmbus] : []));
}

/** The parts of that chassis. Of what is left out the enables are kept, to be driven off, and what tells whether they can be. */
export function partsWithout(parts: Parts, absent: readonly string[]): Parts {
  if (absent.length === 0) return parts;
  const isThere = (rail: string) => !absent.includes(rail);
  const left = <Part>(all: ReadonlyMap<string, Part>) => new Map([...all].filter(([rail]) => isThere(rail)));
  const gone = <Part>(all: ReadonlyMap<string, Part>) => new Map([...all].filter(([rail]) => !isThere(rail)));
  const signals = absent.flatMap((rail) => parts.goods.get(rail) ?? parts.enables.get(rail) ?? []);
  return {
    ...parts,
    rails: parts.rails.filter(isThere),
    enables: left(parts.enables),
    goods: left(parts.goods),
    setups: left(parts.setups),
    pgood: powerGoodWithout(parts.pgood, absent, signals),
    absent: gone(parts.enables),
    absentGoods: gone(parts.goods),
  };
}
