import { describe, expect, it } from 'vitest';
import { rankedPlan } from '../../src/verify/durations.ts';
import { explore } from '../../src/verify/explore.ts';
import { tell } from '../../src/verify/happened.ts';
import { MACHINE, type Machine } from '../../src/verify/machine.ts';
import { boardFor, DEFECTS, withDefect } from './defects.ts';
import { CHAIN } from './small-boards.ts';

describe('a deliberate defect of the machine is caught by the invariant that names it', () => {
  it('of which there are at least twenty', () => {
    expect(DEFECTS.length).toBeGreaterThanOrEqual(20);
  });

  it.each(DEFECTS.map((defect, index) => ({ ...defect, index })))('$breaks: $what', async (defect) => {
    const { MACHINE: machine } = await withDefect<{ readonly MACHINE: Machine }>(
      defect,
      'src/verify/machine.ts',
      `defect-${defect.index}`,
    );
    const plan = rankedPlan(boardFor(defect).plan);
    const found = explore(machine, plan, { faults: defect.faults ?? 1, maxStates: 300_000 });
    const said = found.counterexample;
    expect(
      said && { invariant: said.invariant },
      said?.moves.map(({ happened }) => tell(happened)).join('; '),
    ).toEqual({
      invariant: defect.breaks,
    });
  });

  it('and without one nothing is', () => {
    expect(
      explore(MACHINE, rankedPlan(CHAIN.plan), { faults: 0, maxStates: 300_000 }).counterexample,
    ).toBeNull();
  });
});
