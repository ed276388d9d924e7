import fc from 'fast-check';
import { linesOfPgood } from '../../src/board/pgood-sources.ts';
import type { Board, LineBoard } from '../../src/board/schema.ts';
import { checkBoard } from '../check-board.ts';
import { shippedBoard } from './bench.ts';

const CHIP = 'gpiochip-generated';

interface Drawn {
  readonly needs: readonly boolean[];
  readonly enable: 'line' | 'pmbus' | 'none';
  readonly good: 'line' | 'pmbus' | 'limits' | 'status' | 'none';
  readonly activeLow: boolean;
  readonly settleMs: number;
  readonly onTimeoutMs: number;
}

const rail: fc.Arbitrary<Drawn> = fc.record({
  needs: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
  enable: fc.constantFrom('line', 'pmbus', 'line', 'pmbus', 'none'),
  good: fc.constantFrom('line', 'line', 'line', 'pmbus', 'limits', 'status', 'none'),
  activeLow: fc.boolean(),
  settleMs: fc.integer({ min: 0, max: 12 }),
  onTimeoutMs: fc.integer({ min: 100, max: 500 }),
});

/** How a device gives a rail of 1 V: every format that a board file can name, and linear without a word. */
const FORMATS = [
  {},
  { vout: { m: 1, b: 0, r: 3 } },
  { vout: { m: -2, b: 20_000, r: 1 } },
  ...['vr11', 'vr12', 'vr12.5', 'vr13', 'imvp9', 'amd625mv', 'nvidia195mv'].map((vid) => ({ vid })),
];

/** What the page of a rail of 1 V is told. */
const SETUP = {
  minVolts: 0.95,
  maxVolts: 1.05,
  writes: [
    { command: 'VOUT_COMMAND', volts: 1 },
    { command: 'VOUT_UV_FAULT_LIMIT', volts: 0.8 },
  ],
};

/**
 * Boards with one chassis: any graph of needs, every kind of enable and good signal, rails that are only watched, every
 * format of voltages, a device that a rail powers, and that is told its voltages, resets, a latch.
 */
