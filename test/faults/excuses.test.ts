import { describe, expect, it } from 'vitest';
import { checkBoard } from '../check-board.ts';
import { BREAKS, type Break } from './breaks.ts';
import type { Case } from './draw.ts';
import type { Invariant } from './invariants.ts';
import { play } from './story.ts';

interface Excused {
  readonly what: string;
  readonly invariant: Invariant;
  readonly chassis: object;
  readonly played: Partial<Case>;
  /** Where that of `BREAKS` does not come to anything on this board. */
  readonly broken?: Break;
  /** What is different in the case in which the defect of the invariant has to be seen. */
  readonly worse: Partial<Case>;
  /** What is said of the defect. */
  readonly says: string;
}

/** Of the rail R where it has the first lines. */
const R_GOOD = 1;

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const times = { nominalVolts: 1, settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 100 };
const seen = (offset: number) => ({ ...times, enable: line(offset), good: line(offset + 1) });
const button = (offset: number) => ({
  ...seen(offset),
  enable: { pulse: line(offset), onMs: 2, takenMs: 100, forceOffMs: 300 },
});
const pgood = { ...line(9), deglitchMs: 0, onTimeoutMs: 700, offTimeoutMs: 400 };

const R_SEEMS_GOOD: Break = {
  says: 'a rail is believed to be good once something was driven',
  world(world) {
    let isDriven = false;
    return {
      ...world,
      gpio: {
        ...world.gpio,
        async openOutput(ref) {
          const raw = await world.gpio.openOutput(ref);
          return {
            ...raw,
            write(level) {
              isDriven = true;
              return raw.write(level);
            },
          };
        },
        async openInput(ref) {
          const raw = await world.gpio.openInput(ref);
          if (!('line' in ref) || ref.line !== R_GOOD) return raw;
          return { ...raw, read: async () => (isDriven ? 1 : raw.read()) };
        },
      },
    };
  },
};

const QUIET: Omit<Case, 'board'> = {
  boardName: 'excused',
  chassis: 0,
  initially: 'off',
  requests: [],
  faults: [],
  disturbances: [],
  store: 'kept',
  output: null,
  watched: false,
  rival: null,
  dice: Array(12).fill(0),
};

const EXCUSED: readonly Excused[] = [
  {
    invariant: 'resetsHeld',
    what: 'a host that shuts down by itself, because a process that is gone pressed its button for a moment',
    chassis: { rails: { HOST: button(0), R: seen(2) }, pgood, resets: { RESET: line(8) } },
    played: {
      initially: 'on',
      requests: ['stopOff', 'startOn'],
      // The button is pressed.
      disturbances: [{ process: 0, disturbance: { kind: 'killAtWrite', write: 3, when: 'after' } }],
      store: 'otherBoot',
      rival: { asks: 'clear', atMs: 320 },
    },
    worse: {},
    says: 'RESET is released after it ended off',
  },
  {
    invariant: 'needsFirst',
    what: 'a button that is held because of a power-on that failed, of a host that has gone meanwhile',
    // HOST falls so slowly that the second stage still finds it.
    chassis: {
      rails: {
        R: { ...seen(0), offTimeoutMs: 175 },
        HOST: { ...button(2), settleMs: 1, offTimeoutMs: 325, needs: ['R'] },
      },
      pgood,
    },
    played: {
      requests: ['on', 'status'],
      faults: [{ text: 'chassis 0 rail R never good', process: 1, write: null }],
      store: 'full',
      watched: true,
      rival: { asks: 'startOn', atMs: 0 },
      dice: [0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    },
    worse: { faults: [{ text: 'chassis 0 rail R never good', process: 0, write: null }] },
    broken: R_SEEMS_GOOD,
    says: 'HOST was enabled though R',
  },
  {
    invariant: 'honestOn',
    what: 'a rail without a signal behind a latch, where pgood is taken from those that have one',
    chassis: {
      rails: { R: seen(0), BLIND: { ...times, enable: line(2), settleMs: 6 } },
      pgood: { rails: true },
      latch: line(8),
    },
    played: {
      requests: ['startOn'],
      faults: [{ text: 'chassis 0 rail BLIND never good', process: 0, write: null }],
    },
    worse: { faults: [{ text: 'chassis 0 rail R never good', process: 0, write: null }] },
    says: 'R is not good',
  },
  {
    invariant: 'honestOn',
    what: 'a button that a process was killed for before it pressed it, where the next one goes on',
    chassis: { rails: { R: seen(2), HOST: { ...button(0), needs: ['R'] } }, pgood },
    played: {
      requests: ['startOn'],
      // R is enabled.
      disturbances: [{ process: 0, disturbance: { kind: 'killAtWrite', write: 2, when: 'before' } }],
      // Asked for again, in two stages.
      dice: [0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    },
    worse: {
      disturbances: [],
      faults: [{ text: 'chassis 0 rail R never good', process: 0, write: null }],
    },
    says: 'the enable of HOST is not driven',
  },
  {
    invariant: 'noLoop',
    what: 'a button that is held because the power-on is told to end, and let go when that is told again',
    chassis: {
      rails: { HOST: { ...button(0), enable: { pulse: line(0), onMs: 2, forceOffMs: 300 } }, R: seen(2) },
      pgood,
    },
    played: {
      requests: ['startOn'],
      disturbances: [
        { process: 0, disturbance: { kind: 'signalAtWrite', write: 2, signal: 'SIGTERM', againMs: 0 } },
      ],
    },
    worse: {},
    says: 'R was enabled 2 times',
  },
];

function playOn(chassis: object, played: Partial<Case>, broken: Break | null = null) {
  const { board, problems } = checkBoard({ name: 'excused', chassis: { 0: chassis } });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return play({ ...QUIET, ...played, board }, broken);
}

describe('what an invariant excuses is sound, and its defect is seen beside it', () => {
  it.each(EXCUSED)('$invariant: $what', async ({ invariant, chassis, played, worse, broken, says }) => {
    const sound = await playOn(chassis, played);
    expect(sound.violations).toEqual([]);
    const { violations } = await playOn(chassis, { ...played, ...worse }, broken ?? BREAKS[invariant]);
    const texts = violations.filter((each) => each.invariant === invariant).map(({ text }) => text);
    expect(texts).toContainEqual(expect.stringContaining(says));
  });
});
