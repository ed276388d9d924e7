import fc from 'fast-check';
import { planWithout } from '../../src/sequence/plan.ts';
import { boardOf, line, powerButton, type SmallBoard, setUp, vr } from './small-boards.ts';

/** One for each rank that a search tells apart, and none at all. */
const brief = fc.constantFrom(0, 1);
const limit = fc.constantFrom(20, 300);

interface RailDraw {
  readonly needs: readonly number[];
  readonly settleMs: number;
  readonly onTimeoutMs: number;
  readonly offTimeoutMs: number;
  readonly isSeen: boolean;
  readonly isSetUp: boolean;
  /** Of later rails: what needs this one goes first anyway. */
  readonly offAfter: readonly number[];
  readonly offSettleMs: number;
}

const railDraw = (index: number, count: number): fc.Arbitrary<RailDraw> =>
  fc.record({
    needs: fc.subarray(Array.from({ length: index }, (_, other) => other)),
    settleMs: brief,
    onTimeoutMs: limit,
    offTimeoutMs: limit,
    isSeen: fc.nat(3).map((drawn) => drawn > 0),
    isSetUp: fc.nat(3).map((drawn) => drawn === 0),
    offAfter: fc.oneof(
      fc.constant([]),
      fc.subarray(Array.from({ length: count - index - 1 }, (_, other) => index + 1 + other)),
    ),
    offSettleMs: fc.constantFrom(0, 0, 1, 20),
  });

/**
 * Boards of a few rails, with all that a chassis of the model may have.
 * @param rails `buttons`: the last one may have a power button
 */
export function drawnBoard(rails: {
  readonly min: number;
  readonly max: number;
  readonly buttons?: boolean;
}): fc.Arbitrary<SmallBoard> {
  return fc
    .record({
      rails: fc
        .integer(rails)
        .chain((count) => fc.tuple(...Array.from({ length: count }, (_, index) => railDraw(index, count)))),
      deglitchMs: brief,
      onTimeoutMs: limit,
      offTimeoutMs: limit,
      releaseDelaysMs: fc.array(fc.constantFrom(0, 1, 20), { maxLength: 1 }),
      isLatched: fc.boolean(),
      last: fc.constantFrom('there', 'there', 'optional', 'absent'),
      minOffMs: fc.constantFrom(0, 20),
      button: fc.constantFrom('none', 'state', 'sleep'),
    })
    .map(({ rails: drawn, last, isLatched: mayLatch, releaseDelaysMs, minOffMs, button, ...ofPgood }) => {
      const hasButton = rails.buttons === true && button !== 'none' && last === 'there';
      const isLatched = mayLatch && !hasButton;
      const isButton = (index: number) => hasButton && index === drawn.length - 1;
      const isOptional = last !== 'there' && drawn.length > 1;
      const board = boardOf(
        'drawn',
        {
          rails: Object.fromEntries(
            drawn.map(({ needs, isSeen, isSetUp, offAfter, ...times }, index) => [
              `R${index}`,
              {
                enable: isButton(index) ? powerButton(button === 'sleep') : line(index),
                ...((isSeen || isButton(index)) && { good: line(10 + index) }),
                needs: needs.map((need) => `R${need}`),
                ...(offAfter.length > 0 && { offAfter: offAfter.map((other) => `R${other}`) }),
                ...times,
                ...(isSetUp && !isButton(index) && setUp(index)),
                // Nothing needs the last one.
                ...(isOptional && index === drawn.length - 1 && { presence: line(31) }),
              },
            ]),
          ),
          pgood: { ...line(20), ...ofPgood },
          resets: Object.fromEntries(
            releaseDelaysMs.map((releaseDelayMs, index) => [
              `CPU${index}`,
              { ...line(21 + index), releaseDelayMs },
            ]),
          ),
          ...(isLatched && { latch: { ...line(30), pulseMs: 10 } }),
          minOffMs,
        },
        vr,
      );
      if (!isOptional || last === 'optional') return board;
      return { ...board, plan: planWithout(board.plan, [`R${drawn.length - 1}`]) };
    });
}
