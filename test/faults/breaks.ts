import type {
  Clock,
  GpioBackend,
  I2cBackend,
  I2cDevice,
  LineRef,
  PropertyBackend,
  SensorBackend,
} from '../../hw/ports.ts';
import { lineKey } from '../../mocks/plant/line-key.ts';
import { linesOfPgood } from '../../src/board/pgood-sources.ts';
import type { Board, ChassisBoard } from '../../src/board/schema.ts';
import { PowerError } from '../../src/errors.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { Recorder } from '../../src/run/record.ts';
import type { SnapshotStore } from '../../src/store/snapshot.ts';
import type { Invariant } from './invariants.ts';
import type { Ending, Verb } from './process.ts';

/** PMBus specification 1.3.1 part II, 11.10. */
const PAGE = 0x00;

/** What one process has of its world. */
export interface ProcessWorld {
  readonly gpio: GpioBackend;
  readonly sensors: SensorBackend;
  readonly properties: PropertyBackend;
  readonly i2c: I2cBackend;
  readonly clock: Clock;
  readonly store: SnapshotStore;
  readonly record: Recorder;
}

export interface ProcessRole {
  readonly board: Board;
  readonly chassis: number;
  readonly verb: Verb;
  /** Its output is closed, full or not read. */
  readonly isOutputBroken: boolean;
}

/** A deliberate defect, put around the program: each invariant has one that it must see. */
export interface Break {
  readonly says: string;
  readonly world?: (world: ProcessWorld, role: ProcessRole) => ProcessWorld;
  /** What the process tells of how it ended. */
  readonly ending?: (ending: Ending) => Ending;
}

type LineRole = 'hostReset' | 'presence' | 'enable' | 'good' | 'pgood' | 'reset' | 'latch' | 'pulse';

function roleOf({ rails, pgood, resets, latch, hostReset }: ChassisBoard, ref: LineRef): LineRole {
  const key = lineKey(ref);
  const isIt = (part: object | undefined) => part !== undefined && lineKey(part as LineRef) === key;
  if (linesOfPgood(pgood).some(isIt)) return 'pgood';
  if (isIt(latch)) return 'latch';
  if (isIt(hostReset)) return 'hostReset';
  if (Object.values(resets).some(isIt)) return 'reset';
  if (Object.values(rails).some(({ presence }) => isIt(presence))) return 'presence';
  const enables = Object.values(rails).flatMap(({ enable }) => enable ?? []);
  if (enables.some((enable) => 'pulse' in enable && (isIt(enable.pulse) || isIt(enable.state))))
    return 'pulse';
  return enables.some((enable) => !('pulse' in enable) && isIt(enable)) ? 'enable' : 'good';
}

interface LineBreak {
  /** What is believed to be asserted. */
  readonly read?: (line: LineRole, asserted: boolean) => boolean;
  /** What is written instead, one after the other. */
  readonly write?: (line: LineRole, asserted: boolean) => readonly boolean[];
}

/** Made anew for each process. */
function onLines(make: (role: ProcessRole) => LineBreak): NonNullable<Break['world']> {
  return (world, role) => {
    const change = make(role);
    const described = role.board.chassis[role.chassis];
    if (!described) throw new RangeError(`no chassis ${role.chassis}`);
    const part = (ref: LineRef) => {
      const line = roleOf(described, ref);
      const active = 'active' in ref && ref.active === 'low' ? 0 : 1;
      const levelOf = (asserted: boolean) => (asserted === (active === 1) ? 1 : 0);
      return {
        read: async (raw: { read(): Promise<0 | 1> }) => {
          const asserted = (await raw.read()) === active;
          return levelOf(change.read?.(line, asserted) ?? asserted);
        },
        write: async (raw: { write(level: 0 | 1): Promise<void> }, level: 0 | 1) => {
          const asserted = level === active;
          for (const each of change.write?.(line, asserted) ?? [asserted]) await raw.write(levelOf(each));
        },
      };
    };
    const { gpio } = world;
    return {
      ...world,
      gpio: {
        ...gpio,
        async openOutput(ref) {
          const raw = await gpio.openOutput(ref);
          const { read, write } = part(ref);
          return { ...raw, read: () => read(raw), write: (level) => write(raw, level) };
        },
        async openInput(ref) {
          const raw = await gpio.openInput(ref);
          const { read } = part(ref);
          return { ...raw, read: () => read(raw) };
        },
      },
    };
  };
}

