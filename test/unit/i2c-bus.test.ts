import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createBusHolds } from '../../hw/i2c/bus-hold.ts';
import { createI2c } from '../../hw/i2c/i2c-bus.ts';
import { packetErrorCode, readMessage, writeMessage } from '../../hw/i2c/pec.ts';
import type { I2cBusObject } from '../../hw/i2c/transfers.ts';
import type { I2cBackend, I2cBus, I2cDevice } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import { describeI2cBackend } from '../contract/i2c-contract.ts';
import { finish } from '../contract/support.ts';
import { filesAnswered } from './file-work.ts';
import { createManualClock, type ManualClock } from './manual-clock.ts';

const VR = 0x60;
/** Has a packet error check, and takes nothing without it. */
const CHECKED = 0x61;
const OWNED = 0x40;
const EMPTY = 0x22;
const PAGE = 0x00;
const VOUT_COMMAND = 0x21;
const READ_VOUT = 0x8b;
const MFR_ID = 0x99;
/** What the devices read there. */
const BLOCK = [...Buffer.from('Texas Instruments')];

/**
 * The library i2c-bus 5.2.3 as it was seen to behave: it opens the device with the first transfer to an
 * address and keeps the file even when setting the address failed, so that the next transfer of the
 * same object goes to address 0. It knows no deadline.
 */
interface I2cLibrary {
  readonly open: (bus: number) => Promise<I2cBusObject>;
  readonly objects: { readonly bus: number; closed: boolean; running: number }[];
  /** Addresses that were spoken to, as the wire saw them. */
  readonly wire: number[];
  /** Errors for the next transfers, in order: `EIO`, `600 ms EIO`; `hang` never settles until `release`. */
  readonly failures: string[];
  /** Bits that are flipped in what is read next as a block: which one of each block, in order. */
  readonly flips: number[];
  release(): void;
}

function libraryError(code: string, syscall: string): Error {
  return Object.assign(new Error(`${code}, ${syscall}`), { code, syscall });
}

/** Bit by bit as in the SMBus specification 3.1, section 6.4, so that the driver's table is not tried on itself. */
function restOf(bytes: readonly number[]): number {
  let rest = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit -= 1) {
      const carry = (rest >> 7) ^ ((byte >> bit) & 1);
      rest = ((rest << 1) & 0xff) ^ (carry === 1 ? 0x07 : 0);
    }
  }
  return rest;
}

