import { fromCallback, fromPromise, type SnapshotFrom } from 'xstate';
import { CodedError, errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { PowerError } from '../errors.ts';
import { type LastingState, type LastingStore, NOTHING_LASTING } from '../store/lasting.ts';
import type { UnitManager, UnitState } from '../system/ports.ts';
import { LEGACY, unitsOf } from '../units/names.ts';
import { type Inspector, startActor } from './actors.ts';
import { type HostStateEvent, hostStateChart } from './host-state-chart.ts';
import {
  type HostTransition,
  hostRequest,
  type PowerSeen,
  type PowerState,
  type PowerTransition,
  powerRequest,
  type RestartCause,
  type RestoreSetting,
  restorePolicy,
  type StateRequest,
  type StateView,
  stateView,
  withPower,
  withUnits,
} from './host-state-data.ts';
import type { Resident } from './resident.ts';

export type { HostTransition, PowerState, PowerTransition, StateView } from './host-state-data.ts';

export interface ChassisStateOptions {
  readonly chassis: number;
  readonly resident: Pick<Resident, 'view' | 'resetHost'>;
  /** The board has a line that resets the host. */
  readonly hasReset: boolean;
  /** The board has a signal for the end of the firmware's work. */
  readonly showsPost: boolean;
  readonly units: Pick<UnitManager, 'startUnit' | 'unitStates' | 'watchUnits'>;
  readonly clock: Clock;
  readonly store: LastingStore;
  readonly bootId: string;
  /** Whether the BMC restarted under a chassis that is on, by the marker file of OpenBMC images. */
  readonly isAdopted: () => boolean;
  /** @param severity as syslog counts it (RFC 5424, table 2) */
  readonly log: (severity: number, text: string) => void;
  readonly onChange: (now: StateView, before: StateView) => void;
  readonly inspect?: Inspector | undefined;
}

/** How long after a reset that was asked for the signals of the host may still tell of it. */
const RESET_SHOWS_MS = 1_000;

/** Chassis and host state for management clients, in place of phosphor-state-manager. */
export interface ChassisState {
  readonly view: StateView;
  /**
   * Has systemd start the targets of a transition, and does not wait: `view` shows the progress. The request replaces one
   * that is under way, unless that is the same.
   */
  requestPower(transition: PowerTransition): void;
  /** @param cause who wants it, by default a management client */
  requestHost(transition: HostTransition, cause?: RestartCause): void;
  /**
   * Resets a host that keeps its power, and does not wait.
   * @throws PowerError REQUEST_REJECTED where the chassis is not on; RESET_UNKNOWN where nothing resets its host
   */
  resetHost(cause: RestartCause): void;
  /** To be called when the firmware of the host shows that it has done its work, or shows so no more. */
  postChanged(isComplete: boolean): void;
  /** A reset that was asked for here is under way, or over for so short a time that the host still shows it. */
  readonly isResetting: boolean;
  /** To be called when the host has restarted by itself. */
  hostRestarted(): void;
  setRestore(which: 'restore' | 'restoreOnce', setting: Partial<RestoreSetting>): void;
  /** To be called whenever the view of the resident has changed. */
  powerChanged(): void;
  /**
   * To be called once all objects are published. Resumes a Reboot or PowerCycle that an earlier service did not finish;
   * otherwise restores power if the policy says so, once in each boot of the BMC.
   */
  begin(): void;
  /** Starts nothing any more, and writes the lasting state. For good. */
  stop(): void;
}

/** State of one chassis and its host. Reads the state of the units before it resolves, and does not reject where systemd cannot answer. */
export async function createChassisState(options: ChassisStateOptions): Promise<ChassisState> {
  const { chassis, resident, hasReset, showsPost, clock, store, bootId, isAdopted, log, inspect } = options;
  const id = `hostState${chassis}`;
  const { state: saved, warning } = store.load();
  if (warning !== null) log(4, `chassis ${chassis}: ${warning}`);
  const keeper = createKeeper(store, saved, log);
  const seenNow = (): PowerSeen => {
    const { state: sequence, pgood, wanted } = resident.view;
    return { sequence, pgood, wanted };
  };
  const nothingSeen = {
    ...{
      chassis,
      hasReset,
      clock,
      bootId,
      isAdopted,
      request: null,
      isPostComplete: showsPost ? false : null,
      lasting: saved ?? NOTHING_LASTING,
    },
    ...({ sequence: 'unknown', pgood: false, wanted: 'off', hostUnit: null, isQuiesced: false } as const),
    countedToMs: clock.nowMs(),
  };
  const unitsSeen = withUnits(nothingSeen, await readUnits(options));
  const actor = startActor(
    providedWith(options, keeper),
    { id, clock, inspect },
    withPower(unitsSeen, seenNow()),
  );
  let resetShowsUntilMs = Number.NEGATIVE_INFINITY;
  let view = viewOf(actor.getSnapshot());
  keeper.saveAtRest(view.power, actor.getSnapshot().context.lasting);
  actor.subscribe((snapshot) => {
    if (snapshot.status !== 'active') return;
    const before = view;
    view = viewOf(snapshot);
    keeper.saveAtRest(view.power, snapshot.context.lasting);
    const same = (Object.keys(view) as (keyof StateView)[]).every((key) => view[key] === before[key]);
    if (!same) options.onChange(view, before);
  });
  const send = (event: HostStateEvent): void => {
    if (actor.getSnapshot().status === 'active') actor.send(event);
  };

  return {
    get view() {
      return view;
    },
    requestPower: (transition) => send({ type: 'REQUESTED', request: powerRequest(chassis, transition) }),
    requestHost: (transition, cause = 'RemoteCommand') =>
      send({ type: 'REQUESTED', request: hostRequest(chassis, transition, cause) }),
    resetHost(cause) {
      expectResettable(options, view);
      resetShowsUntilMs = Number.POSITIVE_INFINITY;
      void reset(options, (isDone) => {
        resetShowsUntilMs = clock.nowMs() + RESET_SHOWS_MS;
        if (isDone) send({ type: 'HOST_RESET', cause });
      });
    },
    postChanged: (isComplete) => send({ type: 'POST_CHANGED', isComplete }),
    get isResetting() {
      return clock.nowMs() < resetShowsUntilMs;
    },
    hostRestarted: () => send({ type: 'HOST_RESET', cause: 'SoftReset' }),
    setRestore: (which, setting) => send({ type: 'RESTORE_SET', which, setting }),
    powerChanged: () => send({ type: 'POWER_CHANGED', ...seenNow() }),
    begin: () => send({ type: 'BEGIN' }),
    stop: () => send({ type: 'STOP' }),
  };
}

function expectResettable({ chassis, hasReset, resident }: ChassisStateOptions, { power }: StateView): void {
  if (!hasReset) {
    throw new PowerError(
      'RESET_UNKNOWN',
      `chassis ${chassis}: its board describes no line that resets the host`,
      { chassis },
    );
  }
  if (power === 'On' && resident.view.state === 'pgood') return;
  throw new PowerError(
    'REQUEST_REJECTED',
    `chassis ${chassis}: its power is ${power}, and only the host of a chassis that is on is reset`,
    { chassis },
  );
}

async function reset(
  { chassis, resident, log }: ChassisStateOptions,
  over: (isDone: boolean) => void,
): Promise<void> {
  try {
    await resident.resetHost();
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    over(false);
    return log(3, `chassis ${chassis}: the host was not reset: ${errorText(error)}`);
  }
  log(5, `chassis ${chassis}: the host was reset, and keeps its power`);
  over(true);
}

/** The chart with its actors. */
function providedWith(options: ChassisStateOptions, keeper: Keeper) {
  const { chassis, units, log } = options;
  return hostStateChart.provide({
    actors: {
      followUnits: fromCallback<HostStateEvent>(({ sendBack }) =>
        units.watchUnits(watchedUnits(chassis), (states) =>
          sendBack({ type: 'UNITS_CHANGED', units: states }),
        ),
      ),
      startTarget: fromPromise<boolean, StateRequest>(({ input, signal }) =>
        startTarget(options, input, signal),
      ),
      readUnits: fromPromise(() => readUnits(options)),
    },
    actions: {
      saveCycle: ({ context }) => keeper.saveCycle(context.lasting),
      save: ({ context }) => keeper.save(context.lasting),
      logRestore: ({ context: { lasting } }) =>
        log(
          5,
          `chassis ${chassis}: power restore policy ${restorePolicy(lasting)}, last asked for: ${lasting.lastAsked}`,
        ),
    },
  });
}

/** Whether the first target of a request was reached. A request that was replaced logs nothing. */
async function startTarget(
  { chassis, units, log }: ChassisStateOptions,
  { of, transition, targets }: StateRequest,
  signal: AbortSignal,
): Promise<boolean> {
  const [target = '', ...left] = targets;
  const name = `chassis ${chassis}: ${of} ${transition} requested`;
  log(5, `${name}: starting ${target}`);
  let result: string;
  try {
    result = await units.startUnit(target, 'replace');
  } catch (error) {
    result = errorText(error);
  }
  if (result === 'done' || signal.aborted) return result === 'done';
  const notStarted = left.map((unit) => `, and ${unit} is not started`).join('');
  log(3, `${name}: ${target} was not reached: ${result}${notStarted}`);
  return false;
}

/** Units of the host and of quiesce; null when systemd does not answer. */
async function readUnits({ chassis, units, log }: ChassisStateOptions): Promise<readonly UnitState[] | null> {
  try {
    return await units.unitStates(watchedUnits(chassis));
  } catch (error) {
    log(4, `chassis ${chassis}: the state of the host is not known: ${errorText(error)}`);
    return null;
  }
}

function watchedUnits(chassis: number): string[] {
  const { host, quiesce } = unitsOf(LEGACY, chassis);
  return [host, quiesce];
}

const POWER_STATES = {
  on: 'On',
  off: 'Off',
  turningOn: 'TransitioningToOn',
  turningOff: 'TransitioningToOff',
} as const satisfies Record<string, PowerState>;

function viewOf({ value, context }: SnapshotFrom<typeof hostStateChart>): StateView {
  const state = typeof value === 'object' ? value.serving.power : 'off';
  return stateView(context, state === 'unseen' ? 'Off' : POWER_STATES[state]);
}

/** Writes the lasting state. A failure is logged once, until writing works again. */
interface Keeper {
  save(lasting: LastingState): void;
  /** Writes nothing during a sequence: a power-off must not wait for a flash memory. */
  saveAtRest(power: PowerState, lasting: LastingState): void;
  /** Writes the begin and the end of a cycle, so that the next service can resume one. */
  saveCycle(lasting: LastingState): void;
}

function createKeeper(
  store: LastingStore,
  loaded: LastingState | null,
  log: ChassisStateOptions['log'],
): Keeper {
  let saved = loaded;
  let isLogged = false;
  const save = (lasting: LastingState): void => {
    if (lasting === saved) return;
    const problem = store.save(lasting);
    if (problem === null) saved = lasting;
    else if (!isLogged) log(4, problem);
    isLogged = problem !== null;
  };
  return {
    save,
    saveAtRest(power, lasting) {
      if (power === 'On' || power === 'Off') save(lasting);
    },
    saveCycle(lasting) {
      if (lasting.cycle !== (saved?.cycle ?? null)) save(lasting);
    },
  };
}
