import type { Clock } from '../../hw/ports.ts';
import { endsWithin } from '../../hw/waiting.ts';
import {
  BUS,
  connectDbus,
  createBusBackoff,
  type DbusConnection,
  type DbusOptions,
} from './dbus/connection.ts';
import { isDbusError, SystemError } from './errors.ts';
import type { UnitManager, UnitState } from './ports.ts';

export interface UnitManagerOptions extends DbusOptions {
  /** Longest time for a job, from the request to its end. */
  readonly jobTimeoutMs?: number;
}

/** Above two stages in a row (TimeoutStartSec=240 each), so that systemd is the one who ends a hanging start. */
const JOB_TIMEOUT_MS = 540_000;

const MANAGER = {
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
} as const;

/** Places in a row of ListUnitsByNames, `a(ssssssouso)` (org.freedesktop.systemd1(5)). */
const LOAD_STATE = 2;
const ACTIVE_STATE = 3;
const SUB_STATE = 4;

/**
 * systemd's manager over the system bus. Connects with the first call, and again after the bus was
 * lost; what waits when the bus goes away rejects `DBUS_UNAVAILABLE`.
 */
export function createUnitManager(options: UnitManagerOptions): UnitManager {
  const { clock, jobTimeoutMs = JOB_TIMEOUT_MS } = options;
  const { connected, close } = createSessions(options);
  const watches = new Set<() => void>();

  const unitStates = async (units: readonly string[]): Promise<UnitState[]> => {
    if (units.length === 0) return [];
    const { dbus } = await connected();
    const [rows] = await dbus.call({
      ...MANAGER,
      member: 'ListUnitsByNames',
      signature: 'as',
      body: [units],
    });
    // Rows come in the order asked for, under the unit's own name where an alias was asked for.
    return units.map((unit, index): UnitState => {
      const row = (rows as unknown[][])[index] ?? [];
      return {
        unit,
        isKnown: row[LOAD_STATE] !== 'not-found',
        activeState: String(row[ACTIVE_STATE] ?? 'inactive'),
        subState: String(row[SUB_STATE] ?? 'dead'),
      };
    });
  };

  return {
    async startUnit(unit, mode) {
      const { dbus, jobs } = await connected();
      await jobs.subscribe();
      return jobs.follow(async (resultOf) => {
        const [job] = await dbus.call({
          ...MANAGER,
          member: 'StartUnit',
          signature: 'ss',
          body: [unit, mode],
        });
        const result = resultOf(String(job));
        if (await endsWithin(clock, jobTimeoutMs, result)) return result;
        const what = `the start of ${unit}`;
        const message = `${what} did not end within ${jobTimeoutMs} ms`;
        throw new SystemError('DBUS_TIMEOUT', message, { what, timeoutMs: jobTimeoutMs });
      });
    },

    unitStates,

    watchUnits(units, changed) {
      const endWatch = watchStates({ clock, connected, unitStates }, units, changed);
      const end = () => {
        watches.delete(end);
        endWatch();
      };
      watches.add(end);
      return end;
    },

    async reload() {
      const { dbus } = await connected();
      await dbus.call({ ...MANAGER, member: 'Reload' });
      await dbus.call({ ...BUS, member: 'ReloadConfig' });
    },

    async close() {
      for (const end of watches) end();
      await close();
    },
  };
}

/** The session with systemd: made with the first call, and again after it was lost. */
function createSessions(options: DbusOptions) {
  let session: Promise<Session> | undefined;
  let closed = false;
  return {
    async connected(): Promise<Session> {
      if (closed) throw new SystemError('DBUS_UNAVAILABLE', 'the unit manager was closed');
      if (session === undefined) {
        const attempt = startSession(options);
        const forget = () => {
          if (session === attempt) session = undefined;
        };
        attempt.then(({ dbus }) => dbus.onLost(forget), forget);
        session = attempt;
      }
      return session;
    },

    async close(): Promise<void> {
      closed = true;
      const current = await session?.catch(() => undefined);
      await current?.dbus.close();
    },
  };
}

interface WatchBasis extends Pick<UnitManager, 'unitStates'> {
  readonly clock: Clock;
  readonly connected: () => Promise<Session>;
}

