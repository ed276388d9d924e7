import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Plan, planWithout } from '../../src/sequence/plan.ts';
import { railState } from '../../src/sequence/state.ts';
import { rankedPlan } from '../../src/verify/durations.ts';
import type { Happened } from '../../src/verify/happened.ts';
import type { Machine } from '../../src/verify/machine.ts';
import { MACHINE } from '../../src/verify/machine.ts';
import { partOf, partsOf, railsAtOnceFor } from '../../src/verify/parts.ts';
import { BIT } from '../../src/verify/plant.ts';
import { keyOfProduct, ProductModel } from '../../src/verify/product.ts';
import { createSituations } from '../../src/verify/situations.ts';
import type { Product } from '../../src/verify/turn.ts';
import { verifyPlan } from '../../src/verify/verify.ts';
import { boardFor, DEFECTS, withDefect } from './defects.ts';
import { drawnBoard } from './drawn-boards.ts';
import { boardOf, line, pgood, rail, type SmallBoard, setUp } from './small-boards.ts';

const unpowered = { poweredBy: [], switchedBy: [], seenBy: [] };

/** The plan with all rails but the chosen ones ideal: they settle at once, and no signal of theirs may fail. */
function withIdealOthers(plan: Plan, chosen: ReadonlySet<string>): Plan {
  const rails = plan.rails.map((rail) =>
    chosen.has(rail.name)
      ? rail
      : { ...rail, settleMs: 0, offSettleMs: 0, observable: false, isSetUp: false, ...unpowered },
  );
  return { ...plan, rails };
}

const SEEN = BIT.driven | BIT.good | BIT.wild | BIT.stuck | BIT.refused;

/** All that is to be seen of the chosen rails, of pgood, of the resets and of the machine, in all that a search comes to. */
function seenOf(plan: Plan, chosen: readonly string[], faults: number): Set<string> {
  const rules = new ProductModel(MACHINE, plan, createSituations(MACHINE, plan));
  const { plant } = rules;
  const signals = [
    ...chosen.map(plant.indexOf),
    plant.pgood,
    ...plan.resets.map((_, at) => plant.pgood + 1 + at),
  ];
  const textOf = ({ situation: { state, sequence }, plant: { signals: bits, mode, left } }: Product) =>
    JSON.stringify([
      state,
      mode,
      left,
      signals.map((index) => (bits[index] ?? 0) & SEEN),
      chosen.map((name) => railState(sequence, name).phase),
      sequence.pgood.good,
      sequence.fault !== null,
    ]);
  /** The machine has read what there is to read: before that an ideal rail may be a step behind. */
  const isRead = ({ situation: { due, sequence }, plant: of }: Product) =>
    due.length === 0 &&
    sequence.pgood.level === plant.has(of, plant.pgood, BIT.good) &&
    chosen.every((name) => railState(sequence, name).good === plant.has(of, plant.indexOf(name), BIT.good));
  /** A fault of a drive, or of what is read of an ideal rail: nobody knows which one of its kind, or when among them. */
  const isOfOthers = (happened: Happened) => {
    if ('struck' in happened && happened.struck !== undefined) return true;
    const isFailing = happened.what === 'read' && (happened.how === 'fails' || happened.how === 'isLate');
    return isFailing && happened.signal !== null && !chosen.includes(happened.signal);
  };
  const start = rules.initial(faults);
  const known = new Set([keyOfProduct(start)]);
  const seen = new Set([textOf(start)]);
  let layer = [start];
  while (layer.length > 0) {
    const next: Product[] = [];
    for (const from of layer) {
      for (const { product, happened } of rules.movesOf(from)) {
        if (isOfOthers(happened)) continue;
        const key = keyOfProduct(product);
        if (known.has(key)) continue;
        known.add(key);
        if (isRead(product)) seen.add(textOf(product));
        next.push(product);
      }
    }
    layer = next;
  }
  return seen;
}

const drawnPart = drawnBoard({ min: 3, max: 5 }).chain(({ plan }) =>
  fc
    .subarray(
      plan.rails.map(({ name }) => name),
      { minLength: 1, maxLength: 2 },
    )
    .map((chosen) => ({ plan: rankedPlan(plan), chosen })),
);

