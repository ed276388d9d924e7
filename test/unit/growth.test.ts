import { describe, expect, it } from 'vitest';
import { JOBS } from '../../src/run/jobs.ts';
import type { Plan, RailPlan } from '../../src/sequence/plan.ts';
import { checkBoard } from '../check-board.ts';
import { createBench } from './bench.ts';

/** Every rail needs the one before it. */
function benchOf(rails: number) {
  const names = Array.from({ length: rails }, (_, index) => `P${index}`);
  const { board, problems } = checkBoard({
    name: 'growth',
    chassis: {
      0: {
        rails: Object.fromEntries(
          names.map((name, index) => [
            name,
            {
              enable: { name: `enable-${index}` },
              good: { name: `good-${index}` },
              settleMs: 2,
              ...(index > 0 && { needs: [`P${index - 1}`] }),
            },
          ]),
        ),
        pgood: { name: 'pgood', onTimeoutMs: 10_000, offTimeoutMs: 10_000 },
        minOffMs: 0,
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return createBench(board);
}

/** How often a power-on looks at the plan of a rail, for each rail; and how often a rail is read. */
async function looksPerRail(rails: number): Promise<{ looks: number; reads: number }> {
  const bench = benchOf(rails);
  let [looks, reads] = [0, 0];
  const counted = (rail: RailPlan): RailPlan =>
    new Proxy(rail, {
      get(target, key) {
        looks += 1;
        return Reflect.get(target, key);
      },
    });
  const plan: Plan = { ...bench.plan, rails: bench.plan.rails.map(counted) };
  const { state } = await bench.run(JOBS.on, {
    plan,
    hardware: (opened) => ({
      ...opened,
      readGood(source) {
        reads += 1;
        return opened.readGood(source);
      },
    }),
  });
  expect(state).toBe('pgood');
  return { looks: looks / rails, reads: reads / rails };
}

describe('a power-on of a board of many rails in a chain', () => {
  it('takes no more for a rail than on one of few', async () => {
    const few = await looksPerRail(12);
    const many = await looksPerRail(48);
    expect(many.looks).toBeLessThan(1.5 * few.looks);
    expect(many.reads).toBeLessThan(1.2 * few.reads);
  });
});
