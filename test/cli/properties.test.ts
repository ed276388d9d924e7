/** Properties of other services, on a real bus with a foreign owner of the name. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import type { PropertyBackend } from '../../hw/ports.ts';
import { createProperties } from '../../src/system/properties.ts';
import { describePropertyBackend } from '../contract/property-contract.ts';
import { createPrivateBus, type PrivateBus, withoutBus } from '../unit/dbus-systemd.ts';

// A reading that hangs takes its two seconds.
vi.setConfig({ testTimeout: 20_000 });

const SERVICE = join(import.meta.dirname, '..', 'systemd', 'inventory-service.mjs');
const PRESENT = {
  service: 'xyz.openbmc_project.Inventory.Manager',
  path: '/xyz/openbmc_project/inventory/system/chassis/riser0',
  interface: 'xyz.openbmc_project.Inventory.Item',
  property: 'Present',
};

type Mode = 'present' | 'absent' | 'two' | 'nought' | 'text' | 'refuses' | 'hangs';

class Inventory {
  readonly bus: PrivateBus = createPrivateBus();
  readonly properties: PropertyBackend = createProperties({
    clock: createSystemClock(),
    address: this.bus.address,
  });
  asked = 0;
  #service: ChildProcess | undefined;

  /** The name has another owner from now on. */
  async own(mode: Mode): Promise<void> {
    await this.leave();
    const { child, ready } = this.beside(mode);
    this.#service = child;
    await ready;
  }

  /** Another process that has the same object. */
  beside(mode: Mode, name = PRESENT.service) {
    const child = spawn(process.execPath, [SERVICE, mode, name], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: this.bus.address },
    });
    const ready = new Promise<void>((resolve) => {
      createInterface(child.stdout).on('line', (line) => {
        if (line === 'ready') resolve();
        else this.asked += 1;
      });
    });
    const tell = (value: boolean) => child.kill(value ? 'SIGUSR1' : 'SIGUSR2');
    return { child, ready, tell, end: () => child.kill('SIGKILL') };
  }

  /** It is so from now on, and listeners are told. */
  tell(value: boolean): void {
    this.#service?.kill(value ? 'SIGUSR1' : 'SIGUSR2');
  }

  async leave(): Promise<void> {
    const service = this.#service;
    this.#service = undefined;
    if (service === undefined) return;
    const ended = once(service, 'exit');
    service.kill('SIGKILL');
    await ended;
  }

  async end(): Promise<void> {
    await this.leave();
    await this.bus.remove();
  }
}

describe.skipIf(withoutBus !== undefined)(`on a real bus${withoutBus ? ` (${withoutBus})` : ''}`, () => {
  describePropertyBackend('the system bus', async () => {
    const inventory = new Inventory();
    await inventory.bus.start();
    await inventory.own('present');
    return {
      backend: inventory.properties,
      world: {
        property: PRESENT,
        settle: (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms)),
        change: (value) => inventory.own(value ? 'present' : 'absent'),
        tell: async (value) => inventory.tell(value),
        hang: () => inventory.own('hangs'),
        restore: () => inventory.own('present'),
      },
      teardown: () => inventory.end(),
    };
  });

  describe('a property of an item of the inventory', () => {
    let inventory: Inventory;
    beforeEach(async () => {
      inventory = new Inventory();
      await inventory.bus.start();
    });
    afterEach(() => inventory.end());
    const read = (property = PRESENT) => inventory.properties.readBoolean(property, 2_000);

    it('cannot be read before its service is there, and is read then', async () => {
      await expect(read()).rejects.toMatchObject({ code: 'DBUS_UNAVAILABLE' });
      await inventory.own('absent');
      expect(await read()).toBe(false);
      await inventory.leave();
      await expect(read()).rejects.toMatchObject({ code: 'DBUS_UNAVAILABLE' });
    });

    it.each([
      ['two', true],
      ['nought', false],
    ] as const)('is a number as well: %s', async (mode, value) => {
      await inventory.own(mode);
      expect(await read()).toBe(value);
    });

    it('is watched over the end of its service and of the bus, and a stranger wakes nobody', async () => {
      let wakes = 0;
      const end = inventory.properties.watch(PRESENT, () => {
        wakes += 1;
      });
      const woken = async (does: () => unknown) => {
        const before = wakes;
        await does();
        await vi.waitUntil(() => wakes > before, { timeout: 10_000 });
      };
      await inventory.own('present');
      await vi.waitUntil(() => wakes > 0);
      await woken(() => inventory.tell(false));
      expect(await read()).toBe(false);
      // Who does not own the name is not believed.
      const stranger = inventory.beside('present', 'com.example.Stranger');
      await stranger.ready;
      const before = wakes;
      stranger.tell(false);
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(wakes).toBe(before);
      stranger.end();
      await inventory.own('present');
      await woken(() => inventory.tell(false));
      await inventory.leave();
      await inventory.bus.kill();
      await inventory.bus.start();
      await woken(() => inventory.own('present'));
      await woken(() => inventory.tell(false));
      end();
      const last = wakes;
      inventory.tell(true);
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(wakes).toBe(last);
    });

    it('is neither true nor false where it is no boolean', async () => {
      await inventory.own('text');
      await expect(read()).rejects.toMatchObject({
        code: 'DBUS_MALFORMED',
        message: 'xyz.openbmc_project.Inventory.Item.Present is a value of type s, and no boolean',
      });
    });

    it.each([
      ['refuses', PRESENT, 'org.freedesktop.DBus.Error.AccessDenied'],
      ['present', { ...PRESENT, property: 'Presnt' }, 'org.freedesktop.DBus.Error.UnknownProperty'],
    ] as const)('is not guessed where its service %s: %j', async (mode, property, dbusError) => {
      await inventory.own(mode);
      await expect(read(property)).rejects.toMatchObject({ code: 'SYSTEMD_FAILED', details: { dbusError } });
    });

    it('cannot be read once its service dies while it is asked, nor without a bus', async () => {
      await inventory.own('hangs');
      const reading = expect(read()).rejects.toMatchObject({ code: 'DBUS_UNAVAILABLE' });
      await vi.waitUntil(() => inventory.asked > 0);
      await inventory.leave();
      await reading;
      await inventory.bus.kill();
      await expect(read()).rejects.toMatchObject({ code: 'DBUS_UNAVAILABLE' });
      // The next reading has a connection of its own.
      await inventory.bus.start();
      await inventory.own('present');
      expect(await read()).toBe(true);
    });
  });
});