/** Made anew for each process; `change` for each transaction. */
function onDevices(
  make: () => (device: I2cDevice, address: number) => Promise<I2cDevice>,
): NonNullable<Break['world']> {
  return (world) => {
    const change = make();
    return {
      ...world,
      i2c: {
        async openBus(name) {
          const bus = await world.i2c.openBus(name);
          return {
            ...bus,
            transaction: (address, steps, options) =>
              bus.transaction(address, async (device) => steps(await change(device, address)), options),
          };
        },
      },
    };
  };
}

function onFailure(change: (failure: PowerError) => PowerError | null): NonNullable<Break['ending']> {
  return (ending) =>
    ending.kind === 'ended' && ending.failure !== null
      ? { ...ending, failure: change(ending.failure) }
      : ending;
}

export const BREAKS: Readonly<Record<Invariant, Break>> = {
  needsFirst: {
    says: 'every rail is believed to be good once one was enabled',
    world: onLines(() => {
      let isRising = false;
      return {
        read: (line, asserted) => asserted || (line === 'good' && isRising),
        write: (line, asserted) => {
          if (line === 'enable') isRising = asserted;
          return [asserted];
        },
      };
    }),
  },
  needsOutlive: {
    says: 'the first enable that is to go off is forgotten',
    world: onLines(() => {
      let forgot = false;
      return {
        write: (line, asserted) => {
          if (line !== 'enable' || asserted || forgot) return [asserted];
          forgot = true;
          return [];
        },
      };
    }),
  },
  noPulse: {
    says: 'an enable is driven the other way first',
    world: onLines(() => ({
      write: (line, asserted) => (line === 'enable' ? [asserted, !asserted, asserted] : [asserted]),
    })),
  },
  resetsHeld: {
    says: 'resets are not asserted',
    world: onLines(() => ({ write: (line, asserted) => (line === 'reset' && asserted ? [] : [asserted]) })),
  },
  drivenOff: {
    says: 'an enable that reads off is not driven off',
    world: onLines(() => {
      let isLow = false;
      return {
        read: (line, asserted) => {
          if (line === 'enable') isLow = !asserted;
          return asserted;
        },
        write: (line, asserted) => (line === 'enable' && !asserted && isLow ? [] : [asserted]),
      };
    }),
  },
  powerTold: {
    says: 'no failure says that power is still applied',
    ending: onFailure(
      (failure) =>
        new PowerError(failure.code, failure.message, { ...failure.details, powerStillApplied: false }),
    ),
  },
  honestOn: { says: 'a failure is told as success', ending: onFailure(() => null) },
  honestOff: { says: 'a failure is told as success', ending: onFailure(() => null) },
  snapshotTrue: {
    says: 'the state file always says off',
    world: (world) => ({
      ...world,
      store: { load: world.store.load, save: (_, sequence) => world.store.save('off', sequence) },
    }),
  },
  noMove: {
    says: 'every output is driven as it stands when it is opened',
    world: (world) => ({
      ...world,
      gpio: {
        ...world.gpio,
        async openOutput(ref) {
          const raw = await world.gpio.openOutput(ref);
          await raw.write(await raw.read());
          return raw;
        },
      },
    }),
  },
  healthyStays: {
    says: 'a watch reads pgood as gone',
    world: onLines(({ verb }) => ({
      read: (line, asserted) => asserted && !(verb === 'watch' && line === 'pgood'),
    })),
  },
  powerFirst: {
    says: 'every rail is believed to be good',
    world: onLines(() => ({ read: (line, asserted) => asserted || line === 'good' })),
  },
  setUpFirst: {
    says: 'what a device is told does not reach it, and is read back all the same',
    world: onDevices(() => async (device) => {
      const told = new Map<number, number>();
      return {
        ...device,
        writeWord: async (command, value) => void told.set(command, value),
        readWord: async (command) => told.get(command) ?? device.readWord(command),
      };
    }),
  },
  setUpOff: {
    says: 'whoever asks a device anything tells it first what it was told last',
    world: onDevices(() => {
      const last = new Map<number, (device: I2cDevice) => Promise<void>>();
      return async (device, address) => {
        await last.get(address)?.(device);
        let page = 0;
        return {
          ...device,
          writeByte: async (command, value) => {
            await device.writeByte(command, value);
            if (command === PAGE) page = value;
          },
          writeWord: async (command, value) => {
            await device.writeWord(command, value);
            const on = page;
            last.set(address, async (later) => {
              await later.writeByte(PAGE, on);
              await later.writeWord(command, value);
            });
          },
        };
      };
    }),
  },
  lossActedOn: {
    says: 'a watch reads pgood as standing',
    world: onLines(({ verb }) => ({
      read: (line, asserted) => asserted || (verb === 'watch' && line === 'pgood'),
    })),
  },
  hostOff: {
    says: 'a loss is told as a host that switched itself off',
    ending: (ending) =>
      ending.kind === 'ended' && ending.result.state === 'failed' && ending.job === JOBS.watch
        ? { ...ending, result: { ...ending.result, state: 'off' } }
        : ending,
  },
  obeys: {
    says: 'pgood never comes',
    world: onLines(() => ({ read: (line, asserted) => line !== 'pgood' && asserted })),
  },
  noLoop: {
    says: 'an enable that goes on goes off and on again',
    world: onLines(() => ({
      write: (line, asserted) => (line === 'enable' && asserted ? [true, false, true] : [asserted]),
    })),
  },
  latched: {
    says: 'the latch is not pulsed',
    world: onLines(() => ({ write: (line, asserted) => (line === 'latch' ? [] : [asserted]) })),
  },
  named: {
    says: 'every fault is called a timeout of pgood',
    ending: (ending) =>
      ending.kind === 'ended' && ending.result.sequence.fault !== null
        ? {
            ...ending,
            result: {
              ...ending.result,
              sequence: {
                ...ending.result.sequence,
                fault: { ...ending.result.sequence.fault, kind: 'pgoodTimeout', rail: 'none' },
              },
            },
          }
        : ending,
  },
  ends: {
    says: 'no timer ever runs',
    world: (world) => ({ ...world, clock: { ...world.clock, after: () => () => undefined } }),
  },
  resetHost: {
    says: 'the reset of the host is not let go',
    world: onLines(() => ({
      write: (line, asserted) => (line === 'hostReset' && !asserted ? [] : [asserted]),
    })),
  },
  absentLeft: {
    says: 'every part is believed to be there',
    world: onLines(() => ({ read: (line, asserted) => asserted || line === 'presence' })),
  },
  doneWithout: {
    says: 'that a rail was missed is not kept',
    world: (world) => ({
      ...world,
      store: {
        ...world.store,
        save(state, { rails, ...sequence }) {
          const kept = Object.entries(rails).map(([name, { missed: _, ...rail }]) => [name, rail]);
          return world.store.save(state, { ...sequence, rails: Object.fromEntries(kept) });
        },
      },
    }),
  },
  ownErrors: {
    says: 'a line that cannot be opened is a mistake of the program',
    world: (world) => ({
      ...world,
      gpio: { ...world.gpio, openInput: () => Promise.reject(new TypeError('undefined is not a line')) },
    }),
  },
  toldOnce: {
    says: 'everything is told three times',
    world: (world) => ({
      ...world,
      record: (entry) => {
        for (const _ of [1, 2, 3]) world.record(entry);
      },
    }),
  },
  port: {
    says: 'an input is read after it was closed',
    world: (world) => ({
      ...world,
      gpio: {
        ...world.gpio,
        async openInput(ref) {
          const raw = await world.gpio.openInput(ref);
          return {
            ...raw,
            close: async () => {
              await raw.close();
              await raw.read().catch(() => undefined);
            },
          };
        },
      },
    }),
  },
  outputAside: {
    says: 'output that nobody takes ends the command',
    world: (world, { isOutputBroken }) => ({
      ...world,
      record: (entry) => {
        if (isOutputBroken) throw new Error('write EPIPE');
        world.record(entry);
      },
    }),
  },
};
