import { errorText } from '../../../hw/errors.ts';
import { type LoadedBoard, loadBoard } from '../../board/load.ts';
import { PowerError } from '../../errors.ts';
import { lineReporter } from '../../report/lines.ts';
import { type ChassisHardware, openChassis } from '../../run/hardware.ts';
import { faultError } from '../../run/outcome.ts';
import { planOf } from '../../sequence/plan.ts';
import {
  CONTROL_POWER,
  CONTROL_POWER_ROOT,
  controlPowerChanges,
  controlPowerObject,
  controlPowerPath,
  SEQUENCE,
} from '../../service/control-power.ts';
import { type ChassisView, createResident, type Resident } from '../../service/resident.ts';
import { createFailureTeller } from '../../service/tell-failure.ts';
import { tellOfLoss } from '../../service/tell-loss.ts';
import type { ChassisLock } from '../../store/lock.ts';
import { forgetOnMarker } from '../../store/on-marker.ts';
import { watchChassis } from '../../store/watch-lock.ts';
import type { ObjectBus, ServiceNotifier } from '../../system/ports.ts';
import { writeLine } from '../../system/severity.ts';
import { EXIT } from '../exit.ts';
import type { Invocation, Verb } from '../verb.ts';
import type { World } from '../world.ts';
import { createStates, type States, withAdvice } from './serve-state.ts';

/** phosphor-power, phosphor-power-sequencer/src/chassis.cpp: a chassis that lost its power while it was on. */
const SHUTDOWN = 'xyz.openbmc_project.Power.Error.Shutdown';
/** A third of the time that systemd waits (sd_watchdog_enabled(3) recommends half of it). */
const WATCHDOG_SHARE = 3;
/** A `release` that is under way ends within this time, and so does a service that is being replaced. */
const WATCH_WAIT_MS = 10_000;

/**
 * The resident service: one process for all chassis of the board. It publishes them on the system bus, watches
 * those that are on, and runs power sequences on request, until it is asked to end. No line is touched when it
 * begins, and none when it ends, unless a service before it died while it was switching: that it finishes.
 */
export const serve: Verb = {
  async run(invocation, world) {
    servesState(invocation);
    let loaded = await loadBoard(invocation.boardPath);
    const notifier = await world.notifier();
    for (;;) {
      const service = await startService(loaded, invocation, notifier, world);
      await notifier.ready(statusText(service));
      const endWatchdog = keepAlive(notifier, world);
      const next = await untilAskedToEnd(loaded, service, invocation, world);
      endWatchdog();
      if (next === null) await notifier.stopping('leaving the chassis as they are');
      await service.stop(next === null ? String(world.signal.reason) : 'another board');
      if (next === null) return EXIT.ok;
      loaded = next;
    }
  },
};

/** Whether chassis and host state are published. Off where phosphor-state-manager owns these names. */
function servesState({ option }: Invocation): boolean {
  const value = option('state') ?? 'on';
  if (value === 'on' || value === 'off') return value === 'on';
  throw new PowerError('USAGE', `--state takes on or off, not "${value}"`);
}

interface Service {
  readonly residents: ReadonlyMap<number, Resident>;
  stop(reason: string): Promise<void>;
}

async function startService(
  loaded: LoadedBoard,
  invocation: Invocation,
  notifier: ServiceNotifier,
  world: World,
): Promise<Service> {
  const residents = new Map<number, Resident>();
  const opened: ChassisHardware[] = [];
  const watches: ChassisLock[] = [];
  let bus: ObjectBus | undefined;
  let states: States | undefined;
  const ending = new AbortController();
  const stop = async (reason: string): Promise<void> => {
    await states?.stop();
    await Promise.all([...residents.values()].map((resident) => resident.stop(reason)));
    ending.abort(reason);
    await bus?.close();
    for (const hardware of opened) await hardware.close();
    for (const watch of watches) watch.release();
  };
  try {
    const served = [];
    for (const [name, chassis] of Object.entries(loaded.board.chassis)) {
      const number = Number(name);
      const plan = planOf(chassis);
      watches.push(
        await watchChassis(invocation.runDir, number, 'serve', {
          clock: world.clock,
          waitMs: WATCH_WAIT_MS,
          signal: world.signal,
          onWait: () => undefined,
          onWithout: (why) => log(world, 4, `chassis ${number} is watched without a lock: ${why}`),
        }),
      );
      const hardware = await openChassis(loaded.board, number, world);
      opened.push(hardware);
      let blamed = '';
      const care = {
        chassis: number,
        eventLog: world.eventLog,
        clock: world.clock,
        log: (severity: number, text: string) => log(world, severity, text),
        signal: ending.signal,
      };
      const teller = createFailureTeller(care);
      const resident = await createResident({
        chassis: number,
        plan,
        hardware,
        clock: world.clock,
        runDir: invocation.runDir,
        identity: { bootId: world.bootId(), boardHash: loaded.hash },
        record: lineReporter(world.stdout, number),
        onChange(now, before) {
          if (now.state === 'off' && before.state !== 'off') forgetMarker(number, world);
          if (now.state === 'off' || now.state === 'pgood') teller.isWell();
          if (bus !== undefined) announce(bus, number, now, before);
          states?.powerChanged(number);
          void notifier.status(statusText({ residents }));
        },
        onLoss(loss) {
          teller.isKnown(faultError(number, loss.sequence));
          return tellOfLoss(loss, {
            ...care,
            eventName: blamed || SHUTDOWN,
            units: world.units,
            isStillOff: () => resident.view.wanted === 'off',
          });
        },
        onRequestFailed: teller.requestFailed,
        inspect: world.inspect,
      });
      residents.set(number, resident);
      let seconds = Math.ceil(plan.pgood.onTimeoutMs / 1000);
      served.push(
        controlPowerObject({
          chassis: number,
          resident,
          clock: world.clock,
          pgoodTimeoutSeconds: {
            read: () => seconds,
            write(value) {
              seconds = value;
              resident.setPgoodTimeoutMs(value * 1000);
              bus?.changed(controlPowerPath(number), CONTROL_POWER, 'pgood_timeout');
            },
          },
          blameSupply: (name) => {
            blamed = name;
          },
        }),
      );
    }
    if (servesState(invocation)) {
      states = await createStates(
        residents,
        world,
        (severity, text) => log(world, severity, text),
        ({ path, interface: name, property }) => bus?.changed(path, name, property),
      );
    }
    bus = await world.objectBus({
      names: [CONTROL_POWER, ...(states?.names ?? [])],
      managerPaths: [CONTROL_POWER_ROOT, ...(states?.managerPaths ?? [])],
      objects: [...served, ...(states?.objects ?? [])],
      onFailure: (error, member) => log(world, 3, `${member} failed: ${errorText(error)}`),
      onRefused: (text) => log(world, 4, text),
      onConnection: (up, error) => {
        if (!up)
          log(
            world,
            4,
            `the D-Bus system bus went away${error ? ` (${error.message})` : ''}: connecting again`,
          );
      },
    });
    await bus.start();
    for (const resident of residents.values()) resident.begin();
    states?.begin();
    return { residents, stop };
  } catch (error) {
    await stop('it could not start');
    throw withAdvice(error, states?.names ?? []);
  }
}