/** `UnitManager.watchUnits`. */
function watchStates(
  { clock, connected, unitStates }: WatchBasis,
  units: readonly string[],
  changed: (states: readonly UnitState[]) => void,
): () => void {
  let ended = false;
  let lastReported = '';
  const backoff = createBusBackoff();
  let cancelRetry: () => void = () => undefined;
  let stale = false;
  let wake: () => void = () => undefined;
  const markStale = () => {
    stale = true;
    wake();
  };

  /** Follows the units until the watch ends; rejects when they cannot be followed any more. */
  const follow = async (): Promise<void> => {
    const { dbus, jobs } = await connected();
    const ends: (() => Promise<void>)[] = [];
    const forget = dbus.onLost(markStale);
    try {
      await jobs.subscribe();
      for (const unit of units) {
        if (ended) return;
        ends.push(await dbus.onSignal({ ...UNIT_CHANGED, path: unitPath(unit) }, markStale));
      }
      stale = true;
      while (!ended) {
        if (stale) {
          stale = false;
          const states = await unitStates(units);
          backoff.reset();
          report(states);
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        if (!dbus.isOpen) throw new SystemError('DBUS_UNAVAILABLE', 'the D-Bus system bus went away');
      }
    } finally {
      forget();
      // A rule that cannot be removed ends with the connection.
      for (const end of ends) await end().catch(() => undefined);
    }
  };

  const report = (states: readonly UnitState[]) => {
    const text = JSON.stringify(states);
    if (ended || text === lastReported) return;
    lastReported = text;
    changed(states);
  };

  const begin = () => {
    follow().catch(() => {
      if (ended) return;
      cancelRetry = clock.after(backoff.nextMs(), begin);
    });
  };
  begin();

  return () => {
    ended = true;
    cancelRetry();
    wake();
  };
}

const UNIT_CHANGED = {
  sender: MANAGER.destination,
  interface: 'org.freedesktop.DBus.Properties',
  member: 'PropertiesChanged',
  signature: 'sa{sv}as',
} as const;

/** The object of a unit, its name escaped as in sd_bus_path_encode(3). */
function unitPath(unit: string): string {
  const escaped = unit.replaceAll(
    /^[0-9]|[^A-Za-z0-9]/g,
    (character) => `_${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  return `${MANAGER.path}/unit/${escaped}`;
}

interface Session {
  readonly dbus: DbusConnection;
  readonly jobs: Jobs;
}

async function startSession(options: DbusOptions): Promise<Session> {
  const dbus = await connectDbus(options);
  return { dbus, jobs: createJobs(dbus) };
}

const JOB_REMOVED = {
  ...{ sender: MANAGER.destination, path: MANAGER.path, interface: MANAGER.interface },
  ...{ member: 'JobRemoved', signature: 'uoss' },
};

interface Jobs {
  /** Makes sure that results arrive; once per connection. */
  subscribe(): Promise<void>;
  /** Runs `request`, which may ask for the result of the job that it queues. */
  follow<T>(request: (resultOf: (job: string) => Promise<string>) => Promise<T>): Promise<T>;
}

function createJobs(dbus: DbusConnection): Jobs {
  let subscribed: Promise<void> | undefined;
  let following = 0;
  /** Results by job path. One can arrive before the reply that tells the path of the job. */
  const results = new Map<string, string>();
  const waiting = new Map<string, Set<(result: string) => void>>();

  const subscribe = async () => {
    const end = await dbus.onSignal(JOB_REMOVED, (body) => {
      const [, job, , result] = body.map(String);
      if (job === undefined || result === undefined || following === 0) return;
      results.set(job, result);
      for (const resolve of waiting.get(job) ?? []) resolve(result);
    });
    try {
      await dbus.call({ ...MANAGER, member: 'Subscribe' });
    } catch (error) {
      // Fine: systemd counts one subscription per connection.
      if (isDbusError(error, 'org.freedesktop.systemd1.AlreadySubscribed')) return;
      // The bus limits the rules of a connection, and the next try adds another one.
      await end().catch(() => undefined); // The first error is the one to report.
      throw error;
    }
  };

  const resultOf = (job: string): Promise<string> => {
    const known = results.get(job);
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve, reject) => {
      const forget = dbus.onLost(reject);
      const waiters = waiting.get(job) ?? new Set();
      waiting.set(job, waiters);
      waiters.add((result) => {
        forget();
        resolve(result);
      });
    });
  };

  return {
    subscribe() {
      subscribed ??= subscribe().catch((error: unknown) => {
        subscribed = undefined;
        throw error;
      });
      return subscribed;
    },

    async follow(request) {
      following += 1;
      try {
        return await request(resultOf);
      } finally {
        following -= 1;
        if (following === 0) {
          results.clear();
          waiting.clear();
        }
      }
    },
  };
}
