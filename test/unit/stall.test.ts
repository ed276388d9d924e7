import { describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createStallingLoop } from '../../mocks/stall.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { shippedBoard } from './bench.ts';
import { pgoodLine } from './boards.ts';

async function createStage() {
  const board = shippedBoard('reference');
  const world = createVirtualClock(0);
  const plant = createPlant({ board, clock: world, initially: 'on' });
  const loop = createStallingLoop(world);
  const ref = pgoodLine(board);
  const pgood = await loop.gpio(createMockGpio(plant)).openInput(ref);
  const told: string[] = [];
  const tell = (what: string) => () => told.push(`${what} at ${world.nowMs()}`);
  /** Watches pgood; that a watch is told once of what happened before it is over by then. */
  const watch = async () => {
    const end = pgood.onEdge(tell('edge'));
    await world.advance(0);
    expect(told.splice(0)).toEqual(['edge at 0']);
    return end;
  };
  return { world, plant, loop, ref, pgood, told, tell, watch };
}

describe('a process that stands still', () => {
  it('runs its timers late and in order, and the edges that wait after them', async () => {
    const { world, plant, loop, ref, told, tell, watch } = await createStage();
    await watch();
    loop.clock.after(30, tell('second timer'));
    loop.clock.after(20, tell('first timer'));
    world.after(10, () => loop.stall(100));
    world.after(15, () => plant.hold(ref, 0));
    await world.advance(200);
    expect(told).toEqual(['first timer at 110', 'second timer at 110', 'edge at 110']);
  });

  it('runs what comes without a stall at once', async () => {
    const { world, plant, loop, ref, told, tell, watch } = await createStage();
    await watch();
    loop.clock.after(20, tell('timer'));
    world.after(10, () => plant.hold(ref, 0));
    await world.advance(200);
    expect(told).toEqual(['edge at 10', 'timer at 20']);
  });

  it.each([
    ['before', 0],
    ['after', 1],
  ] as const)(
    'gets the answer of a call that it stands still %s late, with the level of its moment',
    async (when, level) => {
      const { world, plant, loop, ref, pgood, told } = await createStage();
      loop.stallAtCall(loop.calls + 1, when, 100);
      world.after(50, () => plant.hold(ref, 0));
      pgood.read().then((read) => told.push(`${read} at ${world.nowMs()}`));
      await world.advance(200);
      expect(told).toEqual([`${level} at 100`]);
    },
  );

  it('does not run what was cancelled meanwhile, not even by a timer that was late as well', async () => {
    const { world, plant, loop, ref, told, tell, watch } = await createStage();
    const end = await watch();
    loop.clock.after(20, () => {
      cancel();
      end();
      tell('first timer')();
    });
    const cancel = loop.clock.after(30, tell('second timer'));
    world.after(10, () => loop.stall(100));
    world.after(15, () => plant.hold(ref, 0));
    await world.advance(200);
    expect(told).toEqual(['first timer at 110']);
  });

  it('stands still until the later end, also where one stall follows another', async () => {
    const { world, loop, told, tell } = await createStage();
    loop.stall(100);
    loop.stall(50);
    loop.clock.after(20, tell('timer'));
    await world.advance(99);
    expect(told).toEqual([]);
    await world.advance(1);
    expect(told).toEqual(['timer at 100']);
  });
});