export const generatedBoard: fc.Arbitrary<Board> = fc
  .record({
    rails: fc.array(rail, { minLength: 1, maxLength: 5 }),
    deglitchMs: fc.constantFrom(0, 5, 50, 300),
    resets: fc.array(fc.constantFrom(0, 5, 40), { maxLength: 2 }),
    latch: fc.boolean(),
    format: fc.constantFrom(...FORMATS),
    pec: fc.boolean(),
    behind: fc.boolean(),
    pgood: fc.constantFrom('line', 'line', 'line', 'page', 'limits', 'status', 'rails', 'all', 'any'),
  })
  .map(({ rails: drawn, deglitchMs, resets, latch, format, pec, behind, pgood }) => {
    const rails = drawn.map((rail, index): Drawn => {
      // Something has to be switched, and what is not has to be seen.
      const isWatched =
        rail.enable === 'none' && (index > 0 || drawn.some(({ enable }) => enable !== 'none'));
      if (!isWatched) return rail.enable === 'none' ? { ...rail, enable: 'line' } : rail;
      return { ...rail, good: rail.good === 'none' ? 'line' : rail.good };
    });
    let line = 0;
    const nextLine = (activeLow = false) => ({
      chip: CHIP,
      line: line++,
      active: activeLow ? 'low' : 'high',
    });
    // By the last digits of a time that is drawn anyway. A page is told only what its format reaches.
    const isSetUp = ({ enable, good, onTimeoutMs }: Drawn) =>
      enable !== 'none' && good !== 'limits' && onTimeoutMs % 4 === 1 && format !== FORMATS[2];
    const isOfDevice = (drawn: Drawn) =>
      drawn.enable === 'pmbus' || (drawn.good !== 'line' && drawn.good !== 'none') || isSetUp(drawn);
    // The first rail powers the device, where it is not of the device itself.
    const isBehind = behind && rails[0] !== undefined && !isOfDevice(rails[0]);
    const { board, problems } = checkBoard({
      name: 'generated',
      devices: { vr: { bus: 1, address: '0x40', pec, ...format, ...(isBehind && { poweredBy: 'R0' }) } },
      chassis: {
        0: {
          rails: Object.fromEntries(
            rails.map((drawn, index) => {
              const { needs, enable, good, activeLow, settleMs, onTimeoutMs } = drawn;
              const isPowered = (other: number) => isBehind && other === 0 && isOfDevice(drawn);
              return [
                `R${index}`,
                {
                  nominalVolts: 1,
                  ...(enable === 'pmbus' ? { enable: { pmbus: 'vr', page: index } } : {}),
                  ...(enable === 'line' ? { enable: nextLine(activeLow) } : {}),
                  ...(good === 'line' ? { good: nextLine(activeLow) } : {}),
                  ...(good === 'pmbus' ? { good: { pmbus: 'vr', page: index, minVolts: 0.9 } } : {}),
                  ...(good === 'limits' ? { good: { pmbus: 'vr', page: index, limits: 'device' } } : {}),
                  ...(good === 'status' ? { good: { pmbus: 'vr', page: index, status: true } } : {}),
                  ...(isSetUp(drawn) ? { setup: { pmbus: 'vr', page: index, ...SETUP } } : {}),
                  needs: needs.flatMap((needed, other) =>
                    (needed || isPowered(other)) && other < index ? [`R${other}`] : [],
                  ),
                  // What nobody can see to be good must be so when it has settled.
                  settleMs: good === 'none' ? 6 + settleMs : settleMs,
                  onTimeoutMs,
                  offTimeoutMs: 300,
                },
              ];
            }),
          ),
          pgood: { ...pgoodOf(pgood, latch, nextLine), deglitchMs, onTimeoutMs: 800, offTimeoutMs: 800 },
          resets: Object.fromEntries(
            resets.map((releaseDelayMs, index) => [`RESET${index}`, { ...nextLine(true), releaseDelayMs }]),
          ),
          ...(latch ? { latch: { ...nextLine(), pulseMs: 1 } } : {}),
        },
      },
    });
    if (!board) throw new TypeError(`a generated board is refused: ${JSON.stringify(problems)}`);
    return board;
  });

/** What pgood is taken from; a line of its own behind a latch, where what is behind an enable tells nothing. */
function pgoodOf(kind: string, isLatched: boolean, nextLine: () => object): object {
  const page = { pmbus: 'vr', page: 30, minVolts: 0.9 };
  if (isLatched && kind !== 'line') return { all: [nextLine(), nextLine()] };
  switch (kind) {
    case 'page':
      return page;
    case 'limits':
      return { pmbus: 'vr', page: 30, limits: 'device' };
    case 'status':
      return { pmbus: 'vr', page: 30, status: true };
    case 'rails':
      return { rails: true };
    case 'all':
      return { all: [nextLine(), page] };
    case 'any':
      return { any: [nextLine(), { rails: true }] };
    default:
      return nextLine();
  }
}

export const anyBoard: fc.Arbitrary<Board> = fc.oneof(
  fc.constantFrom('reference', 'openpower', 'ast2600-evb', 'relay-bench').map(shippedBoard),
  generatedBoard,
);

/** The board with another de-glitch time. */
export function withDeglitch(board: Board, deglitchMs: number): Board {
  const chassis = board.chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  return { ...board, chassis: { 0: { ...chassis, pgood: { ...chassis.pgood, deglitchMs } } } };
}

/** The line of pgood of chassis 0, which has one. */
export function pgoodLine(board: Board): LineBoard {
  const chassis = board.chassis['0'];
  const [line] = chassis === undefined ? [] : linesOfPgood(chassis.pgood);
  if (line === undefined) throw new RangeError('no line of pgood');
  return line;
}

/** "pgood stuck off" is a loss that a line tells of at once: pgood is a line, or all of several signals with a line among them. */
export function losesPgoodByLine({ chassis }: Board): boolean {
  const { pgood } = chassis['0'] ?? {};
  return pgood !== undefined && !('any' in pgood) && linesOfPgood(pgood).length > 0;
}

export const boardWithPgoodLine: fc.Arbitrary<Board> = anyBoard.filter(losesPgoodByLine);
