/** Values of any type that the bus can carry. */
import fc from 'fast-check';
import { array, dict, int32, struct, type Typed, text, variant } from './dbus-frames.ts';

const basic = (signature: string, size: 1 | 2 | 4 | 8, values: fc.Arbitrary<number | bigint>) =>
  values.map((value): Typed => ({ signature, value, write: (writer) => writer.number(size, value) }));
const words = fc.stringMatching(/^[A-Za-z_]{0,8}$/);

/** Values of every basic type. */
const basics: fc.Arbitrary<Typed> = fc.oneof(
  words.map(text),
  fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }).map(int32),
  fc
    .integer({ min: 0, max: 0xffff_ffff })
    .map((value): Typed => ({ signature: 'u', value, write: (writer) => writer.number(4, value) })),
  basic('y', 1, fc.integer({ min: 0, max: 255 })),
  basic('n', 2, fc.integer({ min: -0x8000, max: 0x7fff })),
  basic('q', 2, fc.integer({ min: 0, max: 0xffff })),
  basic('x', 8, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  basic('t', 8, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
  fc.double({ noNaN: true }).map((value): Typed => {
    const bits = Buffer.alloc(8);
    bits.writeDoubleLE(value);
    return { signature: 'd', value, write: (writer) => writer.number(8, bits.readBigUInt64LE()) };
  }),
  fc
    .boolean()
    .map((value): Typed => ({ signature: 'b', value, write: (writer) => writer.number(4, Number(value)) })),
  words.map((word): Typed => ({ ...text(`/${word}`), signature: 'o' })),
  fc
    .constantFrom('', 'i', 'a{sv}', '(ii)av')
    .map((value): Typed => ({ signature: 'g', value, write: (writer) => writer.signature(value) })),
);

/** Values of any type, variants and containers in each other. */
export const { typed } = fc.letrec<{ typed: Typed }>((tie) => ({
  typed: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    basics,
    tie('typed').map(variant),
    fc.array(tie('typed'), { minLength: 1, maxLength: 3 }).map(struct),
    fc.array(tie('typed').map(variant), { maxLength: 4 }).map((members) => array('v', members)),
    // Members of one type: the same value several times.
    fc.tuple(tie('typed'), fc.nat(3)).map(([one, times]) =>
      array(
        one.signature,
        Array.from({ length: times }, () => one),
      ),
    ),
    fc
      .uniqueArray(fc.tuple(words, tie('typed').map(variant)), { maxLength: 3, selector: ([key]) => key })
      .map((entries) => dict('v', entries)),
  ),
}));
