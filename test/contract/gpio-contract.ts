import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HardwareError } from '../../hw/errors.ts';
import type { GpioBackend, InputLine, Level, LinePlace, LineRef } from '../../hw/ports.ts';
import { eventually, expectError, finish, itUnless, type SettlingWorld, titleWith } from './support.ts';

export interface GpioWorld extends SettlingWorld {
  readonly lines: {
    /** Undriven when the test starts, and free to be driven. */
    readonly output: LineRef;
    /** Driven by `drive` only. */
    readonly input: LineRef;
    /** Driven by `drive` only, and raises no interrupts, as a line of an I2C expander whose interrupt is not wired. */
    readonly looked?: LineRef;
    /** An output at high when the test starts, as a bootloader leaves a running host's enable. */
    readonly heldHigh?: LineRef;
    /** Belongs to a kernel driver or another program. */
    readonly busy?: LineRef;
    /** Held low from outside, whatever drives it. */
    readonly shorted?: LineRef;
    /** The same line as `output` by its other way of naming. */
    readonly outputOtherwise?: LineRef;
  };
  /** Level at the pin as something beside the backend sees it. */
  levelSeenOutside(line: LineRef): Promise<Level>;
  /** Drives an input from outside. */
  drive(line: LineRef, level: Level): Promise<void>;
  directionSeenOutside?(line: LineRef): Promise<'in' | 'out'>;
  /** Whether another program could take the line. */
  isFree?(line: LineRef): Promise<boolean>;
  /** Another program takes the line by the same interface. */
  takeOutside?(line: LineRef): Promise<void>;
  /** Makes every read of a line fail from now on. */
  breakReads?(line: LineRef): Promise<void>;
  /** From now on the chip of a line answers nothing, until `answer`. */
  hang?(line: LineRef): Promise<void>;
  answer?(): Promise<void>;
  /** From now on no change of the line raises an interrupt, as long as nobody sets it up anew. */
  stopInterrupts?(line: LineRef): Promise<void>;
  /** Another program gives the line back, though this one has it; with `hold` it takes it for itself at once. */
  giveBackOutside?(line: LineRef, then?: 'hold'): Promise<void>;
  /** The other program lets go of what it holds since `giveBackOutside`. */
  letGoOutside?(line: LineRef): Promise<void>;
  /** All levels that a line had since the test started, each change once, the first at its start. */
  historySeenOutside?(line: LineRef): Promise<Level[]>;
}

export interface GpioSetup {
  readonly backend: GpioBackend;
  readonly world: GpioWorld;
  /** A second backend on the same world, as the next process would have it. */
  another?(): Promise<GpioBackend>;
  teardown?(): Promise<void>;
  /** How many stories of watchers that come and go are told. Default 100: fewer where time is real. */
  readonly stories?: number;
}

/** Parts that a world cannot offer, each with the reason, which the suite's title shows. */
export type GpioLacks = Partial<
  Record<
    | 'looked'
    | 'isFree'
    | 'takeOutside'
    | 'mergedEdges'
    | 'stopInterrupts'
    | 'giveBackOutside'
    | 'hold'
    | 'stories'
    | 'direction'
    | 'history'
    | 'heldHigh'
    | 'busy'
    | 'shorted'
    | 'breakReads'
    | 'hang'
    | 'outputOtherwise'
    | 'another',
    string
  >
>;

/** A change whose interrupt never comes is noticed within a second (`WatchOptions.checkMs`), and read soon after. */
const CHECKED_MS = 1_000 + 100;
const CLOSED = /^GPIO line .+ was closed$/;

/** What happens to a line and its watchers, one thing after the other. */
type Turn =
  | { readonly does: 'drive'; readonly level: Level }
  /** Somebody begins to watch, over one of the openings of the line, with the level that he read when it was opened. */
  | { readonly does: 'come'; readonly opening: number; readonly pollMs: number }
  | { readonly does: 'go'; readonly watcher: number };

const turn: fc.Arbitrary<Turn> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ does: fc.constant('drive'), level: fc.constantFrom<Level>(0, 1) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      does: fc.constant('come'),
      opening: fc.integer({ min: 0, max: 1 }),
      pollMs: fc.constantFrom(1, 10, 50),
    }),
  },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('go'), watcher: fc.nat({ max: 5 }) }) },
) as fc.Arbitrary<Turn>;

/** What other programs and a lossy controller do to a line that is watched; a level is the line's own change. */
type Meddling = Level | 'stopInterrupts' | 'giveBack' | 'hold' | 'letGo' | 'come' | 'pause';
const meddling = fc.constantFrom<Meddling>(
  0,
  1,
  0,
  1,
  'stopInterrupts',
  'giveBack',
  'hold',
  'letGo',
  'come',
  'pause',
);