function createLibrary(time: ManualClock): I2cLibrary {
  const objects: I2cLibrary['objects'] = [];
  const wire: number[] = [];
  const failures: string[] = [];
  const hanging = new Set<() => void>();
  const registers = new Map<number, number>();
  const pages = new Map([
    [VR, 0],
    [CHECKED, 0],
  ]);
  const flips: number[] = [];
  /** Words that were written, by address and command. */
  const words = new Map<string, number>();
  const readings = (address: number, command: number, length: number): number[] => {
    if (command === PAGE) return [pages.get(address) ?? 0];
    const told = length === 2 ? words.get(`${address}/${command}`) : undefined;
    if (told !== undefined) return [told & 0xff, told >> 8];
    const word = command === READ_VOUT ? ([900, 1200][pages.get(address) ?? 0] ?? 0) : 0xffff;
    return length === 1 ? [registers.get(command) ?? 0xff] : [word & 0xff, word >> 8];
  };
  const write = (address: number, command: number, value: number): number => {
    if (command === PAGE) pages.set(address, value);
    else registers.set(command, value);
    return 0;
  };
  /** A device with a check that is asked without it is no device that a correct driver meets. */
  const plain = (address: number) => {
    if (address === CHECKED) throw new Error('test: a transfer without its check');
  };

  const untilReleased = () => new Promise<void>((resolve) => hanging.add(resolve));

  const open = async (bus: number): Promise<I2cBusObject> => {
    if (failures[0] === 'hang at open') {
      failures.shift();
      await untilReleased();
    }
    const object = { bus, closed: false, running: 0 };
    objects.push(object);
    /** Address per opened file: 0 until it was set. */
    const files = new Map<number, number>();

    const transfer = async (address: number, syscall: string, run: () => number): Promise<number> => {
      if (object.closed) throw new Error('test: used after close');
      object.running += 1;
      try {
        if (!files.has(address)) {
          files.set(address, 0);
          await Promise.resolve();
          if (address === OWNED) throw libraryError('EBUSY', 'setAddr');
          if (failures[0]?.startsWith('setAddr ')) {
            throw libraryError(failures.shift()?.slice('setAddr '.length) ?? '', 'setAddr');
          }
          files.set(address, address);
        }
        const [, delay, failure] = /^(?:(\d+) ms )?(.+)$/.exec(failures.shift() ?? '') ?? [];
        if (delay !== undefined) await new Promise<void>((resolve) => time.after(Number(delay), resolve));
        if (failure === 'hang') await untilReleased();
        else if (failure !== undefined) throw libraryError(failure, syscall);
        const onWire = files.get(address) ?? 0;
        wire.push(onWire);
        if (!pages.has(onWire)) throw libraryError('ENXIO', syscall);
        return run();
      } finally {
        object.running -= 1;
      }
    };

    return {
      readByte: (address, command) =>
        transfer(address, 'readByte', () => {
          plain(address);
          return readings(address, command, 1)[0] ?? 0;
        }),
      readWord: (address, command) =>
        transfer(address, 'readWord', () => {
          plain(address);
          const [low = 0, high = 0] = readings(address, command, 2);
          return low | (high << 8);
        }),
      writeByte: (address, command, value) =>
        transfer(address, 'writeByte', () => {
          plain(address);
          return write(address, command, value);
        }),
      writeWord: (address, command, value) =>
        transfer(address, 'writeWord', () => {
          plain(address);
          words.set(`${address}/${command}`, value);
          return 0;
        }),
      async readI2cBlock(address, command, length, buffer) {
        const bytesRead = await transfer(address, 'readI2cBlock', () => {
          const block = command === MFR_ID ? BLOCK : null;
          // A host that reads on reads ones.
          const data =
            block === null
              ? readings(address, command, length - 1)
              : [block.length, ...block].slice(0, length);
          // Nobody drives the bus for what a device without a check does not send.
          const check =
            address === CHECKED ? restOf([address << 1, command, (address << 1) | 1, ...data]) : 0xff;
          const sent = [...data, check];
          while (sent.length < length) sent.push(0xff);
          sent.length = length;
          buffer.set(sent);
          const bit = flips.shift();
          if (bit !== undefined) buffer[bit >> 3] = (sent[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          return sent.length;
        });
        return { bytesRead };
      },
      writeI2cBlock: (address, command, length, buffer) =>
        transfer(address, 'writeI2cBlock', () => {
          const [value = 0, high = 0] = buffer.subarray(0, length - 1);
          const isRight =
            buffer[length - 1] === restOf([address << 1, command, ...buffer.subarray(0, length - 1)]);
          // It does not acknowledge the byte that is wrong, and one without a check not the byte too many.
          if (length < 2 || length > 3 || address !== CHECKED || !isRight)
            throw libraryError('ENXIO', 'writeI2cBlock');
          if (length === 2) return write(address, command, value);
          words.set(`${address}/${command}`, value | (high << 8));
          return 0;
        }),
      async close() {
        if (object.running > 0) throw new Error('test: closed while a transfer runs');
        object.closed = true;
      },
    };
  };

  return {
    open,
    objects,
    wire,
    failures,
    flips,
    release() {
      for (const resolve of hanging) resolve();
      hanging.clear();
    },
  };
}

let root: string;
let clock: ManualClock;
let library: I2cLibrary;
let i2c: I2cBackend;
/** Looking for the bus is real file work, which the clock must not outrun. */
const world = {
  async settle(ms = 0) {
    await clock.advance(ms);
    await filesAnswered();
  },
};

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'i2c-'));
  for (const [number, name] of [
    [3, '1e78a200.i2c-bus'],
    [4, 'mux'],
    [5, 'mux'],
  ] as const) {
    writeFileSync(join(root, `i2c-${number}`), '');
    mkdirSync(join(root, 'class', `i2c-${number}`), { recursive: true });
    writeFileSync(join(root, 'class', `i2c-${number}`, 'name'), `${name}\n`);
  }
  clock = createManualClock();
  library = createLibrary(clock);
  i2c = oneProcess();
});
afterEach(() => rmSync(root, { recursive: true }));

