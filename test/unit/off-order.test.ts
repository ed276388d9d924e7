/** A way down that is not the way up reversed: `offAfter`. */
import { describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench, shippedBoard } from './bench.ts';

type Rails = Record<string, Record<string, unknown>>;

/** P12V, then of what needs it P5V and P3V3, then P1V8 and its own: the reference board, with `edit` made to its rails. */
function edited(edit: (rails: Rails) => void) {
  const board = structuredClone(shippedBoard('reference')) as never as {
    chassis: Record<string, { rails: Rails }>;
  };
  edit(board.chassis['0']?.rails ?? {});
  return checkBoard(board);
}

function ordered(edit: (rails: Rails) => void) {
  const { board, problems } = edited(edit);
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

/** P5V and P3V3 need P12V and not each other. */
const P3V3_LAST = ordered((rails) => Object.assign(rails.P5V ?? {}, { offAfter: ['P3V3'] }));
const P5V_LAST = ordered((rails) => Object.assign(rails.P3V3 ?? {}, { offAfter: ['P5V'] }));

const offs = ({ plant }: Bench) =>
  plant.history.flatMap((event) =>
    event.type === 'drive' && event.role === 'enable' && !event.asserted ? [event.rail] : [],
  );
const fellBefore = ({ plant }: Bench, first: string, then: string) => {
  const fell = plant.history.findIndex(
    (event) => event.type === 'rail' && event.rail === first && !event.good,
  );
  const went = plant.history.findIndex(
    (event) => event.type === 'drive' && event.role === 'enable' && !event.asserted && event.rail === then,
  );
  return fell !== -1 && fell < went;
};

describe('a rail goes off after those that the board says', () => {
  it.each([
    ['P3V3', 'P5V', P3V3_LAST],
    ['P5V', 'P3V3', P5V_LAST],
  ])('%s is down before %s is disabled, whatever is lowered with it', async (first, then, board) => {
    const bench = createBench(board);
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    bench.plant.addFault(bench.fault(`rail ${first} slow off 40ms`));
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(fellBefore(bench, first, then)).toBe(true);
    expect(bench.plant.hazards).toEqual([]);
  });

  it('of one that does not fall it waits for its time, and goes', async () => {
    const bench = createBench(P5V_LAST);
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('enable P5V stuck on'));
    const { state, sequence } = await bench.run(JOBS.off);
    expect(state).toBe('failed');
    expect(sequence.rails.P5V?.phase).toBe('stuck');
    expect(bench.enabled()).toEqual(['P5V']);
  });

  it('after a loss all go at once, in that order', async () => {
    const bench = createBench(P5V_LAST);
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('pgood stuck off'));
    expect((await bench.run(JOBS.watch)).state).toBe('failed');
    const went = offs(bench);
    expect(went.indexOf('P5V')).toBeLessThan(went.indexOf('P3V3'));
    expect(bench.enabled()).toEqual([]);
    expect(bench.plant.hazards).toEqual([]);
  });

  it('a power-off of what is off drives in that order as well', async () => {
    for (const [board, first, then] of [
      [P5V_LAST, 'P5V', 'P3V3'],
      [P3V3_LAST, 'P3V3', 'P5V'],
    ] as const) {
      const bench = createBench(board);
      await bench.run(JOBS.off);
      expect(offs(bench).indexOf(first)).toBeLessThan(offs(bench).indexOf(then));
    }
  });

  it('the simulated chassis tells of a rail that went before it', async () => {
    const bench = createBench(P5V_LAST);
    await bench.run(JOBS.on);
    const line = await createMockGpio(bench.plant).openOutput({ chip: '1e780000.gpio', line: 'C2' });
    await line.write(1);
    expect(bench.plant.hazards.map(({ kind, name }) => [kind, name])).toContainEqual(['needRemoved', 'P5V']);
  });

  it('a board without it has the order that it had', () => {
    const { rails } = planOf(shippedBoard('reference').chassis[0] as never, {});
    expect(rails.map(({ name }) => name)).toEqual(['P12V', 'P5V', 'P3V3', 'P1V8', 'PVDDQ', 'PVCORE']);
  });
});

describe('what a board must not say of the way down', () => {
  const problems = (edit: (rails: Rails) => void) =>
    edited(edit).problems.map(({ path, message }) => `${path}: ${message}`);

  it.each([
    [
      'P3V3',
      'P12V',
      /^chassis\.0\.rails\.P3V3\.offAfter: rails would wait for each other on the way down: .*P12V/,
    ],
    ['P3V3', 'P3V3', /^chassis\.0\.rails\.P3V3\.offAfter\.0: rail P3V3 goes off after itself$/],
    [
      'P3V3',
      'P9V',
      /^chassis\.0\.rails\.P3V3\.offAfter\.0: rail P3V3 goes off after "P9V", which is not a rail/,
    ],
  ])('%s after %s', (then, first, told) => {
    expect(problems((rails) => Object.assign(rails[then] ?? {}, { offAfter: [first] }))).toEqual([
      expect.stringMatching(told),
    ]);
  });

  it('two that go after each other', () => {
    expect(
      problems((rails) => {
        Object.assign(rails.P3V3 ?? {}, { offAfter: ['P5V'] });
        Object.assign(rails.P5V ?? {}, { offAfter: ['P3V3'] });
      }),
    ).toEqual([
      expect.stringMatching(/rails would wait for each other on the way down: P\w+ before P\w+ before P\w+$/),
    ]);
  });

  it('one that is only watched, on either side', () => {
    expect(
      problems((rails) => {
        delete rails.P5V?.enable;
        Object.assign(rails.P3V3 ?? {}, { offAfter: ['P5V'] });
      }),
    ).toContain(
      'chassis.0.rails.P3V3.offAfter.0: rail P3V3 goes off after P5V, which is only watched, and goes off with what it needs',
    );
    expect(
      problems((rails) => {
        delete rails.P3V3?.enable;
        Object.assign(rails.P3V3 ?? {}, { offAfter: ['P5V'] });
      }),
    ).toContain(
      'chassis.0.rails.P3V3.offAfter: rail P3V3 is only watched: it goes off with what it needs, and not after anything else',
    );
  });

  it('times that do not fit into the units any more', () => {
    expect(
      problems((rails) => {
        for (const rail of ['P3V3', 'P5V']) Object.assign(rails[rail] ?? {}, { offTimeoutMs: 60_000 });
        Object.assign(rails.P1V8 ?? {}, { offTimeoutMs: 10_000 });
        Object.assign(rails.P12V ?? {}, { offTimeoutMs: 30_000 });
        Object.assign(rails.P3V3 ?? {}, { offAfter: ['P5V'] });
      }),
    ).toEqual([expect.stringMatching(/power-off may take/)]);
  });
});