/** A chassis without power is not "on" for the other units of an OpenBMC image either. */
function forgetMarker(chassis: number, world: World): void {
  const problem = forgetOnMarker(world.openbmcRunDir, chassis);
  if (problem !== null) log(world, 4, problem);
}

function announce(bus: ObjectBus, chassis: number, now: ChassisView, before: ChassisView): void {
  const path = controlPowerPath(chassis);
  const { properties, signal } = controlPowerChanges(now, before);
  for (const property of properties) bus.changed(path, CONTROL_POWER, property);
  if (signal !== null) bus.emit(path, CONTROL_POWER, signal, []);
  if (now.state !== before.state) bus.changed(path, SEQUENCE, 'State');
  if (now.fault !== before.fault) bus.changed(path, SEQUENCE, 'Fault');
}

/** The board to go on with, or null when the service is asked to end. */
function untilAskedToEnd(
  loaded: LoadedBoard,
  { residents }: Service,
  { boardPath }: Invocation,
  world: World,
): Promise<LoadedBoard | null> {
  return new Promise((resolve, reject) => {
    const end = (next: LoadedBoard | null) => {
      unhang();
      world.signal.removeEventListener('abort', endForGood);
      resolve(next);
    };
    const endForGood = () => end(null);
    const reload = async (): Promise<void> => {
      const next = await changedBoard(loaded, boardPath, residents, world);
      if (next !== null) end(next);
    };
    const unhang = world.onHangup(() => {
      reload().catch(reject);
    });
    world.signal.addEventListener('abort', endForGood);
    if (world.signal.aborted) endForGood();
  });
}

/** The board file when it changed and may be taken over; null while a chassis is on, and when the file is wrong. */
async function changedBoard(
  loaded: LoadedBoard,
  boardPath: string,
  residents: ReadonlyMap<number, Resident>,
  world: World,
): Promise<LoadedBoard | null> {
  let next: LoadedBoard;
  try {
    next = await loadBoard(boardPath);
  } catch (error) {
    if (!(error instanceof PowerError)) throw error;
    log(world, 3, `not reloaded, the board of before stays: ${error.message}`);
    return null;
  }
  if (next.hash === loaded.hash) {
    log(world, 5, 'the board file has not changed');
    return null;
  }
  const busy = [...residents].filter(([, { view }]) => view.state !== 'off' && view.state !== 'failed');
  if (busy.length > 0) {
    const list = busy.map(([chassis, { view }]) => `chassis ${chassis} is ${view.state}`).join(', ');
    log(world, 3, `not reloaded, the board of before stays: ${list}; power off first`);
    return null;
  }
  log(world, 5, 'the board file has changed: starting over with it');
  return next;
}

/** Notifies systemd's watchdog as long as the event loop of this process turns. */
function keepAlive(notifier: ServiceNotifier, world: World): () => void {
  const { watchdogIntervalMs } = notifier;
  if (watchdogIntervalMs === null) return () => undefined;
  const tell = (): void => {
    void notifier.alive();
    cancel = world.clock.after(watchdogIntervalMs / WATCHDOG_SHARE, tell);
  };
  let cancel = world.clock.after(0, tell);
  return () => cancel();
}

function statusText({ residents }: Pick<Service, 'residents'>): string {
  return [...residents].map(([chassis, { view }]) => `chassis ${chassis} ${view.state}`).join(', ');
}

/** @param severity as syslog counts it (RFC 5424, table 2) */
function log(world: World, severity: number, text: string): void {
  writeLine(world.stdout, severity, text);
}
