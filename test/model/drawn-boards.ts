import fc from 'fast-check';
import { boardOf, line, type SmallBoard } from './small-boards.ts';

/** One for each rank that a search tells apart, and none at all. */
const brief = fc.constantFrom(0, 1);
const limit = fc.constantFrom(20, 300);

interface RailDraw {
  readonly needs: readonly number[];
  readonly settleMs: number;
  readonly onTimeoutMs: number;
  readonly offTimeoutMs: number;
  readonly isSeen: boolean;
}

const railDraw = (index: number): fc.Arbitrary<RailDraw> =>
  fc.record({
    needs: fc.subarray(Array.from({ length: index }, (_, other) => other)),
    settleMs: brief,
    onTimeoutMs: limit,
    offTimeoutMs: limit,
    isSeen: fc.nat(3).map((drawn) => drawn > 0),
  });

/** Boards of a few rails, with all that a chassis of the model may have. */
export function drawnBoard(rails: { readonly min: number; readonly max: number }): fc.Arbitrary<SmallBoard> {
  return fc
    .record({
      rails: fc
        .integer(rails)
        .chain((count) => fc.tuple(...Array.from({ length: count }, (_, index) => railDraw(index)))),
      deglitchMs: brief,
      onTimeoutMs: limit,
      offTimeoutMs: limit,
      releaseDelaysMs: fc.array(fc.constantFrom(0, 1, 20), { maxLength: 1 }),
      isLatched: fc.boolean(),
      minOffMs: fc.constantFrom(0, 20),
    })
    .map(({ rails: drawn, deglitchMs, onTimeoutMs, offTimeoutMs, releaseDelaysMs, isLatched, minOffMs }) =>
      boardOf('drawn', {
        rails: Object.fromEntries(
          drawn.map(({ needs, isSeen, ...times }, index) => [
            `R${index}`,
            {
              enable: line(index),
              ...(isSeen && { good: line(10 + index) }),
              needs: needs.map((need) => `R${need}`),
              ...times,
            },
          ]),
        ),
        pgood: { ...line(20), deglitchMs, onTimeoutMs, offTimeoutMs },
        resets: Object.fromEntries(
          releaseDelaysMs.map((releaseDelayMs, index) => [
            `CPU${index}`,
            { ...line(21 + index), releaseDelayMs },
          ]),
        ),
        ...(isLatched && { latch: { ...line(30), pulseMs: 10 } }),
        minOffMs,
      }),
    );
}
