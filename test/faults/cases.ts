import { chassisOf } from '../../mocks/faults.ts';
import type { Board } from '../../src/board/schema.ts';
import { generateBoard } from './boards.ts';
import type { Disturbance } from './process.ts';
import { createRandom, type Random } from './random.ts';

/** What is asked of a chassis, by whom: systemd's two oneshots, or a person with one verb. */
export type Request = 'startOn' | 'stopOff' | 'on' | 'off' | 'cycle';

export interface Script {
  readonly name: string;
  readonly initially: 'off' | 'on';
  readonly requests: readonly Request[];
}

/** An `initially: 'on'` chassis is one under a BMC that restarted: it runs, and no state is left of it. */
export const SCRIPTS: readonly Script[] = [
  { name: 'start+wait-on', initially: 'off', requests: ['startOn', 'stopOff'] },
  { name: 'on', initially: 'off', requests: ['on', 'off'] },
  { name: 'stop+wait-off', initially: 'on', requests: ['stopOff', 'startOn'] },
  { name: 'off', initially: 'on', requests: ['off', 'on'] },
  { name: 'cycle', initially: 'on', requests: ['cycle', 'off'] },
  { name: 'start again', initially: 'off', requests: ['startOn', 'startOn', 'on', 'stopOff', 'stopOff'] },
  { name: 'on/off/on/off', initially: 'off', requests: ['startOn', 'stopOff', 'startOn', 'stopOff'] },
];

/** How the state file of the chassis behaves. */
export const STORES = ['kept', 'full', 'fullLater', 'lost', 'torn', 'otherBoot'] as const;
export type StoreKind = (typeof STORES)[number];

export interface InjectedFault {
  readonly text: string;
  /** Put in when this process of the script starts, counted from 0. */
  readonly process: number;
}

/** One case of the campaign. Everything in it follows from the seed. */
export interface Case {
  readonly seed: number;
  readonly boardName: string;
  readonly board: Board;
  /** The chassis under test; others of the board are used in a quiet way at the same time. */
  readonly chassis: number;
  readonly script: Script;
  readonly faults: readonly InjectedFault[];
  readonly disturbances: readonly { readonly process: number; readonly disturbance: Disturbance }[];
  readonly store: StoreKind;
  /** For what else has to be decided while the case runs, such as pauses. */
  readonly restSeed: number;
}

export interface ShippedBoards {
  readonly [name: string]: Board;
}

/**
 * Boards by turns, in shares that suit what each can show: a generated one is another one every time, and
 * each case of the evaluation board polls a voltage for up to 20 s of its long deadlines.
 */
const SHARES: readonly (readonly [board: string, of64: number])[] = [
  ['generated', 31],
  ['two chassis', 14],
  ['reference', 8],
  ['openpower', 9],
  ['ast2600-evb', 2],
];
const TURNS: readonly string[] = SHARES.flatMap(([board, times]) => Array<string>(times).fill(board));

/** Writes of a power-on to kill or signal at; later ones do not happen on most boards. */
const KILL_WRITES = 24;
/** A power-on or -off of a healthy board is over by then, its minOffMs aside. */
const BUSY_MS = 350;

/** Every form of the fault grammar, on every rail, line and device of a chassis. */
export function faultForms(board: Board, chassis: number): string[] {
  const described = board.chassis[chassis];
  if (!described) throw new RangeError(`no chassis ${chassis}`);
  const rails = Object.keys(described.rails);
  const seen = rails.filter((rail) => described.rails[rail]?.good !== undefined);
  const devices = Object.keys(board.devices);
  const lines = [
    ...Object.entries(described.rails).flatMap(([rail, { enable, good }]) => [
      ...('pmbus' in enable ? [] : [`rail ${rail} enable`]),
      ...(good === undefined || 'pmbus' in good ? [] : [`rail ${rail} good`]),
    ]),
    ...Object.keys(described.resets).map((reset) => `reset ${reset}`),
    'pgood',
    ...(described.latch === undefined ? [] : ['latch']),
  ];
  const forms = [
    ...rails.flatMap((rail) => [
      `rail ${rail} never good`,
      `rail ${rail} slow 30ms`,
      `rail ${rail} slow 900ms`,
      `rail ${rail} slow off 50ms`,
      `rail ${rail} slow off 3s`,
      `rail ${rail} droops`,
      `rail ${rail} shorts`,
      `enable ${rail} stuck on`,
      `enable ${rail} stuck off`,
    ]),
    ...seen.flatMap((rail) => [`good ${rail} stuck on`, `good ${rail} stuck off`]),
    'pgood never',
    'pgood stuck on',
    'pgood glitch 3ms',
    'pgood glitch 60ms',
    ...devices.flatMap((device) => [
      `i2c ${device} nack`,
      `i2c ${device} nack 2 times`,
      `i2c ${device} hang`,
      `i2c ${device} hang 1 times`,
      `i2c ${device} busy`,
    ]),
    ...lines.flatMap((line) => [`line ${line} busy`, `line ${line} read error`]),
    'gpio read error',
  ];
  return forms.map((form) => `chassis ${chassis} ${form}`);
}