/** The driver as one process has it. */
const oneProcess = () =>
  createI2c({
    clock,
    holds: createBusHolds({ clock, directory: join(root, 'run') }),
    devRoot: root,
    sysfsRoot: join(root, 'class'),
    open: library.open,
  });

const openBus = (bus: number | string = 3) => i2c.openBus(bus);
const readVout = (bus: I2cBus, address = VR) =>
  finish(
    world,
    bus.transaction(address, (device) => device.readWord(READ_VOUT)),
  );
const failure = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => error,
  );

describe('the bus object', () => {
  it('is thrown away when setting the address failed: nothing ever goes to address 0', async () => {
    const bus = await openBus();
    for (let time = 0; time < 3; time += 1) {
      expect(await failure(readVout(bus, OWNED))).toMatchObject({
        code: 'I2C_BUSY',
        message: expect.stringContaining('kernel driver'),
        details: { bus: 3, address: OWNED, command: READ_VOUT, attempts: 1, errno: 'EBUSY' },
      });
    }
    await readVout(bus);
    expect(library.wire).toEqual([VR]);
  });

  it.each(['EBUSY', 'EINVAL', 'EIO', 'ETIMEDOUT'])(
    'is thrown away for any error of setting the address (%s), which is not tried again',
    async (code) => {
      const bus = await openBus();
      library.failures.push(`setAddr ${code}`);
      expect(await failure(readVout(bus))).toMatchObject({ details: { errno: code, attempts: 1 } });
      expect(await readVout(bus)).toBe(900);
      expect(library.wire).toEqual([VR]);
      expect(library.objects.map(({ closed }) => closed)).toEqual([true, false]);
    },
  );

  it('is kept while all goes well, and closed with the bus', async () => {
    const bus = await openBus();
    await readVout(bus);
    await readVout(bus);
    expect(library.objects).toHaveLength(1);
    await finish(world, bus.close());
    expect(library.objects[0]?.closed).toBe(true);
  });

  it('is closed as well when the bus is closed during a transfer', async () => {
    const bus = await openBus();
    library.failures.push('100 ms EAGAIN');
    const read = bus.transaction(VR, (device) => device.readWord(READ_VOUT));
    await finish(world, bus.close());
    expect(await read).toBe(900);
    expect(library.objects.map(({ closed }) => closed)).toEqual([true, true]);
  });

  it('of one holder stays open when another holder closes', async () => {
    const [one, other] = [await openBus(), await openBus('1e78a200.i2c-bus')];
    await readVout(one);
    await finish(world, other.close());
    expect(await readVout(one)).toBe(900);
    expect(library.objects).toMatchObject([{ closed: false }]);
  });
});

describe('attempts', () => {
  it.each(['EAGAIN', 'ETIMEDOUT', 'ENXIO', 'EREMOTEIO'])('%s is tried again, in pauses', async (code) => {
    const bus = await openBus();
    library.failures.push(code, code);
    const startMs = clock.nowMs();
    expect(await readVout(bus)).toBe(900);
    expect(clock.nowMs() - startMs).toBeGreaterThanOrEqual(4);
  });

  it.each([
    ['EAGAIN', 'I2C_FAILED'],
    ['ETIMEDOUT', 'I2C_TIMEOUT'],
    ['ENXIO', 'I2C_NO_DEVICE'],
    ['EREMOTEIO', 'I2C_NO_DEVICE'],
  ])('%s rejects %s after three', async (errno, code) => {
    const bus = await openBus();
    library.failures.push(errno, errno, errno);
    expect(await failure(readVout(bus))).toMatchObject({
      code,
      details: { bus: 3, address: VR, command: READ_VOUT, attempts: 3, errno },
    });
    expect(await readVout(bus)).toBe(900);
  });

  it.each([
    ['EIO', 'I2C_FAILED'],
    ['EBUSY', 'I2C_FAILED'],
    ['EOPNOTSUPP', 'I2C_FAILED'],
    ['ENODEV', 'I2C_NO_DEVICE'],
    ['ENOENT', 'I2C_NO_BUS'],
    ['EACCES', 'I2C_PERMISSION'],
  ])('%s of a transfer rejects %s at once', async (errno, code) => {
    const bus = await openBus();
    library.failures.push(errno);
    expect(await failure(readVout(bus))).toMatchObject({ code, details: { attempts: 1, errno } });
  });
});

