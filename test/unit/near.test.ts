import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VERBS } from '../../src/cli/verbs.ts';
import { didYouMean, nearest } from '../../src/near.ts';

describe('nearest', () => {
  it.each([
    ['P1V9', ['P1V8', 'P12V'], ['P1V8']],
    ['reset', ['resets', 'rails'], ['resets']],
    ['voltage', ['resets', 'rails'], []],
    // Neighbours swapped are one slip.
    ['stauts', ['status', 'start'], ['status']],
    // Not typed to the end.
    ['P3V', ['P5V', 'P3V3'], ['P3V3']],
    ['chas', ['chassis', 'chain'], ['chassis']],
    // As near as each other: both.
    ['P2V', ['P5V', 'P3V'], ['P5V', 'P3V']],
    ['ofTimeoutMs', ['onTimeoutMs', 'offTimeoutMs'], ['onTimeoutMs', 'offTimeoutMs']],
    ['PVCORE', ['pvcore'], ['pvcore']],
  ])('%s among %j is %j', (word, known, expected) => {
    expect(nearest(word, known)).toEqual(expected);
  });

  it('finds every name again after one slip of the finger', () => {
    const names = ['settleMs', 'onTimeoutMs', 'offTimeoutMs', 'deglitchMs', 'enable', 'resets'];
    const slip = fc
      .tuple(fc.constantFrom(...names), fc.nat(), fc.constantFrom('drop', 'swap', 'double', 'replace'))
      .map(([name, place, kind]) => {
        const at = place % (name.length - 1);
        const [head, one, two] = [name.slice(0, at), name[at] ?? '', name[at + 1] ?? ''];
        const tail = name.slice(at + 2);
        const typed = {
          drop: head + two + tail,
          swap: head + two + one + tail,
          double: head + one + one + two + tail,
          replace: `${head}x${two}${tail}`,
        }[kind];
        return { name, typed: typed ?? '' };
      });
    fc.assert(
      fc.property(slip, ({ name, typed }) => {
        expect(nearest(typed, names)).toContain(name);
      }),
    );
  });
});

describe('did you mean, of verbs', () => {
  const names = Object.keys(VERBS);
  const raising = names.filter((name) => VERBS[name]?.raises);
  const suggested = (word: string) => nearest(word, names, raising);

  it.each([
    ['stauts', ['status']],
    ['of', ['off']],
    ['offf', ['off']],
    ['onn', ['on']],
    ['onf', ['off']],
    ['o', ['off']],
    ['stat', ['status']],
    ['strat', ['start']],
    ['sop', ['stop']],
    ['wait', ['wait-off']],
    ['shutdown', []],
  ])('%s is %j', (word, expected) => {
    expect(suggested(word)).toEqual(expected);
  });

  it('of must never suggest on, whatever else there is', () => {
    expect(didYouMean('of', names, raising)).toBe('did you mean "off"?');
    expect(raising).toEqual(['start', 'wait-on', 'on', 'cycle']);
  });

  it('a verb that raises power is suggested only where nothing else is as near', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[acdefilnorstuwy-]{1,9}$/), (word) => {
        const all = nearest(word, names);
        const some = suggested(word);
        if (all.some((name) => !raising.includes(name)))
          expect(some.filter((name) => raising.includes(name))).toEqual([]);
      }),
    );
  });
});