/** Somebody who reads when he is woken, and at no other time. */
interface Reader {
  level: Level;
  /** Code of the error of the last reading, null where it succeeded. */
  failed: string | null;
  wakes: number;
  end(): void;
}

/** @param known the level that he read last */
function readOn(line: InputLine, known: Level, pollMs?: number, checkMs?: number): Reader {
  const reader: Reader = { level: known, failed: null, wakes: 0, end: () => undefined };
  let last: Promise<unknown> = Promise.resolve();
  reader.end = line.onEdge(
    () => {
      reader.wakes += 1;
      last = last.then(async () => {
        try {
          reader.level = await line.read();
          reader.failed = null;
        } catch (error) {
          reader.failed = (error as HardwareError).code;
        }
      });
    },
    { ...(pollMs !== undefined && { pollMs }), ...(checkMs !== undefined && { checkMs }) },
  );
  return reader;
}

/**
 * The part of the contract that is about watching, on a line that raises interrupts or (`looked`) one that does not.
 * @param given what `setup` of `describeGpioBackend` gives, anew for each test
 * @param lacksStories why watchers cannot come and go there
 */
function describeWatching(of: 'input' | 'looked', given: () => GpioSetup, lacksStories?: string): void {
  const lineOf = (world: GpioWorld): LineRef => present(world.lines[of], of);
  const start = async (level: Level) => {
    const { backend, world } = given();
    const line = lineOf(world);
    await world.drive(line, level);
    await world.settle();
    return { backend, world, line };
  };

  it('wakes everyone who asked at every change, whoever came first and over whatever opening', async () => {
    const { backend, world, line } = await start(0);
    const one = await finish(world, backend.openInput(line));
    const other = await finish(world, backend.openInput(line));
    const readers = [readOn(one, 0), readOn(one, 0), readOn(other, 0)];
    for (const level of [1, 0, 1, 0] as const) {
      await world.drive(line, level);
      await eventually(world, `all three have read ${level}`, () =>
        readers.every((reader) => reader.level === level),
      );
    }
    await finish(world, one.close());
    await finish(world, other.close());
  });

  itUnless(lacksStories, 'has each watcher know the level, however they come and go', async () => {
    const { backend, world, line } = await start(0);
    const story = async (turns: readonly Turn[]): Promise<void> => {
      await world.drive(line, 0);
      await world.settle();
      const openings = [
        await finish(world, backend.openInput(line)),
        await finish(world, backend.openInput(line)),
      ];
      const readers: Reader[] = [];
      const gone: { readonly reader: Reader; readonly wakes: number }[] = [];
      let level: Level = 0;
      for (const step of turns) {
        if (step.does === 'drive') {
          level = step.level;
          await world.drive(line, level);
        } else if (step.does === 'come') {
          const opening = openings[step.opening];
          // What he knows is from before the story: all that happened since went past him.
          if (opening !== undefined) readers.push(readOn(opening, 0, step.pollMs));
        } else {
          const [reader] = readers.splice(step.watcher % Math.max(1, readers.length), 1);
          if (reader === undefined) continue;
          reader.end();
          gone.push({ reader, wakes: reader.wakes });
        }
        await eventually(world, `all ${readers.length} have read ${level}`, () =>
          readers.every((reader) => reader.level === level),
        );
      }
      for (const opening of openings) await finish(world, opening.close());
      for (const { reader, wakes } of gone) expect(reader.wakes).toBe(wakes);
    };
    await fc.assert(fc.asyncProperty(fc.array(turn, { minLength: 3, maxLength: 15 }), story), {
      numRuns: given().stories ?? 100,
    });
  });

  it('wakes who begins to watch for what happened since he read', async () => {
    const { backend, world, line } = await start(0);
    const input = await finish(world, backend.openInput(line));
    const first = readOn(input, 0);
    await world.settle();
    const known = await finish(world, input.read());
    await world.drive(line, 1);
    await eventually(world, 'the first has read 1', () => first.level === 1);
    const second = readOn(input, known);
    await eventually(world, 'the second has read 1', () => second.level === 1);
    await finish(world, input.close());
  });

  it('wakes nobody while nothing changes', async () => {
    const { backend, world, line } = await start(1);
    const input = await finish(world, backend.openInput(line));
    const readers = [readOn(input, 1), readOn(input, 1)];
    await world.settle(50);
    const before = readers.map(({ wakes }) => wakes);
    await world.settle(100);
    expect(readers.map(({ wakes }) => wakes)).toEqual(before);
    expect(before.every((wakes) => wakes <= 1)).toBe(true);
    await finish(world, input.close());
  });
}

