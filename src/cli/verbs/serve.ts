import { errorText } from '../../../hw/errors.ts';
import { chassisOf, type LoadedBoard, loadBoard } from '../../board/load.ts';
import { PowerError } from '../../errors.ts';
import { type Alarm, createAlarm } from '../../run/alarm.ts';
import { type ChassisHardware, openChassis } from '../../run/hardware.ts';
import { faultError } from '../../run/outcome.ts';
import type { Missed } from '../../run/record.ts';
import { runRecord, settleRun } from '../../run/run-record.ts';
import { type Plan, planOf } from '../../sequence/plan.ts';
import {
  CONTROL_POWER,
  CONTROL_POWER_ROOT,
  controlPowerChanges,
  controlPowerObject,
  controlPowerPath,
  SEQUENCE,
} from '../../service/control-power.ts';
import type { HeldResets } from '../../service/held-resets.ts';
import {
  type ChassisView,
  createResident,
  type Resident,
  type ResidentOptions,
} from '../../service/resident.ts';
import { missEntry, tellEventLog } from '../../service/tell-event-log.ts';
import { createFailureTeller } from '../../service/tell-failure.ts';
import { tellOfHostOff, tellOfLoss } from '../../service/tell-loss.ts';
import { createAnswersMark } from '../../store/answers-mark.ts';
import { createBlackBox } from '../../store/black-box.ts';
import type { ChassisLock } from '../../store/lock.ts';
import { forgetOnMarker } from '../../store/on-marker.ts';
import { watchChassis } from '../../store/watch-lock.ts';
import type { ObjectBus, ServedObject, ServiceNotifier } from '../../system/ports.ts';
import { writeLine } from '../../system/severity.ts';
import { createEventData, type EventDataOfErrors } from '../event-data.ts';
import { EXIT } from '../exit.ts';
import type { Invocation, Verb } from '../verb.ts';
import type { World } from '../world.ts';
import { createResidentEvents, type ResidentEvents } from './serve-events.ts';
import { heldResetsOf } from './serve-resets.ts';
import { createStates, type States, withAdvice } from './serve-state.ts';

/** A third of the time that systemd waits (sd_watchdog_enabled(3) recommends half of it). */
const WATCHDOG_SHARE = 3;
/** A `release` that is under way ends within this time, and so does a service that is being replaced. */
const WATCH_WAIT_MS = 10_000;

/**
 * The resident service: one process for all chassis of the board. It publishes them on the system bus, watches those that
 * are on, and runs power sequences on request. It drives no line at its start and at its end, except to finish what an
 * earlier service that died left unfinished.
 */