describe('a part of a board', () => {
  it('comes without a fault to what the whole board comes to with all other rails ideal, and to nothing else', () => {
    fc.assert(
      fc.property(drawnPart, ({ plan, chosen }) => {
        const names = new Set(chosen);
        const ofPart = seenOf(partOf(plan, names), chosen, 0);
        const ofWhole = seenOf(withIdealOthers(plan, names), chosen, 0);
        expect([...ofPart].sort()).toEqual([...ofWhole].sort());
      }),
      { numRuns: 100 },
    );
  });

  it('comes to the same with a fault of the chosen rails, of pgood or of the process', () => {
    fc.assert(
      fc.property(drawnPart, ({ plan, chosen }) => {
        const names = new Set(chosen);
        const ofPart = seenOf(partOf(plan, names), chosen, 1);
        const ofWhole = seenOf(withIdealOthers(plan, names), chosen, 1);
        expect([...ofPart].sort()).toEqual([...ofWhole].sort());
      }),
      { numRuns: 12 },
    );
  });

  it('stands for all choices of rails that are alike', () => {
    const plan = rankedPlan(grownTo(32));
    const parts = partsOf(plan, 2);
    expect(parts.reduce((sum, { choices }) => sum + choices, 0)).toBe((32 * 31) / 2);
    expect(parts.length).toBeLessThan(20);
  });
});

/** Lines that no small board has. */
const numbered = (at: number, needs: string[]) => ({
  ...rail(100 + at, needs),
  good: line(200 + at),
});

/** Three levels, in which each rail needs one of the level before. */
function grownTo(count: number): Plan {
  const width = Math.ceil(count / 3);
  const rails = Array.from({ length: count }, (_, at) => [
    `R${at}`,
    numbered(at, at < width ? [] : [`R${at - width}`]),
  ]);
  return boardOf('grown', { rails: Object.fromEntries(rails), pgood }).plan;
}

type Described = ReturnType<typeof rail> & {
  readonly offAfter?: readonly string[];
  readonly setup?: object;
};

/** The chassis of a board with its rails three times over. */
function threefold({ value, plan }: SmallBoard): Plan {
  const { chassis, devices } = value as {
    chassis: Record<0, { rails: Record<string, Described> }>;
    devices: object;
  };
  const rails = [0, 1, 2].flatMap((copy) => {
    const ofCopy = (names: readonly string[]) => names.map((name) => `${name}${copy}`);
    return Object.entries(chassis[0].rails).map(([name, described], at) => {
      const { good, ...lines } = numbered(10 * copy + at, ofCopy(described.needs));
      const { offAfter } = described;
      return [
        `${name}${copy}`,
        {
          ...described,
          ...lines,
          ...(described.good && { good }),
          ...(offAfter && { offAfter: ofCopy(offAfter) }),
          ...(described.setup && setUp(10 * copy + at)),
        },
      ];
    });
  });
  const whole = boardOf('threefold', { ...chassis[0], rails: Object.fromEntries(rails) }, devices).plan;
  const absent = plan.absent.flatMap(({ name }) => [0, 1, 2].map((copy) => `${name}${copy}`));
  return absent.length === 0 ? whole : planWithout(whole, absent);
}

describe('a board that is tried in parts', () => {
  it('of 32 rails in three levels is clean with every placement of one fault', () => {
    const report = verifyPlan(MACHINE, grownTo(32), { faults: 1, maxStates: 1_000_000, railsAtOnce: 2 });
    expect(report).toMatchObject({ verdict: 'cleanInParts', broken: null });
    expect(report.parts).toMatchObject({ railsAtOnce: 2, choices: 496 });
  });

  it('has as many rails tried at once as end in a minute, and all where that is so', () => {
    const atOnce = (count: number, faults: number) => railsAtOnceFor(rankedPlan(grownTo(count)), faults);
    expect([4, 8, 16, 32].map((count) => atOnce(count, 1))).toEqual([4, 8, 3, 3]);
    expect([3, 6].map((count) => atOnce(count, 2))).toEqual([3, expect.any(Number)]);
    expect(atOnce(6, 2)).toBeLessThan(3);
  });

  // A board with a power button is not tried in parts.
  const hasButton = ({ plan }: SmallBoard) => plan.rails.some(({ pulsed }) => pulsed !== null);
  it.each(
    DEFECTS.map((defect, index) => ({ ...defect, index })).filter((defect) => !hasButton(boardFor(defect))),
  )('shows a deliberate defect of the machine by the same invariant: $breaks: $what', async (defect) => {
    const { MACHINE: machine } = await withDefect<{ readonly MACHINE: Machine }>(
      defect,
      'src/verify/machine.ts',
      `part-${defect.index}`,
    );
    const plan = threefold(boardFor(defect));
    const report = verifyPlan(machine, plan, {
      faults: defect.faults ?? 1,
      maxStates: 300_000,
      railsAtOnce: 2,
    });
    expect(report.broken?.invariant, JSON.stringify(report.broken?.story)).toBe(defect.breaks);
  });
});