/** The contract of watching alone, for a world of which the rest is tested elsewhere. */
export function describeGpioWatching(name: string, setup: () => Promise<GpioSetup>): void {
  describe(`GpioBackend: ${name}`, () => {
    let given: GpioSetup;
    beforeEach(async () => {
      given = await setup();
    });
    afterEach(async () => {
      await given?.teardown?.();
    });
    describeWatching('looked', () => given);
  });
}

/**
 * The contract of `GpioBackend` in hw/ports.ts. `setup` runs before every test and gives a world in
 * the state that `GpioWorld` describes.
 */
export function describeGpioBackend(
  name: string,
  setup: () => Promise<GpioSetup>,
  lacks: GpioLacks = {},
): void {
  describe(titleWith(`GpioBackend: ${name}`, lacks), () => {
    let given: GpioSetup;
    let backend: GpioBackend;
    let world: GpioWorld;

    beforeEach(async () => {
      given = await setup();
      backend = given.backend;
      world = given.world;
    });
    afterEach(async () => {
      await given?.teardown?.();
    });

    const openOutput = (line: LineRef, on = backend) => finish(world, on.openOutput(line));
    const openInput = (line: LineRef, on = backend) => finish(world, on.openInput(line));
    const stateOf = async (line: LineRef) => ({
      level: await world.levelSeenOutside(line),
      direction: await world.directionSeenOutside?.(line),
    });

    describe('an output', () => {
      it('is opened, read and closed without a change of level or direction', async () => {
        const { output } = world.lines;
        const before = await stateOf(output);
        const line = await openOutput(output);
        const read = await finish(world, line.read());
        await world.settle();
        expect(await stateOf(output)).toEqual(before);
        expect(read).toBe(before.level);
        await finish(world, line.close());
        await world.settle();
        expect(await stateOf(output)).toEqual(before);
      });

      itUnless(lacks.heldHigh, 'that is high stays high through opening and closing', async () => {
        const heldHigh = present(world.lines.heldHigh, 'heldHigh');
        const line = await openOutput(heldHigh);
        expect(await finish(world, line.read())).toBe(1);
        await finish(world, line.close());
        await world.settle();
        expect(await world.levelSeenOutside(heldHigh)).toBe(1);
        if (world.historySeenOutside) expect(await world.historySeenOutside(heldHigh)).toEqual([1]);
      });

      for (const level of [1, 0] as const) {
        it(`drives ${level} and reads it back`, async () => {
          const line = await openOutput(world.lines.output);
          await finish(world, line.write(level === 1 ? 0 : 1));
          await finish(world, line.write(level));
          expect(await finish(world, line.read())).toBe(level);
          await eventually(
            world,
            `the line is ${level}`,
            async () => (await world.levelSeenOutside(world.lines.output)) === level,
          );
          await finish(world, line.close());
        });

        itUnless(lacks.direction, `is an output after the first write of ${level}`, async () => {
          const line = await openOutput(world.lines.output);
          await finish(world, line.write(level));
          expect(await world.directionSeenOutside?.(world.lines.output)).toBe('out');
          await finish(world, line.close());
        });

        itUnless(lacks.history, `shows no other level on the first write of ${level}`, async () => {
          const { output } = world.lines;
          const before = await world.levelSeenOutside(output);
          const line = await openOutput(output);
          await finish(world, line.write(level));
          await world.settle();
          expect(await world.historySeenOutside?.(output)).toEqual(
            before === level ? [level] : [before, level],
          );
          await finish(world, line.close());
        });

        it(`keeps ${level} through closing and opening again`, async () => {
          const { output } = world.lines;
          const first = await openOutput(output);
          await finish(world, first.write(level));
          await finish(world, first.close());
          await world.settle();
          expect(await world.levelSeenOutside(output)).toBe(level);
          const second = await openOutput(output);
          expect(await finish(world, second.read())).toBe(level);
          expect(await world.levelSeenOutside(output)).toBe(level);
          await finish(world, second.close());
        });

        itUnless(lacks.another, `keeps ${level} for the next process`, async () => {
          const { output } = world.lines;
          const line = await openOutput(output);
          await finish(world, line.write(level));
          await finish(world, line.close());
          const next = await openOutput(output, await present(given.another, 'another')());
          expect(await finish(world, next.read())).toBe(level);
          expect(await world.levelSeenOutside(output)).toBe(level);
          await finish(world, next.write(level === 1 ? 0 : 1));
          expect(await finish(world, next.read())).toBe(level === 1 ? 0 : 1);
          await finish(world, next.close());
        });
      }

      it('ends at the level of the last of several writes', async () => {
        const line = await openOutput(world.lines.output);
        await finish(world, Promise.all([line.write(1), line.write(0), line.write(1)]));
        expect(await finish(world, line.read())).toBe(1);
        await finish(world, line.close());
      });

      itUnless(lacks.shorted, 'that does not follow rejects GPIO_NOT_FOLLOWED', async () => {
        const line = await openOutput(present(world.lines.shorted, 'shorted'));
        await expectError(
          world,
          line.write(1),
          'GPIO_NOT_FOLLOWED',
          /^GPIO line .+ was driven high but reads low: another driver or a short holds it$/,
        );
        expect(await finish(world, line.read())).toBe(0);
        await finish(world, line.close());
      });

      it('rejects reading and writing after it was closed', async () => {
        const line = await openOutput(world.lines.output);
        await finish(world, line.close());
        await expectError(world, line.read(), 'GPIO_FAILED', CLOSED);
        await expectError(world, line.write(1), 'GPIO_FAILED', CLOSED);
      });

      it('may be closed twice', async () => {
        const line = await openOutput(world.lines.output);
        await finish(world, line.close());
        await finish(world, line.close());
      });
    });

    describe('an input', () => {
      it('reads the level that is driven from outside', async () => {
        const line = await openInput(world.lines.input);
        for (const level of [1, 0, 1] as const) {
          await world.drive(world.lines.input, level);
          await world.settle();
          expect(await finish(world, line.read())).toBe(level);
        }
        await finish(world, line.close());
      });

      for (const level of [1, 0] as const) {
        it(`wakes on the edge to ${level}, and the level is there when it is read then`, async () => {
          await world.drive(world.lines.input, level === 1 ? 0 : 1);
          await world.settle();
          const line = await openInput(world.lines.input);
          let woken = 0;
          const end = line.onEdge(() => {
            woken += 1;
          });
          await world.settle();
          const before = woken;
          await world.drive(world.lines.input, level);
          await eventually(world, 'a wake', () => woken > before);
          expect(await finish(world, line.read())).toBe(level);
          end();
          await finish(world, line.close());
        });
      }

      itUnless(
        lacks.mergedEdges,
        'may merge edges, but the last level is read after the last wake',
        async () => {
          await world.drive(world.lines.input, 0);
          await world.settle();
          const line = await openInput(world.lines.input);
          const reads: Promise<Level>[] = [];
          const end = line.onEdge(() => reads.push(line.read()));
          await world.settle();
          await world.drive(world.lines.input, 1);
          await world.drive(world.lines.input, 0);
          await world.drive(world.lines.input, 1);
          await eventually(world, 'a wake after which 1 is read', async () => (await reads.at(-1)) === 1);
          end();
          await finish(world, line.close());
        },
      );

      it('wakes everyone who asked', async () => {
        await world.drive(world.lines.input, 0);
        await world.settle();
        const line = await openInput(world.lines.input);
        const woken = new Set<string>();
        line.onEdge(() => woken.add('one'));
        line.onEdge(() => woken.add('other'));
        await world.settle();
        woken.clear();
        await world.drive(world.lines.input, 1);
        await eventually(world, 'both wakes', () => woken.size === 2);
        await finish(world, line.close());
      });

      it('wakes nobody after the returned function was called, nor after close', async () => {
        await world.drive(world.lines.input, 0);
        await world.settle();
        const line = await openInput(world.lines.input);
        let ended = 0;
        let closed = 0;
        const end = line.onEdge(() => {
          ended += 1;
        });
        line.onEdge(() => {
          closed += 1;
        });
        await world.settle();
        end();
        ended = 0;
        await world.drive(world.lines.input, 1);
        await eventually(world, 'the wake of the other', () => closed > 0);
        await world.settle(50);
        expect(ended).toBe(0);
        await finish(world, line.close());
        await world.settle();
        closed = 0;
        await world.drive(world.lines.input, 0);
        await world.settle(50);
        expect(closed).toBe(0);
      });

      itUnless(lacks.breakReads, 'that cannot be read rejects GPIO_FAILED', async () => {
        const line = await openInput(world.lines.input);
        await present(world.breakReads, 'breakReads')(world.lines.input);
        await expectError(world, line.read(), 'GPIO_FAILED', /^GPIO line .+ cannot be read \(EIO\)$/);
        await finish(world, line.close());
      });

      it('rejects reading after it was closed', async () => {
        const line = await openInput(world.lines.input);
        await finish(world, line.close());
        await expectError(world, line.read(), 'GPIO_FAILED', CLOSED);
      });

      itUnless(lacks.heldHigh, 'that is driven as an output stays one, and is read', async () => {
        const heldHigh = present(world.lines.heldHigh, 'heldHigh');
        const before = await stateOf(heldHigh);
        const line = await openInput(heldHigh);
        expect(await finish(world, line.read())).toBe(1);
        await world.settle();
        expect(await stateOf(heldHigh)).toEqual(before);
        await finish(world, line.close());
      });
    });

    describe('watchers of a line that raises interrupts', () => {
      describeWatching('input', () => given, lacks.stories);
    });
    if (lacks.looked === undefined) {
      describe('watchers of a line that raises none', () => {
        describeWatching('looked', () => given);
      });
    }

    if (lacks.hang === undefined) {
      describe('a chip that hangs', () => {
        const { hang, answer } = {
          hang: (line: LineRef) => present(world.hang, 'hang')(line),
          answer: () => present(world.answer, 'answer')(),
        };
        const HANGS =
          /^GPIO line .+ (did not answer|cannot be asked|could not be driven)( within \d+ ms)?: its chip, or the bus that it is on, hangs$/;
        /** A deadline, and what a world takes to notice it. */
        const ONE_DEADLINE_MS = 1_500;
        const timedOut = async (...asked: readonly Promise<unknown>[]) => {
          const settled = Promise.allSettled(asked);
          const outcomes = await finish(world, settled, ONE_DEADLINE_MS);
          for (const outcome of outcomes) {
            expect(outcome).toMatchObject({
              status: 'rejected',
              reason: { code: 'GPIO_TIMEOUT', message: expect.stringMatching(HANGS) },
            });
          }
        };

        it('has all its lines reject within one deadline, and work afterwards', async () => {
          const { output, input } = world.lines;
          const [driven, read] = [await openOutput(output), await openInput(input)];
          await finish(world, driven.write(1));
          await world.drive(input, 1);
          await hang(input);
          await timedOut(read.read(), driven.read(), read.read());
          await timedOut(read.read(), driven.read());
          await timedOut(backend.openOutput(output), backend.openInput(input));
          await answer();
          await world.settle();
          expect(await finish(world, read.read())).toBe(1);
          expect(await finish(world, driven.read())).toBe(1);
          await finish(world, driven.write(0));
          expect(await world.levelSeenOutside(output)).toBe(0);
          await finish(world, (await openInput(input)).close());
          await finish(world, driven.close());
          await finish(world, read.close());
        });

        it('is driven in the order of the writes when it answers again, if at all', async () => {
          for (const last of [0, 1] as const) {
            const { output } = world.lines;
            const line = await openOutput(output);
            await finish(world, line.write(last));
            await hang(output);
            await timedOut(line.write(last === 1 ? 0 : 1));
            await timedOut(line.write(last));
            await answer();
            await world.settle(50);
            expect(await world.levelSeenOutside(output)).toBe(last);
            await finish(world, line.write(last === 1 ? 0 : 1));
            expect(await world.levelSeenOutside(output)).toBe(last === 1 ? 0 : 1);
            await finish(world, line.close());
          }
        });

        it('drives a line that it answers for in time', async () => {
          const { output } = world.lines;
          const line = await openOutput(output);
          await finish(world, line.write(1));
          await hang(output);
          const written = line.write(0);
          written.catch(() => undefined);
          await world.settle(500);
          await answer();
          await finish(world, written);
          expect(await world.levelSeenOutside(output)).toBe(0);
          await finish(world, line.close());
        });

        for (const of of ['input', 'looked'] as const) {
          itUnless(
            of === 'looked' ? lacks.looked : undefined,
            `wakes those who watch its lines (${of}), and again when it answers`,
            async () => {
              const watched = present(world.lines[of], of);
              await world.drive(watched, 1);
              await world.settle();
              const line = await openInput(watched);
              const readers = [readOn(line, 1, 10, 100), readOn(line, 1, 10, 100)];
              await world.settle(50);
              await hang(watched);
              await eventually(
                world,
                'all have read in vain',
                () => readers.every(({ failed }) => failed === 'GPIO_TIMEOUT'),
                4_000,
              );
              await world.drive(watched, 0);
              await answer();
              await eventually(world, 'all have read 0', () =>
                readers.every(({ failed, level }) => failed === null && level === 0),
              );
              await finish(world, line.close());
            },
          );
        }
      });
    }

    describe('a line that does not raise its interrupts any more, or is no longer ours', () => {
      const input = () => world.lines.input;
      const watched = async (level: Level, checkMs?: number) => {
        await world.drive(input(), level);
        await world.settle();
        const line = await openInput(input());
        const readers = [readOn(line, level, undefined, checkMs), readOn(line, level, undefined, checkMs)];
        await world.settle(50);
        return { line, readers };
      };
      const haveRead = (readers: readonly Reader[], level: Level, limitMs = CHECKED_MS) =>
        eventually(
          world,
          `all have read ${level}`,
          () => readers.every((reader) => reader.level === level),
          limitMs,
        );

      itUnless(
        lacks.stopInterrupts,
        'has all who watch know a change within a second, and every one after it',
        async () => {
          const { line, readers } = await watched(1);
          for (const level of [0, 1, 0] as const) {
            await present(world.stopInterrupts, 'stopInterrupts')(input());
            await world.drive(input(), level);
            await haveRead(readers, level);
            await world.settle(700);
          }
          await finish(world, line.close());
        },
      );

      itUnless(lacks.stopInterrupts, 'is checked as rarely as everyone who watches lets it be', async () => {
        const { line, readers } = await watched(1, 5_000);
        await present(world.stopInterrupts, 'stopInterrupts')(input());
        await world.drive(input(), 0);
        await world.settle(2_000);
        expect(readers.map(({ level }) => level)).toEqual([1, 1]);
        await haveRead(readers, 0, 4_000);
        await finish(world, line.close());
      });

      itUnless(
        lacks.giveBackOutside,
        'is taken again where another program gave it back, and tells of every change',
        async () => {
          const { line, readers } = await watched(1);
          for (const level of [0, 1, 0] as const) {
            await present(world.giveBackOutside, 'giveBackOutside')(input());
            await world.drive(input(), level);
            await haveRead(readers, level);
            expect(await finish(world, line.read())).toBe(level);
          }
          await finish(world, line.close());
        },
      );

      itUnless(lacks.giveBackOutside, 'is read where another program gave it back just now', async () => {
        const { line } = await watched(1);
        await present(world.giveBackOutside, 'giveBackOutside')(input());
        expect(await finish(world, line.read())).toBe(1);
        await finish(world, line.close());
      });

      itUnless(
        lacks.hold ?? lacks.giveBackOutside,
        'wakes all who watch where another program has it now, says so, and comes back',
        async () => {
          const { line, readers } = await watched(1);
          const before = readers.map(({ wakes }) => wakes);
          await present(world.giveBackOutside, 'giveBackOutside')(input(), 'hold');
          await eventually(
            world,
            'all have read in vain',
            () => readers.every(({ failed }) => failed === 'GPIO_BUSY'),
            CHECKED_MS,
          );
          // And it is told once, not with every look.
          await world.settle(3_000);
          for (const [index, { wakes }] of readers.entries()) {
            expect(wakes - (before[index] ?? 0)).toBeLessThanOrEqual(2);
          }
          await expectError(world, line.read(), 'GPIO_BUSY', /^GPIO line .+ is held by .+$/);
          await world.drive(input(), 0);
          await present(world.letGoOutside, 'letGoOutside')(input());
          await haveRead(readers, 0);
          await world.drive(input(), 1);
          await haveRead(readers, 1);
          await finish(world, line.close());
        },
      );

      itUnless(lacks.giveBackOutside, 'is driven and read where another program gave it back', async () => {
        const { output } = world.lines;
        const line = await openOutput(output);
        for (const level of [1, 0, 1] as const) {
          await finish(world, line.write(level));
          await present(world.giveBackOutside, 'giveBackOutside')(output);
          await finish(world, line.write(level === 1 ? 0 : 1));
          expect(await world.levelSeenOutside(output)).toBe(level === 1 ? 0 : 1);
          await present(world.giveBackOutside, 'giveBackOutside')(output);
          await finish(world, line.read());
        }
        await finish(world, line.close());
      });

      itUnless(
        lacks.hold ?? lacks.giveBackOutside,
        'cannot be driven where another program has it now, until that lets go',
        async () => {
          const { output } = world.lines;
          const line = await openOutput(output);
          await finish(world, line.write(1));
          await present(world.giveBackOutside, 'giveBackOutside')(output, 'hold');
          await expectError(world, line.write(0), 'GPIO_BUSY', /^GPIO line .+ is held by .+$/);
          await present(world.letGoOutside, 'letGoOutside')(output);
          await finish(world, line.write(0));
          expect(await world.levelSeenOutside(output)).toBe(0);
          await finish(world, line.close());
        },
      );

      itUnless(
        lacks.stories ?? lacks.stopInterrupts ?? lacks.giveBackOutside,
        'has each watcher know the level within a second, whatever was done to the line, in whatever order',
        async () => {
          const story = async (turns: readonly Meddling[]): Promise<void> => {
            let known: Level = 0;
            let held = false;
            const { line, readers } = await watched(0);
            for (const step of turns) {
              if (step === 'stopInterrupts') {
                if (!held) await present(world.stopInterrupts, 'stopInterrupts')(input());
              } else if (step === 'giveBack' || step === 'hold') {
                if (!held)
                  await present(world.giveBackOutside, 'giveBackOutside')(
                    input(),
                    step === 'hold' ? 'hold' : undefined,
                  );
                held ||= step === 'hold';
              } else if (step === 'letGo') {
                if (held) await present(world.letGoOutside, 'letGoOutside')(input());
                held = false;
              } else if (step === 'come') readers.push(readOn(line, 0));
              else if (step === 'pause') await world.settle(350);
              else {
                known = step;
                await world.drive(input(), step);
              }
            }
            if (held) await present(world.letGoOutside, 'letGoOutside')(input());
            await haveRead(readers, known);
            await finish(world, line.close());
          };
          await fc.assert(fc.asyncProperty(fc.array(meddling, { minLength: 2, maxLength: 12 }), story), {
            numRuns: given.stories ?? 100,
          });
        },
      );
    });

    describe.each(['before', 'after'] as const)(
      'watchers that came %s an output of its own drives',
      (when) => {
        it('are all woken by what it drives', async () => {
          const output = await openOutput(world.lines.output);
          const early = when === 'before' ? await openInput(world.lines.output) : null;
          const known = await world.levelSeenOutside(world.lines.output);
          const readers = early === null ? [] : [readOn(early, known), readOn(early, known)];
          await finish(world, output.write(0));
          const input = early ?? (await openInput(world.lines.output));
          if (early === null) readers.push(readOn(input, 0), readOn(input, 0));
          for (const level of [1, 0, 1] as const) {
            await finish(world, output.write(level));
            await eventually(world, `all have read ${level}`, () =>
              readers.every((reader) => reader.level === level),
            );
          }
          await finish(world, input.close());
          await finish(world, output.close());
        });
      },
    );

    describe('locate', () => {
      it('finds lines where they are, without taking or changing one', async () => {
        const { output, input } = world.lines;
        const before = [await stateOf(output), await stateOf(input)];
        const [one, other, again] = await finish(world, backend.locate([output, input, output]));
        expect(one).toMatchObject({ chip: expect.any(String), offset: expect.any(Number) });
        expect(again).toEqual(one);
        expect(keyOf(other)).not.toBe(keyOf(one));
        await world.settle();
        expect([await stateOf(output), await stateOf(input)]).toEqual(before);
      });

      itUnless(lacks.outputOtherwise, 'finds one line for its two names', async () => {
        const otherwise = present(world.lines.outputOtherwise, 'outputOtherwise');
        const [one, other] = await finish(world, backend.locate([world.lines.output, otherwise]));
        expect(keyOf(other)).toBe(keyOf(one));
      });

      itUnless(lacks.busy, 'finds a line that someone else holds', async () => {
        const [found] = await finish(world, backend.locate([present(world.lines.busy, 'busy')]));
        expect(found).toHaveProperty('key');
      });

      it('tells all that is not there, each in its place, and finds the others', async () => {
        const chip = chipOf(world.lines);
        const found = await finish(
          world,
          backend.locate([
            { name: 'no-such-line' },
            world.lines.output,
            { chip: 'no-such-chip.gpio', line: 0 },
            { chip, line: 'C8' },
          ]),
        );
        expect(found.map((each) => ('code' in each ? each.code : 'found'))).toEqual([
          'GPIO_NO_LINE',
          'found',
          'GPIO_NO_CHIP',
          'GPIO_NO_LINE',
        ]);
        expect(found[0]).toMatchObject({
          message: expect.stringMatching(/^no GPIO line has the name "no-such-line": .+$/),
          details: { names: expect.any(Array) },
        });
        expect(found[2]).toMatchObject({ details: { labels: expect.arrayContaining([chip]) } });
      });
    });

    describe('a line that is given back', () => {
      const takenBy = async (line: LineRef, on = backend) => {
        const [found] = await finish(world, on.locate([line]));
        return found !== undefined && 'key' in found ? found.takenBy : found;
      };
      const isFree = (line: LineRef) => present(world.isFree, 'isFree')(line);

      it('is ours from its opening on, also when it was closed, until it is given back, and can be taken again', async () => {
        const { output } = world.lines;
        const line = await openOutput(output);
        await finish(world, line.write(0));
        expect(await takenBy(output)).toBe('ours');
        await finish(world, line.close());
        expect(await takenBy(output)).toBe('ours');
        await finish(world, backend.release([output]));
        expect(await takenBy(output)).toBe(null);
        const again = await openOutput(output);
        await finish(world, again.write(1));
        expect(await finish(world, again.read())).toBe(1);
        await finish(world, again.close());
      });

      itUnless(lacks.isFree, 'can be taken by another program then, and not before', async () => {
        const { output } = world.lines;
        const line = await openOutput(output);
        await finish(world, line.write(0));
        await finish(world, line.close());
        expect(await isFree(output)).toBe(false);
        await finish(world, backend.release([output]));
        expect(await isFree(output)).toBe(true);
      });

      itUnless(lacks.another, 'may have been taken by a process that is gone', async () => {
        const { input } = world.lines;
        const line = await openInput(input);
        await finish(world, line.close());
        const next = await present(given.another, 'another')();
        expect(await takenBy(input, next)).toBe('ours');
        await finish(world, next.release([input]));
        expect(await takenBy(input, next)).toBe(null);
      });

      it('must not be open: GPIO_BUSY, and nothing is given back', async () => {
        const { input, output } = world.lines;
        const closed = await openOutput(output);
        await finish(world, closed.write(0));
        await finish(world, closed.close());
        const line = await openInput(input);
        await expectError(
          world,
          backend.release([output, input]),
          'GPIO_BUSY',
          /^GPIO line .+ is still open in this process$/,
        );
        expect([await takenBy(output), await takenBy(input)]).toEqual(['ours', 'ours']);
        await finish(world, line.close());
        await finish(world, backend.release([output, input]));
        expect([await takenBy(output), await takenBy(input)]).toEqual([null, null]);
      });

      it('that nobody has taken is passed over', async () => {
        const { output } = world.lines;
        await finish(world, backend.release([output]));
        expect(await takenBy(output)).toBe(null);
      });

      itUnless(lacks.takeOutside, 'that another program has taken is told as such', async () => {
        const { output } = world.lines;
        await present(world.takeOutside, 'takeOutside')(output);
        expect(await takenBy(output)).toBe('foreign');
        const line = await openOutput(output);
        await finish(world, line.close());
        expect(await takenBy(output)).toBe('foreign');
      });
    });

    describe.each(['openOutput', 'openInput'] as const)('%s', (open) => {
      it('rejects an unknown chip with GPIO_NO_CHIP', async () => {
        await expectError(
          world,
          backend[open]({ chip: 'no-such-chip.gpio', line: 0 }),
          'GPIO_NO_CHIP',
          /^no GPIO chip has the label "no-such-chip\.gpio": there is .+$/,
        );
      });

      it('rejects a line beyond the chip with GPIO_NO_LINE', async () => {
        const chip = chipOf(world.lines);
        await expectError(
          world,
          backend[open]({ chip, line: 1_000_000 }),
          'GPIO_NO_LINE',
          // A stand-in does not know how many lines a chip has.
          /^(line 1000000 is offset 1000000, but ".+" has only \d+ lines|the kernel does not give out GPIO line 1000000 of .+ \(.+\))$/,
        );
      });

      it('rejects what is no name of a line with GPIO_NO_LINE', async () => {
        const chip = chipOf(world.lines);
        await expectError(
          world,
          backend[open]({ chip, line: 'C8' }),
          'GPIO_NO_LINE',
          /^"C8" is no line of ".+": give an offset such as 16 or an ASPEED port name such as "C0"$/,
        );
      });

      it('rejects an unknown name with GPIO_NO_LINE', async () => {
        await expectError(
          world,
          backend[open]({ name: 'no-such-line' }),
          'GPIO_NO_LINE',
          /^no GPIO line has the name "no-such-line": .+$/,
        );
      });

      itUnless(lacks.busy, 'rejects a line that someone else holds with GPIO_BUSY', async () => {
        await expectError(
          world,
          backend[open](present(world.lines.busy, 'busy')),
          'GPIO_BUSY',
          /^GPIO line .+ is held by (".+"|a kernel driver or another program); see \/sys\/kernel\/debug\/gpio or gpioinfo \(EBUSY\)$/,
        );
      });
    });

    itUnless(lacks.outputOtherwise, 'takes both names of one line', async () => {
      const line = await openOutput(world.lines.output);
      await finish(world, line.write(1));
      await finish(world, line.close());
      const same = await openOutput(present(world.lines.outputOtherwise, 'outputOtherwise'));
      expect(await finish(world, same.read())).toBe(1);
      await finish(world, same.close());
    });
  });
}

function keyOf(found: LinePlace | HardwareError | undefined): string {
  if (found === undefined || !('key' in found)) throw new Error(`not found: ${found?.message}`);
  return found.key;
}

function chipOf(lines: GpioWorld['lines']): string {
  for (const line of Object.values(lines)) if (line !== undefined && 'chip' in line) return line.chip;
  throw new Error('the world names no line by its chip');
}

function present<T>(value: T | undefined, part: string): T {
  if (value === undefined) throw new Error(`the world has no ${part}: give it, or say in lacks why not`);
  return value;
}
