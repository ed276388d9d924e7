/** Numbers that look random and are the same for the same seed, on every machine. */
export interface Random {
  /** A whole number, both ends included. */
  int(least: number, most: number): number;
  /** True in `percent` of all calls. */
  chance(percent: number): boolean;
  pick<T>(items: readonly T[]): T;
}

/** mulberry32: small, and its streams differ from the first number on even for neighbouring seeds. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (least: number, most: number): number => least + Math.floor(next() * (most - least + 1));
  return {
    int,
    chance: (percent) => next() * 100 < percent,
    pick: (items) => {
      const item = items[int(0, items.length - 1)];
      if (item === undefined) throw new RangeError('nothing to pick from');
      return item;
    },
  };
}
