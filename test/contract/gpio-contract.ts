import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GpioBackend, Level, LineRef } from '../../hw/ports.ts';
import { eventually, expectError, finish, itUnless, type SettlingWorld, titleWith } from './support.ts';

export interface GpioWorld extends SettlingWorld {
  readonly lines: {
    /** Undriven when the test starts, and free to be driven. */
    readonly output: LineRef;
    /** Driven by `drive` only. */
    readonly input: LineRef;
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
  /** Makes every read of a line fail from now on. */
  breakReads?(line: LineRef): Promise<void>;
  /** All levels that a line had since the test started, each change once, the first at its start. */
  historySeenOutside?(line: LineRef): Promise<Level[]>;
}

export interface GpioSetup {
  readonly backend: GpioBackend;
  readonly world: GpioWorld;
  /** A second backend on the same world, as the next process would have it. */
  another?(): Promise<GpioBackend>;
  teardown?(): Promise<void>;
}

/** Parts that a world cannot offer, each with the reason, which the suite's title shows. */
export type GpioLacks = Partial<
  Record<
    | 'mergedEdges'
    | 'direction'
    | 'history'
    | 'heldHigh'
    | 'busy'
    | 'shorted'
    | 'breakReads'
    | 'outputOtherwise'
    | 'another',
    string
  >
>;

const CLOSED = /^GPIO line .+ was closed$/;

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

    it('wakes an input on the line that an output of its own drives', async () => {
      const output = await openOutput(world.lines.output);
      await finish(world, output.write(0));
      const input = await openInput(world.lines.output);
      let woken = 0;
      input.onEdge(() => {
        woken += 1;
      });
      await world.settle();
      const before = woken;
      await finish(world, output.write(1));
      await eventually(world, 'a wake', () => woken > before);
      expect(await finish(world, input.read())).toBe(1);
      await finish(world, input.close());
      await finish(world, output.close());
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

function chipOf(lines: GpioWorld['lines']): string {
  for (const line of Object.values(lines)) if (line !== undefined && 'chip' in line) return line.chip;
  throw new Error('the world names no line by its chip');
}

function present<T>(value: T | undefined, part: string): T {
  if (value === undefined) throw new Error(`the world has no ${part}: give it, or say in lacks why not`);
  return value;
}
