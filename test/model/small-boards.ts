import { parseBoard } from '../../src/board/parse.ts';
import type { Board } from '../../src/board/schema.ts';
import { type Plan, planOf, planWithout } from '../../src/sequence/plan.ts';

/** A board that is tried in seconds, whatever the number of faults. */
export interface SmallBoard {
  /** Content of its file. */
  readonly value: object;
  readonly board: Board;
  readonly plan: Plan;
}

export const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });
export const rail = (enable: number, needs: string[]) => ({
  enable: line(enable),
  good: line(10 + enable),
  needs,
  settleMs: 1,
  onTimeoutMs: 20,
  offTimeoutMs: 20,
});
export const pgood = { ...line(20), deglitchMs: 1, onTimeoutMs: 300, offTimeoutMs: 300 };
const resets = { CPU: { ...line(21), releaseDelayMs: 1 } };

export function boardOf(name: string, chassis: object, devices: object = {}): SmallBoard {
  const value = { name, devices, chassis: { 0: chassis } };
  const board = parseBoard(JSON.stringify(value));
  const described = board?.chassis[0];
  if (board === undefined || described === undefined) throw new TypeError(`${name} is no board`);
  return { value, board, plan: planOf(described, board.devices) };
}

export const chain = { rails: { A: rail(0, []), B: rail(1, ['A']) }, pgood, resets };

/** Two rails, one after the other, and a reset. */
export const CHAIN = boardOf('chain', chain);

/** The same behind a latch. */
export const LATCHED = boardOf('latched', { ...chain, latch: { ...line(22), pulseMs: 10 } });

/** Two rails that need the same one. */
export const FORK = boardOf('fork', {
  rails: { A: rail(0, []), B: rail(1, ['A']), C: rail(2, ['A']) },
  pgood,
});

const { good: _, ...unseen } = rail(2, []);

/** Rails that nothing ties on the way up, and that go off one after the other. */
export const ORDERED = boardOf('ordered', {
  rails: { A: { ...rail(0, []), offAfter: ['B'] }, B: rail(1, []) },
  pgood,
});

export const setUp = (page: number) => ({
  nominalVolts: 1.1,
  setup: {
    pmbus: 'vr',
    page,
    minVolts: 1,
    maxVolts: 1.2,
    writes: [{ command: 'VOUT_COMMAND', volts: 1.1 }],
  },
});
export const vr = { vr: { bus: 1, address: '0x40' } };

/** The device of the last rail of a chain is told its voltage first. */
export const SET_UP = boardOf(
  'set-up',
  { ...chain, rails: { A: rail(0, []), B: { ...rail(1, ['A']), ...setUp(0) } } },
  vr,
);

/** The same with a device that has its power from the first one, and switches and shows the last. */
export const POWERED = boardOf(
  'powered',
  {
    ...chain,
    rails: {
      A: rail(0, []),
      B: {
        ...rail(1, ['A']),
        ...setUp(0),
        enable: { pmbus: 'vr', page: 0 },
        good: { pmbus: 'vr', page: 0, minVolts: 1, maxVolts: 1.2 },
      },
    },
  },
  { vr: { ...vr.vr, poweredBy: 'A' } },
);

/** Of a chain the last rail is of a part that may be absent. */
export const OPTIONAL = boardOf('optional', {
  ...chain,
  rails: { A: rail(0, []), B: { ...rail(1, ['A']), presence: line(30) } },
});

/** The same without it. */
export const ABSENT: SmallBoard = { ...OPTIONAL, plan: planWithout(OPTIONAL.plan, ['B']) };

/** The last rail of a chain rests before the first one goes off. */
export const RESTING = boardOf('resting', {
  ...chain,
  rails: { A: rail(0, []), B: { ...rail(1, ['A']), offSettleMs: 1 } },
});

/** Three rails that go off one after the other, each when the one before has rested; nothing shows the first. */
export const RESTING_UNSEEN = boardOf('resting-unseen', {
  rails: {
    A: { ...rail(0, []), offAfter: ['B'] },
    B: { ...rail(1, []), offAfter: ['C'], offSettleMs: 1 },
    C: { ...unseen, offSettleMs: 1 },
  },
  pgood,
});

/** A power button whose host has a state; it is on 40 ms after the press, on the simulated chassis. */
export const powerButton = (sleepState: boolean, gracefulMs?: number) => ({
  pulse: line(40),
  state: line(41),
  onMs: 4,
  takenMs: 60,
  forceOffMs: 200,
  ...(gracefulMs !== undefined && { gracefulMs }),
  ...(sleepState && { sleepState }),
});
const host = (needs: string[], enable: object) => ({ ...rail(1, needs), enable });

/** A host that is asked to shut down before it is forced off. */
export const BUTTON = boardOf('button', { rails: { HOST: host([], powerButton(false, 40)) }, pgood });

/** One that tells when it switches itself off, and has to rest. */
export const ASLEEP = boardOf('asleep', {
  rails: { HOST: host([], powerButton(true, 40)) },
  pgood,
  minOffMs: 20,
});

/** A host behind a rail and a reset, which is forced off at once. */
export const BUTTON_CHAIN = boardOf('button-chain', {
  ...chain,
  rails: { A: rail(0, []), HOST: host(['A'], powerButton(false)) },
});

const watched = (good: number, needs: string[]) => ({
  good: line(10 + good),
  needs,
  settleMs: 1,
  onTimeoutMs: 20,
  offTimeoutMs: 20,
});

/** Boards with rails that are only watched, and with pgood that is taken from rails. */
export const WATCHED = [
  { name: 'a follower', rails: { A: rail(0, []), F: watched(1, ['A']) }, pgood },
  {
    name: 'a chain of followers',
    rails: { A: rail(0, []), F: watched(1, ['A']), G: watched(2, ['F']) },
    pgood,
  },
  { name: 'a follower of two', rails: { A: rail(0, []), B: rail(1, []), F: watched(2, ['A', 'B']) }, pgood },
  {
    name: 'a rail behind a follower',
    rails: { A: rail(0, []), F: watched(1, ['A']), B: rail(2, ['F']) },
    pgood,
  },
  { name: 'a supply', rails: { S: watched(1, []), A: rail(0, ['S']) }, pgood },
  { name: 'two supplies', rails: { S: watched(1, []), T: watched(2, ['S']), A: rail(0, ['T']) }, pgood },
  {
    name: 'pgood that is taken from rails',
    ...chain,
    pgood: { rails: true, deglitchMs: 1, onTimeoutMs: 300, offTimeoutMs: 300 },
  },
].map(({ name, ...chassis }) => ({ name, board: boardOf('watched', chassis) }));
