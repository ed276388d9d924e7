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
  /** Another chassis of the board. */
  readonly beside?: object;
  readonly devices?: object;
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

const SLOW: Break = {
  says: 'every line is driven a fifth of a second late',
  world: (world) => ({
    ...world,
    gpio: {
      ...world.gpio,
      async openOutput(ref) {
        const raw = await world.gpio.openOutput(ref);
        return {
          ...raw,
          async write(level) {
            await new Promise<void>((resolve) => {
              world.clock.after(200, resolve);
            });
            await raw.write(level);
          },
        };
      },
    },
  }),
};

/** The button of the first line. */
const NOT_PRESSED: Break = {
  says: 'a button reads as it was written, and is not pressed',
  world: (world) => ({
    ...world,
    gpio: {
      ...world.gpio,
      async openOutput(ref) {
        const raw = await world.gpio.openOutput(ref);
        if (!('line' in ref) || ref.line !== 0) return raw;
        let written: 0 | 1 = 0;
        const write = async (level: 0 | 1) => {
          written = level;
        };
        return { ...raw, read: async () => written, write };
      },
    },
  }),
};

/** The last line of a board here: a host reset. */
const PULSED: Break = {
  says: 'a host is reset by whoever opens the line for it',
  world: (world) => ({
    ...world,
    gpio: {
      ...world.gpio,
      async openOutput(ref) {
        const raw = await world.gpio.openOutput(ref);
        if ('line' in ref && ref.line === 8) for (const level of [1, 0] as const) await raw.write(level);
        return raw;
      },
    },
  }),
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
    invariant: 'honestOn',
    what: 'a host that goes by itself after the process that started it was killed',
    chassis: {
      rails: {
        R: seen(2),
        HOST: { ...button(0), needs: ['R'] },
        LAST: { ...seen(4), needs: ['HOST'], onTimeoutMs: 900 },
      },
      pgood: { ...pgood, onTimeoutMs: 2_000 },
    },
    played: {
      requests: ['startOn', 'startOn'],
      faults: [{ text: 'chassis 0 rail HOST droops for 6ms 20ms after good', process: 0, write: null }],
      // All is enabled.
      disturbances: [{ process: 0, disturbance: { kind: 'killAtWrite', write: 4, when: 'after' } }],
      // Asked for again, in two stages.
      dice: [99, 99, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    },
    worse: {
      disturbances: [],
      faults: [{ text: 'chassis 0 rail R never good', process: 0, write: null }],
    },
    says: 'the enable of HOST is not driven',
  },
  {
    invariant: 'honestOn',
    what: 'a button whose press nobody feels, because what its host runs on never came and has no signal',
    chassis: {
      rails: {
        BLIND: { ...times, enable: line(2), settleMs: 6 },
        HOST: { ...button(0), needs: ['BLIND'] },
      },
      pgood,
    },
    played: {
      requests: ['startOn'],
      faults: [{ text: 'chassis 0 rail BLIND never good', process: 0, write: null }],
    },
    worse: {},
    broken: NOT_PRESSED,
    says: 'the enable of HOST is not driven',
  },
  {
    invariant: 'honestOff',
    what: 'pgood of a device that has its power from a rail whose signal lies off',
    devices: { vr: { bus: 1, address: '0x40', poweredBy: 'R' } },
    chassis: {
      rails: { R: seen(0), MORE: { ...times, good: line(3) } },
      pgood: { pmbus: 'vr', page: 30, limits: 'device', deglitchMs: 0, onTimeoutMs: 700, offTimeoutMs: 400 },
    },
    played: {
      initially: 'on',
      requests: ['off'],
      faults: [{ text: 'chassis 0 good R stuck off', process: 0, write: null }],
    },
    worse: {
      faults: [
        { text: 'chassis 0 good MORE stuck off', process: 0, write: null },
        { text: 'chassis 0 enable R stuck on', process: 0, write: null },
        { text: 'chassis 0 pgood stuck on', process: 0, write: null },
      ],
    },
    says: 'pgood stands',
  },
  {
    invariant: 'obeys',
    what: 'a chassis on a bus that a part of another chassis holds up, which does not answer',
    devices: { vr: { bus: 1, address: '0x40' } },
    chassis: {
      rails: { R: seen(0), CARD: { ...seen(2), presence: { bus: 1, address: '0x50' } } },
      pgood,
    },
    beside: {
      rails: { S: { ...times, enable: line(10), good: { pmbus: 'vr', minVolts: 0.9 } } },
      pgood: { ...pgood, line: 12 },
    },
    played: {
      requests: ['status'],
      // One after the other they hold the bus for longer than it is waited for.
      rival: { asks: 'status', atMs: 10 },
      faults: [{ text: 'chassis 0 presence CARD hang', process: 0, write: null }],
    },
    worse: { faults: [{ text: 'chassis 0 presence CARD stuck off', process: 0, write: null }] },
    says: 'chassis 1, wait-on: nothing is broken',
  },
  {
    invariant: 'noMove',
    what: 'a host that a killed process left held in reset, and that is let go',
    chassis: { rails: { R: seen(0) }, pgood, hostReset: { ...line(8), pulseMs: 50 } },
    played: {
      initially: 'on',
      requests: ['reset', 'startOn'],
      disturbances: [{ process: 0, disturbance: { kind: 'killAtWrite', write: 1, when: 'after' } }],
    },
    worse: { disturbances: [] },
    broken: PULSED,
    says: 'chassis 0, start: hostReset gpio/8 moved though it was so already',
  },
  {
    invariant: 'noMove',
    what: 'a host that comes on while it is told to be off: its press, and the state file that knew of it, are gone',
    chassis: {
      rails: { HOST: button(0) },
      pgood,
      latch: { ...line(7), pulseMs: 10 },
      hostReset: { ...line(8), pulseMs: 50 },
    },
    // The power-off that follows one that failed pulses the latch when the host comes.
    played: { requests: ['startOn'], store: 'lost', dice: [0, 40, ...Array(10).fill(0)] },
    worse: { requests: ['stopOff'] },
    broken: PULSED,
    says: 'chassis 0, stop: hostReset gpio/8 moved though it was so already',
  },
  {
    invariant: 'snapshotTrue',
    what: 'a chassis that loses its power while its host is held in reset, and that nobody watches',
    chassis: { rails: { R: seen(0) }, pgood, hostReset: { ...line(8), pulseMs: 50 } },
    played: {
      initially: 'on',
      requests: ['reset'],
      faults: [{ text: 'chassis 0 rail R droops at 20ms', process: 0, write: null }],
    },
    worse: { faults: [] },
    says: 'chassis 0, reset: it says off, and pgood stands',
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
  {
    invariant: 'needsFirst',
    what: 'a button that is held again because the hold of a power-off that failed was cut short, of a host that has gone',
    chassis: { rails: { R: seen(0), HOST: { ...button(2), needs: ['R'] } }, pgood },
    played: {
      initially: 'on',
      requests: ['off'],
      faults: [{ text: 'chassis 0 gpio read error', process: 0, write: null }],
      // The button is let go. The last one before the repair, of four that failed.
      disturbances: [{ process: 3, disturbance: { kind: 'killAtWrite', write: 2, when: 'before' } }],
    },
    worse: {
      initially: 'off',
      requests: ['on'],
      faults: [{ text: 'chassis 0 rail R never good', process: 0, write: null }],
      disturbances: [],
    },
    broken: R_SEEMS_GOOD,
    says: 'HOST was enabled though R',
  },
  {
    invariant: 'honestOn',
    what: 'a rail without a signal that is on its way back from what was wrong with it',
    chassis: {
      rails: { R: seen(0), BLIND: { ...times, enable: line(2), settleMs: 200, onTimeoutMs: 400 } },
      pgood: { rails: true },
    },
    played: {
      requests: ['on', 'on'],
      faults: [{ text: 'chassis 0 rail BLIND droops for 150ms 30ms after good', process: 0, write: null }],
    },
    worse: { faults: [{ text: 'chassis 0 rail R never good', process: 0, write: null }] },
    says: 'R is not good',
  },
  {
    invariant: 'healthyStays',
    what: 'a host that shuts down by itself, because a process that is gone pressed its button, and the state file with it',
    chassis: { rails: { HOST: button(0), R: seen(2) }, pgood },
    played: {
      initially: 'on',
      requests: ['off'],
      // The button is held.
      disturbances: [{ process: 0, disturbance: { kind: 'killAtTime', atMs: 1 } }],
      store: 'lost',
      watched: true,
      // Asked for on again, and left alone for seconds.
      dice: [22, 17, 12, 7, 2, 97, 92, 87, 82, 77, 72, 67],
    },
    worse: { requests: ['on', 'status'], disturbances: [], store: 'kept' },
    says: 'the watch took the power away',
  },
  {
    invariant: 'latched',
    what: 'a power-off that has nothing to wait for, after a power-on beside it that was killed while it pulsed the latch',
    chassis: { rails: { R: seen(0) }, pgood, latch: line(8) },
    played: {
      requests: ['stopOff'],
      rival: { asks: 'startOn', atMs: 5 },
      disturbances: [{ process: 1, disturbance: { kind: 'killAtWrite', write: 2, when: 'after' } }],
    },
    worse: { requests: ['on'], rival: null, disturbances: [] },
    says: 'the latch not pulsed',
  },
  {
    invariant: 'powerFirst',
    what: 'a device behind a rail without a signal, of a latched chassis that is on, whose part has come since',
    devices: {
      card: { bus: 1, address: '0x40', poweredBy: 'CARD' },
      main: { bus: 1, address: '0x41', poweredBy: 'R' },
    },
    chassis: {
      rails: {
        R: seen(0),
        MORE: { ...times, enable: line(5), good: { pmbus: 'main', minVolts: 0.9 }, needs: ['R'] },
        CARD: { ...times, enable: line(2), settleMs: 6, presence: line(4) },
        CORE: {
          ...times,
          enable: line(6),
          good: { pmbus: 'card', minVolts: 0.9 },
          needs: ['CARD'],
          presence: line(4),
        },
      },
      pgood,
      latch: line(8),
    },
    played: {
      requests: ['on'],
      faults: [{ text: 'chassis 0 part CARD absent', process: 0, write: null }],
    },
    worse: { requests: ['off'], faults: [] },
    says: 'main was asked, and R, which powers it, is off',
  },
  {
    invariant: 'lossActedOn',
    what: 'a line that waits for a device on a bus that another process holds',
    devices: { vr: { bus: 1, address: '0x40' } },
    chassis: {
      rails: { R: seen(0), CARD: { ...times, enable: { pmbus: 'vr' }, good: line(4) } },
      pgood,
    },
    played: {
      initially: 'on',
      requests: ['on', 'status'],
      watched: true,
      faults: [{ text: 'chassis 0 rail R shorts at 60ms', process: 1, write: null }],
      // It reads the enable of CARD.
      disturbances: [
        { process: 2, disturbance: { kind: 'stallAtCall', call: 7, when: 'before', ms: 2_000 } },
      ],
    },
    worse: {},
    broken: SLOW,
    says: 'R is driven on',
  },
  {
    invariant: 'lossActedOn',
    what: 'a line that waits for a device whose power went, where what shows that cannot be read',
    devices: { vr: { bus: 1, address: '0x40', poweredBy: 'R' } },
    chassis: {
      rails: {
        R: seen(0),
        LINE: { ...seen(2), needs: ['R'] },
        CARD: { ...times, enable: { pmbus: 'vr' }, good: line(4), needs: ['R'] },
      },
      pgood,
    },
    played: {
      initially: 'on',
      requests: ['on', 'status'],
      watched: true,
      faults: [
        { text: 'chassis 0 line rail R good read error at 5ms', process: 1, write: null },
        { text: 'chassis 0 rail R droops at 15ms', process: 1, write: null },
      ],
    },
    worse: { faults: [{ text: 'chassis 0 rail R droops at 15ms', process: 1, write: null }] },
    broken: SLOW,
    says: 'LINE is driven on',
  },
];

function playOn(
  { chassis, beside, devices = {} }: Pick<Excused, 'chassis' | 'beside' | 'devices'>,
  played: Partial<Case>,
  broken: Break | null = null,
) {
  const { board, problems } = checkBoard({
    name: 'excused',
    devices,
    chassis: { 0: chassis, ...(beside && { 1: beside }) },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return play({ ...QUIET, ...played, board }, broken);
}

describe('what an invariant excuses is sound, and its defect is seen beside it', () => {
  it.each(EXCUSED)('$invariant: $what', async ({ invariant, played, worse, broken, says, ...on }) => {
    const sound = await playOn(on, played);
    expect(sound.violations).toEqual([]);
    const { violations } = await playOn(on, { ...played, ...worse }, broken ?? BREAKS[invariant]);
    const texts = violations.filter((each) => each.invariant === invariant).map(({ text }) => text);
    expect(texts).toContainEqual(expect.stringContaining(says));
  });
});
