import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { I2cBackend, I2cBus, I2cDevice, TransactionOptions } from '../../hw/ports.ts';
import { eventually, expectError, finish, itUnless, type SettlingWorld, titleWith } from './support.ts';

export interface I2cWorld extends SettlingWorld {
  readonly bus: number | string;
  /** The bus of `bus` by its other way of naming. */
  readonly busOtherwise?: number | string;
  readonly unknownBus: number | string;
  /** A PMBus device with two pages on which one word reads differently. */
  readonly paged: {
    readonly address: number;
    readonly command: number;
    readonly words: readonly [number, number];
  };
  /** The same of one that has a packet error check, which `paged` has not. */
  readonly checked?: I2cWorld['paged'];
  /** Flips bits of what is read from `checked`, until `calm`. */
  disturb?(): Promise<void>;
  calm?(): Promise<void>;
  /** Words that can be written on page 0 and read back, whatever they are; the device has a packet error check where `pec` says so. */
  readonly told?: readonly { readonly address: number; readonly command: number; readonly pec?: boolean }[];
  /** Blocks that read so, of 2 to 30 bytes; the device has a packet error check where `pec` says so. */
  readonly blocks?: readonly {
    readonly address: number;
    readonly command: number;
    readonly bytes: readonly number[];
    readonly pec?: boolean;
  }[];
  /** A device without blocks answers nothing that could be one there. */
  readonly noBlock?: { readonly address: number; readonly command: number };
  /** An address at which nothing answers. */
  readonly emptyAddress: number;
  /** An address that a kernel driver owns. */
  readonly ownedAddress?: number;
  /** Makes every transfer hang that starts from now on, until `release`. */
  hang?(): Promise<void>;
  release?(): Promise<void>;
}

export interface I2cSetup {
  readonly backend: I2cBackend;
  /** The backend of another process. */
  readonly another: () => Promise<I2cBackend>;
  readonly world: I2cWorld;
  teardown?(): Promise<void>;
}

/** Parts that a world cannot offer, each with the reason, which the suite's title shows. */
export type I2cLacks = Partial<
  Record<
    | 'hang'
    | 'ownedAddress'
    | 'busOtherwise'
    | 'checked'
    | 'unchecked'
    | 'told'
    | 'blocks'
    | 'otherLength'
    | 'noBlock',
    string
  >
>;

type Block = NonNullable<I2cWorld['blocks']>[number];

/** PAGE (PMBus 1.3.1 part II, 11.10). */
const PAGE = 0x00;

/** The words of a transfer's error: where it went, and then `what` as a pattern. */
function told(what: string): RegExp {
  return new RegExp(`^0x[0-9a-f]{2} on I2C bus \\S+ \\(command 0x[0-9a-f]{2}\\)${what}$`);
}