describe('a transfer that hangs', () => {
  it('rejects I2C_TIMEOUT at its deadline', async () => {
    const bus = await openBus();
    library.failures.push('hang');
    const startMs = clock.nowMs();
    expect(await failure(readVout(bus))).toMatchObject({
      code: 'I2C_TIMEOUT',
      details: { bus: 3, address: VR, command: READ_VOUT, attempts: 1 },
    });
    expect(clock.nowMs() - startMs).toBeLessThanOrEqual(1_010);
  });

  it.each(['hang', 'hang at open'] as const)(
    'leaves a new bus object to the next one, and its own is closed when it is over (%s)',
    async (kind) => {
      const bus = await openBus();
      if (kind === 'hang') await readVout(bus);
      library.failures.push(kind);
      await failure(readVout(bus));
      expect(await readVout(bus)).toBe(900);
      expect(library.objects.filter(({ closed }) => closed)).toEqual([]);
      library.release();
      await clock.advance(0);
      expect(library.objects.filter(({ closed }) => closed)).toHaveLength(1);
      expect(await readVout(bus)).toBe(900);
      expect(library.objects).toHaveLength(2);
    },
  );

  it('counts its attempts into one deadline', async () => {
    const bus = await openBus();
    library.failures.push('600 ms EAGAIN', 'hang');
    const startMs = clock.nowMs();
    expect(await failure(readVout(bus))).toMatchObject({ code: 'I2C_TIMEOUT', details: { attempts: 2 } });
    expect(clock.nowMs() - startMs).toBeLessThanOrEqual(1_010);
  });

  it('takes at most two worker threads, so that files go on', async () => {
    const [one, other] = [await openBus(3), await openBus(4)];
    library.failures.push('hang', 'hang', 'hang');
    await failure(readVout(one));
    await failure(readVout(other));
    expect(await failure(readVout(one))).toMatchObject({ code: 'I2C_TIMEOUT', details: { attempts: 0 } });
    expect(library.failures).toEqual(['hang']);
    library.failures.length = 0;
    library.release();
    expect(await readVout(one)).toBe(900);
  });

  it('leaves no timer behind', async () => {
    const bus = await openBus();
    const read = bus.transaction(VR, (device) => device.readWord(READ_VOUT));
    expect(await read).toBe(900);
    expect(clock.pendingCount).toBe(0);
    library.failures.push('hang');
    await failure(readVout(bus));
    expect(clock.pendingCount).toBe(0);
  });
});

describe('opening', () => {
  it('finds a bus by the name of its adapter', async () => {
    expect(await readVout(await openBus('1e78a200.i2c-bus'))).toBe(900);
    expect(library.objects).toMatchObject([{ bus: 3 }]);
  });

  it('lists what is there for an unknown name, and both for a doubled one', async () => {
    expect(await failure(openBus('smbus'))).toMatchObject({
      code: 'I2C_NO_BUS',
      message: expect.stringContaining('3 "1e78a200.i2c-bus", 4 "mux", 5 "mux"'),
    });
    expect(await failure(openBus('mux'))).toMatchObject({
      code: 'I2C_NO_BUS',
      message: expect.stringMatching(/2 I2C buses.*4 "mux", 5 "mux"/),
    });
  });

  it('says what to load when there is no i2c-dev', async () => {
    const without = createI2c({
      clock,
      holds: createBusHolds({ clock, directory: root }),
      devRoot: root,
      sysfsRoot: join(root, 'absent'),
      open: library.open,
    });
    expect(await failure(without.openBus('any'))).toMatchObject({
      code: 'I2C_NO_BUS',
      message: expect.stringContaining('i2c-dev'),
    });
    expect(await failure(openBus(9))).toMatchObject({
      code: 'I2C_NO_BUS',
      message: expect.stringContaining('i2c-9'),
      details: { errno: 'ENOENT' },
    });
  });

  it('has the library loaded before the first transfer, whose deadline does not wait for it', async () => {
    let isLoaded = false;
    const load = async () => {
      await pause(clock, 5_000);
      isLoaded = true;
    };
    const slow = createI2c({
      clock,
      holds: createBusHolds({ clock, directory: join(root, 'run') }),
      devRoot: root,
      sysfsRoot: join(root, 'class'),
      load,
      // As importing it again: at once where it is loaded.
      open: async (number) => {
        if (!isLoaded) await load();
        return library.open(number);
      },
    });
    const bus = await finish(world, slow.openBus(3));
    expect(await readVout(bus)).toEqual(expect.any(Number));
    await bus.close();
  });

  it('does not touch the library before the first transfer', async () => {
    await openBus();
    expect(library.objects).toEqual([]);
  });

  it('refuses another device root with the real i2c-bus, which would work on the real one', () => {
    expect(() =>
      createI2c({ clock, holds: createBusHolds({ clock, directory: root }), devRoot: root }),
    ).toThrow(TypeError);
  });
});

