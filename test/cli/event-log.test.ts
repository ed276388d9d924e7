import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import { createEventLog } from '../../src/system/event-log.ts';
import { createPrivateBus, type PrivateBus, withoutBus } from '../unit/dbus-systemd.ts';
import { createManualClock } from '../unit/manual-clock.ts';

const SERVICE = join(import.meta.dirname, '..', 'systemd', 'logging-service.mjs');
const ENTRY = {
  name: 'xyz.openbmc_project.Power.Error.Shutdown',
  severity: 'Critical',
  data: { CHASSIS_NUMBER: '0', REASON: 'pgood was lost' },
} as const;
/** Above the time that a call to the logging service may take. */
const LONG_MS = 6_000;

describe.skipIf(withoutBus !== undefined)(`the event log${withoutBus ? ` (${withoutBus})` : ''}`, () => {
  let bus: PrivateBus;
  let service: ChildProcess | undefined;
  /** What the logging service printed. */
  let printed: string[] = [];

  beforeEach(async () => {
    bus = createPrivateBus();
    await bus.start();
    printed = [];
  });
  afterEach(async () => {
    service?.kill('SIGKILL');
    service = undefined;
    await bus.remove();
  });

  const startService = async (mode: 'answers' | 'hangs') => {
    const child = spawn(process.execPath, [SERVICE, mode], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: bus.address },
    });
    service = child;
    await new Promise<void>((resolve) => {
      createInterface(child.stdout).on('line', (line) => {
        printed.push(line);
        resolve();
      });
    });
  };
  const entries = () => printed.slice(1).map((line) => JSON.parse(line));

  it('gets an entry with its name, level and data', async () => {
    await startService('answers');
    const eventLog = createEventLog({ clock: createSystemClock(), address: bus.address });
    expect(await eventLog.create(ENTRY)).toBe(true);
    expect(entries()).toMatchObject([
      { name: ENTRY.name, severity: 'xyz.openbmc_project.Logging.Entry.Level.Critical', data: ENTRY.data },
    ]);
  });

  it('is not there, which is no error', async () => {
    const eventLog = createEventLog({ clock: createSystemClock(), address: bus.address });
    expect(await eventLog.create(ENTRY)).toBe(false);
  });

  it('that does not answer has the entry, and is not waited for', async () => {
    await startService('hangs');
    const clock = createManualClock();
    const created = createEventLog({ clock, address: bus.address }).create(ENTRY);
    while (entries().length === 0) await clock.advance(0);
    await clock.advance(LONG_MS);
    expect(await created).toBe(true);
    expect(entries()).toHaveLength(1);
  });

  it('cannot be told where the bus is away', async () => {
    await bus.kill();
    const eventLog = createEventLog({ clock: createSystemClock(), address: bus.address });
    await expect(eventLog.create(ENTRY)).rejects.toMatchObject({ code: 'DBUS_UNAVAILABLE' });
  });
});