/** The contract of `I2cBackend` in hw/ports.ts. `setup` runs before every test. */
export function describeI2cBackend(name: string, setup: () => Promise<I2cSetup>, lacks: I2cLacks = {}): void {
  describe(titleWith(`I2cBackend: ${name}`, lacks), () => {
    let given: I2cSetup;
    let world: I2cWorld;
    let bus: I2cBus;

    beforeEach(async () => {
      given = await setup();
      world = given.world;
      bus = await finish(world, given.backend.openBus(world.bus));
    });
    afterEach(async () => {
      await finish(world, bus.close());
      await given.teardown?.();
    });

    const readPage = (page: number, on = bus) =>
      on.transaction(world.paged.address, async (device) => {
        await device.writeByte(PAGE, page);
        return device.readWord(world.paged.command);
      });

    it('writes a byte and reads it back', async () => {
      for (const page of [1, 0]) {
        const read = bus.transaction(world.paged.address, async (device) => {
          await device.writeByte(PAGE, page);
          return device.readByte(PAGE);
        });
        expect(await finish(world, read)).toBe(page);
      }
    });

    it('reads a word, low byte first', async () => {
      expect(await finish(world, readPage(0))).toBe(world.paged.words[0]);
      expect(await finish(world, readPage(1))).toBe(world.paged.words[1]);
    });

    itUnless(lacks.told, 'writes a word and reads it back, low byte first', async () => {
      for (const { address, command, pec = false } of world.told ?? []) {
        for (const word of [0x1234, 0xff00, 0x00fe]) {
          const read = bus.transaction(
            address,
            async (device) => {
              await device.writeByte(PAGE, 0);
              await device.writeWord(command, word);
              return device.readWord(command);
            },
            { pec },
          );
          expect(await finish(world, read)).toBe(word);
        }
      }
      expect(world.told?.length).toBeGreaterThan(0);
    });

    const readBlock = ({ address, command, pec = false }: Omit<Block, 'bytes'>, length: number) =>
      bus.transaction(address, (device) => device.readBlock(command, length), { isReading: true, pec });

    itUnless(lacks.blocks, 'reads a block, and what comes after it is as before', async () => {
      for (const block of world.blocks ?? []) {
        expect(await finish(world, readBlock(block, block.bytes.length))).toEqual(block.bytes);
        expect(await finish(world, readBlock(block, block.bytes.length))).toEqual(block.bytes);
        expect(await finish(world, readPage(1))).toBe(world.paged.words[1]);
      }
      expect(world.blocks?.length).toBeGreaterThan(0);
    });

    itUnless(lacks.otherLength, 'reads a block that is longer or shorter than expected', async () => {
      for (const block of world.blocks ?? []) {
        for (const length of [1, block.bytes.length - 1, block.bytes.length + 1, 30]) {
          expect(await finish(world, readBlock(block, length))).toEqual(block.bytes);
        }
      }
    });

    itUnless(lacks.noBlock, 'rejects I2C_FAILED where the device has no block', async () => {
      const place = world.noBlock ?? { address: 0, command: 0 };
      await expectError(world, readBlock(place, 4), 'I2C_FAILED', told(': .+'));
    });

    it('keeps the steps of a transaction together while others wait', async () => {
      const pages = [0, 1, 1, 0, 1, 0, 0, 1];
      const words = await finish(world, Promise.all(pages.map((page) => readPage(page))));
      expect(words).toEqual(pages.map((page) => world.paged.words[page]));
    });

    it('keeps them together for two holders of one bus', async () => {
      const other = await finish(world, given.backend.openBus(world.bus));
      const pages = [0, 1, 0, 1, 1, 0];
      const words = await finish(
        world,
        Promise.all(pages.map((page, index) => readPage(page, index % 2 === 0 ? bus : other))),
      );
      expect(words).toEqual(pages.map((page) => world.paged.words[page]));
      await finish(world, other.close());
      expect(await finish(world, readPage(1))).toBe(world.paged.words[1]);
    });

    itUnless(lacks.busOtherwise, 'keeps them together for one bus under its two names', async () => {
      const other = await finish(world, given.backend.openBus(world.busOtherwise ?? world.bus));
      const pages = [0, 1, 0, 1, 1, 0];
      const words = await finish(
        world,
        Promise.all(pages.map((page, index) => readPage(page, index % 2 === 0 ? bus : other))),
      );
      expect(words).toEqual(pages.map((page) => world.paged.words[page]));
      await finish(world, other.close());
    });

    it('keeps them together for two processes that share a bus', async () => {
      const other = await finish(world, (await given.another()).openBus(world.bus));
      // A machine with much else to do may take a second for the transactions of the other one: that is told, and no harm.
      const readWhenFree = async (page: number, on: I2cBus): Promise<number> => {
        for (;;) {
          try {
            return await readPage(page, on);
          } catch (error) {
            if ((error as { readonly code?: unknown }).code !== 'I2C_BUSY') throw error;
          }
        }
      };
      const run = async (on: I2cBus, pages: readonly number[]) => {
        const words: number[] = [];
        for (const page of pages) words.push(await readWhenFree(page, on));
        return words;
      };
      const ours = [0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0];
      const theirs = ours.map((page) => 1 - page);
      const words = await finish(world, Promise.all([run(bus, ours), run(other, theirs)]));
      expect(words).toEqual([ours, theirs].map((pages) => pages.map((page) => world.paged.words[page])));
      await finish(world, other.close());
    });

    it('rejects I2C_BUSY while another process keeps the bus, but does what is urgent', async () => {
      const other = await finish(world, (await given.another()).openBus(world.bus));
      let letGo: () => void = () => undefined;
      let isHeld = false;
      const held = other.transaction(world.paged.address, async () => {
        isHeld = true;
        await new Promise<void>((resolve) => {
          letGo = resolve;
        });
      });
      await eventually(world, 'the other process has the bus', () => isHeld);
      const words =
        /^I2C bus \S+ is held by another process of this program for more than \d+ ms: end the one that hangs$/;
      await expectError(world, readPage(0), 'I2C_BUSY', words);
      const urgent = bus.transaction(
        world.paged.address,
        async (device) => {
          await device.writeByte(PAGE, 1);
          return device.readWord(world.paged.command);
        },
        { isUrgent: true },
      );
      expect(await finish(world, urgent)).toBe(world.paged.words[1]);
      letGo();
      await finish(world, held);
      expect(await finish(world, readPage(0))).toBe(world.paged.words[0]);
      await finish(world, other.close());
    });

    it('puts back what an urgent transaction changed under the one that holds the bus, however it ends', async () => {
      const other = await finish(world, (await given.another()).openBus(world.bus));
      for (const isFailing of [false, true]) {
        let goOn: () => void = () => undefined;
        const isToGoOn = new Promise<void>((resolve) => {
          goOn = resolve;
        });
        let hasBegun: () => void = () => undefined;
        const begun = new Promise<void>((resolve) => {
          hasBegun = resolve;
        });
        const held = other.transaction(world.paged.address, async (device) => {
          await device.writeByte(PAGE, 0);
          hasBegun();
          await isToGoOn;
          return device.readWord(world.paged.command);
        });
        await finish(world, begun);
        const urgent = bus.transaction(
          world.paged.address,
          async (device) => {
            await device.writeByte(PAGE, 1);
            if (isFailing) throw Object.assign(new Error('of the steps'), { code: 'OF_THE_STEPS' });
          },
          { isUrgent: true, putsBack: PAGE },
        );
        if (isFailing) await expect(finish(world, urgent)).rejects.toMatchObject({ code: 'OF_THE_STEPS' });
        else await finish(world, urgent);
        goOn();
        expect(await finish(world, held)).toBe(world.paged.words[0]);
      }
      await finish(world, other.close());
    });

    it('runs transactions in the order they were asked for', async () => {
      const order: number[] = [];
      const transactions = [0, 1, 2, 3].map((place) =>
        bus.transaction(world.paged.address, async (device) => {
          await device.readByte(PAGE);
          order.push(place);
        }),
      );
      await finish(world, Promise.all(transactions));
      expect(order).toEqual([0, 1, 2, 3]);
    });

    it('does what is urgent before what waits and only reads, after what writes, and in the middle of nothing', async () => {
      const order: string[] = [];
      const step = (name: string, options: TransactionOptions = {}) =>
        bus.transaction(
          world.paged.address,
          async (device) => {
            order.push(`${name} begins`);
            await device.readByte(PAGE);
            order.push(`${name} ends`);
          },
          options,
        );
      await finish(
        world,
        Promise.all([
          step('first', { isReading: true }),
          step('second', { isReading: true }),
          step('write'),
          step('third', { isReading: true }),
          step('fourth', { isReading: true }),
          step('urgent', { isUrgent: true }),
          step('urgent too', { isUrgent: true }),
        ]),
      );
      const expected = ['first', 'second', 'write', 'urgent', 'urgent too', 'third', 'fourth'];
      expect(order).toEqual(expected.flatMap((name) => [`${name} begins`, `${name} ends`]));
    });

    it('gives the result and the error of the steps to the caller', async () => {
      expect(
        await finish(
          world,
          bus.transaction(world.paged.address, async () => 'result'),
        ),
      ).toBe('result');
      const failing = bus.transaction(world.paged.address, async () => {
        throw Object.assign(new Error('of the steps'), { code: 'OF_THE_STEPS' });
      });
      await expectError(world, failing, 'OF_THE_STEPS', /^of the steps$/);
      expect(await finish(world, readPage(1))).toBe(world.paged.words[1]);
    });

    it('rejects a transfer after its transaction with I2C_FAILED', async () => {
      let kept: I2cDevice | undefined;
      await finish(
        world,
        bus.transaction(world.paged.address, async (device) => {
          kept = device;
        }),
      );
      await expectError(
        world,
        kept?.readByte(PAGE) ?? Promise.resolve(),
        'I2C_FAILED',
        /^the transaction with 0x[0-9a-f]{2} on I2C bus \S+ is over: a transfer was not awaited$/,
      );
    });

    it('rejects I2C_NO_DEVICE where nothing acknowledges, and the bus goes on', async () => {
      const transfers = [
        (device: I2cDevice) => device.readByte(PAGE),
        (device: I2cDevice) => device.readWord(world.paged.command),
        (device: I2cDevice) => device.writeByte(PAGE, 0),
        (device: I2cDevice) => device.writeWord(world.paged.command, 0),
      ];
      for (const transfer of transfers) {
        await expectError(
          world,
          bus.transaction<unknown>(world.emptyAddress, transfer),
          'I2C_NO_DEVICE',
          told(': nothing acknowledges; check the address and the power of the device \\(E\\w+\\)'),
        );
      }
      expect(await finish(world, readPage(0))).toBe(world.paged.words[0]);
    });

    it.each([0x00, 0x02, 0x78, 0x100])('rejects address %i with I2C_FAILED', async (address) => {
      await expectError(
        world,
        bus.transaction(address, (device) => device.readByte(PAGE)),
        'I2C_FAILED',
        /^\d+ is no I2C address: 0x03 to 0x77$/,
      );
    });

    itUnless(
      lacks.ownedAddress,
      'rejects I2C_BUSY at an address of a kernel driver, every time',
      async () => {
        for (let time = 0; time < 3; time += 1) {
          await expectError(
            world,
            bus.transaction(world.ownedAddress ?? 0, (device) => device.readByte(PAGE)),
            'I2C_BUSY',
            told(
              ': a kernel driver owns the address; unbind it \\(/sys/bus/i2c/devices/BUS-ADDRESS/driver/unbind\\), or see its rails by what that driver reads \\("hwmon" in the board file\\) \\(EBUSY\\)',
            ),
          );
        }
        expect(await finish(world, readPage(0))).toBe(world.paged.words[0]);
      },
    );

    itUnless(lacks.checked, 'carries the packet error check, to and fro', async () => {
      const { address, command, words } = world.checked ?? world.paged;
      for (const page of [1, 0]) {
        const read = bus.transaction(
          address,
          async (device) => {
            await device.writeByte(PAGE, page);
            return [await device.readByte(PAGE), await device.readWord(command)];
          },
          { pec: true },
        );
        expect(await finish(world, read)).toEqual([page, words[page]]);
      }
    });

    itUnless(
      lacks.checked,
      'rejects I2C_PEC for a read that is disturbed, and works afterwards',
      async () => {
        const { address, command, words } = world.checked ?? world.paged;
        const read = () =>
          bus.transaction(
            address,
            async (device) => {
              await device.writeByte(PAGE, 1);
              return device.readWord(command);
            },
            { pec: true },
          );
        await world.disturb?.();
        const wrong =
          ': the packet error check is wrong: something disturbs the bus, or the device has none \\("pec" in the board file\\)';
        await expectError(world, read(), 'I2C_PEC', told(wrong));
        await world.calm?.();
        expect(await finish(world, read())).toBe(words[1]);
      },
    );

    itUnless(
      lacks.unchecked,
      'rejects I2C_PEC for a read from a device that has no packet error check',
      async () => {
        const { address, command } = world.paged;
        const reads = [
          (device: I2cDevice) => device.readByte(PAGE),
          (device: I2cDevice) => device.readWord(command),
        ];
        for (const read of reads) {
          await expectError(world, bus.transaction(address, read, { pec: true }), 'I2C_PEC', told(': .*'));
        }
        expect(await finish(world, readPage(1))).toBe(world.paged.words[1]);
      },
    );

    itUnless(lacks.hang, 'rejects I2C_TIMEOUT while the bus hangs, and works afterwards', async () => {
      await finish(world, readPage(0));
      await world.hang?.();
      await expectError(
        world,
        readPage(1),
        'I2C_TIMEOUT',
        told(' did not answer within \\d+ ms: something holds the bus'),
      );
      await world.release?.();
      expect(await finish(world, readPage(1))).toBe(world.paged.words[1]);
      expect(await finish(world, readPage(0))).toBe(world.paged.words[0]);
    });

    it('rejects a transaction after close with I2C_FAILED', async () => {
      await finish(world, bus.close());
      await expectError(world, readPage(0), 'I2C_FAILED', /^I2C bus \S+ was closed$/);
    });

    it('ends what was asked for before it closes', async () => {
      const read = readPage(1);
      await finish(world, bus.close());
      expect(await finish(world, read)).toBe(world.paged.words[1]);
    });

    it('rejects an unknown bus with I2C_NO_BUS, by number and by name', async () => {
      await expectError(
        world,
        given.backend.openBus(world.unknownBus),
        'I2C_NO_BUS',
        /^\/\S+\/i2c-\d+ cannot be opened \(ENOENT\): check the bus number and load the module i2c-dev$/,
      );
      await expectError(
        world,
        given.backend.openBus('no such adapter'),
        'I2C_NO_BUS',
        /^no I2C bus has the name "no such adapter": there is .+$/,
      );
    });
  });
}