export const serve: Verb = {
  async run(invocation, world) {
    servesState(invocation);
    let loaded = await loadBoard(invocation.boardPath);
    const notifier = await world.notifier();
    await loadWhatLossesNeed(world);
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

/**
 * Loads what the service else would load with the first loss: by then an upgrade may have replaced the program's files, or
 * their disk may be gone. What cannot be had now is asked for again when it is needed.
 */
async function loadWhatLossesNeed(world: World): Promise<void> {
  const units = world.units().then((manager) => manager.close());
  await Promise.allSettled([units, world.eventLog(), world.journal(), import('../../report/events.ts')]);
}

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

/** The parameters of a service. */
interface Start {
  readonly loaded: LoadedBoard;
  readonly invocation: Invocation;
  readonly notifier: ServiceNotifier;
  readonly world: World;
}

/** The parts of a service that have been started. */
interface Parts {
  readonly alarm: Alarm;
  readonly watches: ChassisLock[];
  readonly opened: ChassisHardware[];
  readonly residents: Map<number, Resident>;
  readonly events: ResidentEvents[];
  /** By chassis, of those that have such resets. */
  readonly heldResets: Map<number, HeldResets>;
  /** The power interface of each chassis. */
  readonly objects: ServedObject[];
  /** Aborted once nothing is reported any more. */
  readonly ending: AbortController;
  states: States | null;
  /** Null until all its objects exist. */
  bus: ObjectBus | null;
}

async function startService(
  loaded: LoadedBoard,
  invocation: Invocation,
  notifier: ServiceNotifier,
  world: World,
): Promise<Service> {
  const parts: Parts = {
    alarm: createAlarm(world.clock),
    watches: [],
    opened: [],
    residents: new Map(),
    events: [],
    heldResets: new Map(),
    objects: [],
    ending: new AbortController(),
    states: null,
    bus: null,
  };
  try {
    for (const chassis of Object.keys(loaded.board.chassis).map(Number)) {
      await serveChassis(chassis, { loaded, invocation, notifier, world }, parts);
    }
    if (servesState(invocation)) {
      parts.states = await createStates(
        loaded.board,
        parts.residents,
        world,
        (severity, text) => log(world, severity, text),
        ({ path, interface: name, property }) => parts.bus?.changed(path, name, property),
      );
    }
    parts.bus = await publish(parts, invocation, world);
    await parts.bus.start();
    for (const resident of parts.residents.values()) resident.begin();
    for (const held of parts.heldResets.values()) held.begin();
    parts.states?.begin();
    return { residents: parts.residents, stop: (reason) => stopService(parts, reason) };
  } catch (error) {
    await stopService(parts, 'it could not start');
    throw withAdvice(error, parts.states?.names ?? []);
  }
}

async function stopService(parts: Parts, reason: string): Promise<void> {
  await parts.states?.stop();
  for (const held of parts.heldResets.values()) await held.stop();
  await Promise.all([...parts.residents.values()].map((resident) => resident.stop(reason)));
  parts.ending.abort(reason);
  await parts.bus?.close();
  for (const hardware of parts.opened) await hardware.close();
  for (const watch of parts.watches) watch.release();
  await Promise.all(parts.events.map((events) => events.settled()));
}

/** Starts the service for one chassis. Its object is published with the others. */
async function serveChassis(chassis: number, start: Start, parts: Parts): Promise<void> {
  const { loaded, invocation, world } = start;
  parts.watches.push(
    await watchChassis(invocation.runDir, chassis, 'serve', {
      clock: world.clock,
      flock: world.flock,
      waitMs: WATCH_WAIT_MS,
      signal: world.signal,
      onWait: () => undefined,
      onWithout: (why) => log(world, 4, `chassis ${chassis} is watched without a lock: ${why}`),
    }),
  );
  const hardware = await openChassis(loaded.board, chassis, world);
  parts.opened.push(hardware);
  const plan = planOf(chassisOf(loaded, chassis), loaded.board.devices);
  /** Name of the error that the power supply has; empty where no caller has set one. */
  const blame = { name: '' };
  const events = createResidentEvents(chassis, world);
  const data = createEventData(chassisOf(loaded, chassis));
  const keep = await residentBox(chassis, plan, start);
  parts.events.push(events);
  const { onMissed, ...news } = residentNews(chassis, start, parts, blame, events, data);
  const resident = await createResident({
    chassis,
    plan,
    hardware,
    clock: world.clock,
    flock: world.flock,
    runDir: invocation.runDir,
    identity: { bootId: world.bootId(), boardHash: loaded.hash },
    record(entry) {
      events.record(entry);
      if (entry.type === 'missed') onMissed(entry);
    },
    alarm: parts.alarm,
    supplyError: () => blame.name,
    onRunOver(run) {
      data.remember(run.error, run.entries);
      keep(run);
    },
    ...news,
    inspect: world.inspect,
  });
  parts.residents.set(chassis, resident);
  const held = await heldResetsOf(chassis, resident, loaded.board, world, (severity, text) =>
    log(world, severity, text),
  );
  if (held !== null) parts.heldResets.set(chassis, held);
  let seconds = Math.ceil(plan.pgood.onTimeoutMs / 1000);
  const pgoodTimeoutSeconds = {
    read: () => seconds,
    write(value: number) {
      seconds = value;
      resident.setPgoodTimeoutMs(value * 1000);
      parts.bus?.changed(controlPowerPath(chassis), CONTROL_POWER, 'pgood_timeout');
    },
  };
  const blameSupply = (name: string) => {
    blame.name = name;
  };
  parts.objects.push(
    controlPowerObject({ chassis, resident, clock: world.clock, pgoodTimeoutSeconds, blameSupply }),
  );
}

/** Keeps the runs of a chassis. Nothing of the service waits for the disk. */
async function residentBox(
  chassis: number,
  plan: Plan,
  { loaded, invocation, world }: Start,
): Promise<ResidentOptions['onRunOver']> {
  const { clock, stateDir } = world;
  const { runDir } = invocation;
  const box = createBlackBox({ stateDir, runDir, chassis, disk: await world.disk(), clock });
  const board = { name: loaded.board.name, hash: loaded.hash };
  const bootId = world.bootId();
  const write = async (work: () => Promise<string | null>): Promise<void> => {
    const problem = await work();
    if (problem !== null) log(world, 4, problem);
  };
  return ({ asked, by, ...end }) => {
    const run = runRecord({ chassis, plan, asked, by, bootId, board }, end, clock);
    world.background(write(settleRun(box, run)));
  };
}

/** Where the news of a chassis go. */
function residentNews(
  chassis: number,
  { notifier, world }: Start,
  parts: Parts,
  blame: { readonly name: string },
  events: ResidentEvents,
  data: EventDataOfErrors,
): Pick<ResidentOptions, 'onChange' | 'onLoss' | 'onHostOff' | 'onRequestFailed'> & {
  onMissed(missed: Missed): void;
} {
  const options = {
    chassis,
    eventLog: world.eventLog,
    clock: world.clock,
    log: (severity: number, text: string) => log(world, severity, text),
    logFailure: events.failed,
    signal: parts.ending.signal,
    supplyError: () => blame.name,
    dataOf: data.of,
    units: world.units,
    isStillOff: () => parts.residents.get(chassis)?.view.wanted === 'off',
  };
  const teller = createFailureTeller(options);
  return {
    onChange(now, before) {
      if (now.state === 'off' && before.state !== 'off') forgetMarker(chassis, world);
      if (now.state === 'off' || now.state === 'pgood') teller.isWell();
      if (parts.bus !== null) announce(parts.bus, chassis, now, before);
      parts.heldResets.get(chassis)?.powerChanged();
      parts.states?.powerChanged(chassis);
      void notifier.status(statusText(parts));
    },
    onLoss(loss) {
      teller.isKnown(faultError(chassis, loss.sequence));
      return tellOfLoss(loss, options);
    },
    onHostOff: () => tellOfHostOff(options),
    // Nothing waits for it: the chassis is on.
    onMissed(missed) {
      const { settled } = tellEventLog(missEntry(chassis, missed), options);
      world.background(settled.catch((error) => log(world, 3, errorText(error))));
    },
    onRequestFailed: teller.requestFailed,
  };
}

async function publish(
  { states, objects, ending }: Parts,
  { runDir }: Invocation,
  world: World,
): Promise<ObjectBus> {
  const mark = createAnswersMark(runDir);
  // What a service that was killed has left. It stays for no moment beyond the last answer of this one.
  mark.set(false);
  ending.signal.addEventListener('abort', () => mark.set(false));
  return world.objectBus({
    names: [CONTROL_POWER, ...(states?.names ?? [])],
    managerPaths: [CONTROL_POWER_ROOT, ...(states?.managerPaths ?? [])],
    objects: [...objects, ...(states?.objects ?? [])],
    onFailure: (error, member) => log(world, 3, `${member} failed: ${errorText(error)}`),
    onRefused: (text) => log(world, 4, text),
    onConnection(up, error) {
      mark.set(up && !ending.signal.aborted);
      if (up) return;
      const why = error ? ` (${error.message})` : '';
      log(world, 4, `the D-Bus system bus went away${why}: connecting again`);
    },
  });
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

/** The board to start again with; null when the service is to end. */
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

/** The board file if it has changed and can be used; null while a chassis is on, and for an invalid file. */
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

/** Notifies systemd's watchdog as long as the event loop of this process runs. */
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