describe('a packet error check', () => {
  // The data sheet of the MLX90614 has both with their bytes: B4 07 B5 D2 3A, check 30; B4 22 07 C8, check 48.
  it.each([
    [readMessage(0x5a, 0x07, [0xd2, 0x3a]), 0x30],
    [writeMessage(0x5a, 0x22, [0x07, 0xc8]), 0x48],
    // Shifted out one bit at a time: 80, 07, 0e, 1c, 38, 70, e0, c7, 89, each with a high bit 1 divided by 107.
    [[0x80], 0x89],
    // The check value of this polynomial in catalogues of them.
    [[...Buffer.from('123456789')], 0xf4],
    [[], 0],
  ])('of %j is %i', (bytes, check) => {
    expect(packetErrorCode(bytes)).toBe(check);
  });

  it('is what the division bit by bit leaves', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 8 }), (bytes) => {
        expect(packetErrorCode(bytes)).toBe(restOf([...bytes]));
      }),
    );
  });

  const checked = async <T>(steps: (device: I2cDevice) => Promise<T>): Promise<T> => {
    const bus = await openBus();
    return finish(world, bus.transaction(CHECKED, steps, { pec: true }));
  };

  it.each(Array.from({ length: 24 }, (_, bit) => bit))(
    'tells that bit %i of what was read is another, after three attempts',
    async (bit) => {
      library.flips.push(bit, bit, bit);
      expect(await failure(checked((device) => device.readWord(READ_VOUT)))).toMatchObject({
        code: 'I2C_PEC',
        details: { bus: 3, address: CHECKED, command: READ_VOUT },
      });
      expect(library.flips).toEqual([]);
    },
  );

  it('that is wrong once is no error: the read is tried again', async () => {
    library.flips.push(3, 17);
    expect(await checked((device) => device.readWord(READ_VOUT))).toBe(900);
    expect(library.flips).toEqual([]);
  });
});

describeI2cBackend('i2c-bus in memory', async () => ({
  backend: i2c,
  another: async () => oneProcess(),
  world: {
    ...world,
    bus: 3,
    busOtherwise: '1e78a200.i2c-bus',
    unknownBus: 9,
    paged: { address: VR, command: READ_VOUT, words: [900, 1200] },
    emptyAddress: EMPTY,
    ownedAddress: OWNED,
    checked: { address: CHECKED, command: READ_VOUT, words: [900, 1200] },
    told: [
      { address: VR, command: VOUT_COMMAND },
      { address: CHECKED, command: VOUT_COMMAND, pec: true },
    ],
    blocks: [
      { address: VR, command: MFR_ID, bytes: BLOCK },
      { address: CHECKED, command: MFR_ID, bytes: BLOCK, pec: true },
    ],
    // It reads 0xff there.
    noBlock: { address: VR, command: 0x9a },
    disturb: async () => void library.flips.push(...Array.from({ length: 9 }, (_, bit) => bit)),
    calm: async () => void library.flips.splice(0),
    hang: async () => {
      library.failures.push('hang');
    },
    release: async () => library.release(),
  },
}));