/** Adds when it strikes and for how long. */
function timed(form: string, random: Random): string {
  const lasting = form.includes('glitch') || !random.chance(25) ? '' : ` for ${random.int(1, 400)}ms`;
  switch (random.int(0, 3)) {
    case 0:
      return `${form}${lasting}`;
    case 1:
      return `${form}${lasting} ${random.int(0, 120)}ms after good`;
    default:
      return `${form}${lasting} at ${random.int(0, random.chance(20) ? 3000 : BUSY_MS)}ms`;
  }
}

function disturb(random: Random): Disturbance {
  switch (random.int(0, 3)) {
    case 0:
      return { kind: 'killAtTime', ms: random.int(0, BUSY_MS) };
    case 1:
      return {
        kind: 'killAtWrite',
        write: random.int(1, KILL_WRITES),
        when: random.pick(['before', 'after']),
      };
    default:
      return { kind: 'signalAtTime', ms: random.int(0, BUSY_MS), ...signal(random) };
  }
}

/** Once, or twice: with nothing between, in the middle of what the first one began, or when that is over. */
function signal(random: Random): { signal: 'SIGTERM' | 'SIGINT'; againMs: number | null } {
  const againMs = random.chance(65) ? null : random.pick([0, random.int(1, 60), random.int(60, 600)]);
  return { signal: random.pick(['SIGTERM', 'SIGINT']), againMs };
}

/**
 * The case of a seed. Neighbouring seeds take boards by turns, and on each board walk through every form of
 * fault and every write to be killed or signalled at; the rest is drawn at random, the script by rounds.
 */
export function caseOf(seed: number, shipped: ShippedBoards): Case {
  const random = createRandom(seed);
  const turn = seed % TURNS.length;
  const boardName = TURNS[turn] ?? 'generated';
  const share = SHARES.find(([name]) => name === boardName)?.[1] ?? 1;
  /** The how-manieth case of this board it is. */
  const place = Math.floor(seed / TURNS.length) * share + (turn - TURNS.indexOf(boardName));
  const board =
    shipped[boardName] ??
    generateBoard(createRandom(Math.floor(place / 25)), boardName === 'generated' ? 1 : 2);
  const chassis = random.pick(chassisOf(board));

  const forms = faultForms(board, chassis);
  const slots = forms.length + 3 * KILL_WRITES;
  const slot = place % slots;
  const round = Math.floor(place / slots);
  const script = SCRIPTS[(round + slot) % SCRIPTS.length] as Script;

  const faults: InjectedFault[] = [];
  const disturbances: { process: number; disturbance: Disturbance }[] = [];
  const process = () => (random.chance(60) ? 0 : random.int(0, 3));
  const form = forms[slot];
  if (form !== undefined) {
    faults.push({ text: timed(form, random), process: process() });
    if (random.chance(30)) faults.push({ text: timed(random.pick(forms), random), process: process() });
    if (random.chance(25)) disturbances.push({ process: process(), disturbance: disturb(random) });
  } else {
    const index = slot - forms.length;
    const write = 1 + Math.floor(index / 3);
    const when = (['before', 'after', null] as const)[index % 3] ?? null;
    disturbances.push({
      process: process(),
      disturbance: when
        ? { kind: 'killAtWrite', write, when }
        : { kind: 'signalAtWrite', write, ...signal(random) },
    });
    if (random.chance(50)) disturbances.push({ process: random.int(0, 4), disturbance: disturb(random) });
    if (random.chance(20))
      faults.push({ text: timed(random.pick(forms), random), process: random.int(0, 2) });
  }
  return {
    seed,
    boardName,
    board,
    chassis,
    script,
    faults,
    disturbances,
    store: random.chance(55) ? 'kept' : random.pick(STORES),
    restSeed: random.int(0, 0x7fffffff),
  };
}
