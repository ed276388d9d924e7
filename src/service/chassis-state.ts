import { CodedError, errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { FALLING, RISING, type State } from '../sequence/state.ts';
import type { LastingState, LastingStore, RestorePolicy } from '../store/lasting.ts';
import { NOTHING_LASTING } from '../store/lasting.ts';
import type { UnitManager, UnitState } from '../system/ports.ts';
import { LEGACY, unitsOf } from '../units/names.ts';
import type { Resident } from './resident.ts';
import { createTransitions } from './transitions.ts';

export type PowerTransition = LastingState['requestedPower'];
export type HostTransition = LastingState['requestedHost'];
export type RestartCause = LastingState['restartCause'];
/** phosphor-dbus-interfaces, State/Chassis.interface.yaml. */
export type PowerState = 'Off' | 'TransitioningToOn' | 'On' | 'TransitioningToOff';
/** phosphor-dbus-interfaces, State/Host.interface.yaml, those that a machine without host firmware support can tell. */
export type HostState = 'Off' | 'TransitioningToRunning' | 'Running' | 'TransitioningToOff' | 'Quiesced';

/** What a management client sees of a chassis and its host. */
export interface StateView {
  readonly power: PowerState;
  readonly host: HostState;
  readonly requestedPower: PowerTransition;
  readonly requestedHost: HostTransition;
  readonly restartCause: RestartCause;
  /** Milliseconds since 1970; 0 when no change was seen yet. */
  readonly changedAtMs: number;
  readonly onHours: number;
  readonly restore: RestoreSetting;
  /** Holds for the next power restore alone, and instead of `restore`, unless it is None. */
  readonly restoreOnce: RestoreSetting;
}

export type RestoreSetting = LastingState['restore'];

export interface ChassisStateOptions {
  readonly chassis: number;
  readonly resident: Pick<Resident, 'view'>;
  readonly units: Pick<UnitManager, 'startUnit' | 'unitStates' | 'watchUnits'>;
  readonly clock: Clock;
  readonly store: LastingStore;
  readonly bootId: string;
  /** Whether the BMC restarted under a chassis that is on, as units of OpenBMC images tell each other. */
  readonly isAdopted: () => boolean;
  /** @param severity as syslog counts it (RFC 5424, table 2) */
  readonly log: (severity: number, text: string) => void;
  readonly onChange: (now: StateView, before: StateView) => void;
}

/** What phosphor-state-manager is where there is one: requests of management clients, and what becomes of them. */
export interface ChassisState {
  readonly view: StateView;
  /**
   * Asks systemd for the targets of a transition, and waits for nothing: `view` shows what becomes of it. It takes
   * the place of a request that is under way, except one for the same, which goes on.
   */
  requestPower(transition: PowerTransition): void;
  requestHost(transition: HostTransition): void;
  setRestore(which: 'restore' | 'restoreOnce', setting: Partial<RestoreSetting>): void;
  /** To be called whenever the view of the resident has changed. */
  powerChanged(): void;
  /**
   * To be called once everything is published. Goes on with a Reboot or PowerCycle in the middle of which an earlier
   * service ended; otherwise restores power after a start of the BMC, once in its boot, if the policy says so.
   */
  begin(): void;
  /** Starts nothing any more, and keeps what lasts. For good. */
  stop(): void;
}

/**
 * As long as a stage may take (TimeoutStartSec= of its unit). A sequence that is not over by then has nobody who
 * runs it, and what the lines show is the state.
 */
const LONGEST_STAGE_MS = 240_000;
/** A cycle that was asked for longer ago than its two stages take is nobody's wish any more. */
const LONGEST_CYCLE_MS = 2 * LONGEST_STAGE_MS;
const MINUTE_MS = 60_000;
const MINUTES_PER_HOUR = 60;

/** Of one request, from the asking until its targets are reached or given up. */
interface Asked {
  readonly of: 'power' | 'host';
  readonly transition: PowerTransition | HostTransition;
}

/** State of chassis and host of one chassis. Asks systemd once before it resolves, and never rejects for its answer. */
export async function createChassisState(options: ChassisStateOptions): Promise<ChassisState> {
  const { chassis, resident, units, clock, store, bootId, log } = options;
  const targets = unitsOf(LEGACY, chassis);
  const transitions = createTransitions({ chassis, units, clock, log });

  const loaded = store.load();
  if (loaded.warning !== null) log(4, `chassis ${chassis}: ${loaded.warning}`);
  let saved: LastingState | null = loaded.state;
  let lasting: LastingState = loaded.state ?? NOTHING_LASTING;
  let saveProblem: string | null = null;
  let asked: Asked | null = null;
  /** Null until systemd has told it. */
  let hostUnit: string | null = null;
  let isQuiesced = false;
  /** The state of the resident when it was looked at last. */
  let seen: State = 'unknown';
  let isOverdue = false;
  let isStopped = false;
  /** Begin of the time with power that is not in `onMinutes` yet. */
  let uncountedMs: number | null = null;
  let cancelOverdue: () => void = () => undefined;
  let cancelHour: () => void = () => undefined;
  let cancelRestore: () => void = () => undefined;

  const keep = (patch: Partial<LastingState>) => {
    const differs = Object.entries(patch).some(
      ([key, value]) => lasting[key as keyof LastingState] !== value,
    );
    if (differs) lasting = { ...lasting, ...patch };
  };

  const save = () => {
    if (lasting === saved) return;
    const problem = store.save(lasting);
    if (problem === null) saved = lasting;
    else if (saveProblem === null) log(4, problem);
    saveProblem = problem;
  };

  const powerState = (): PowerState => {
    const { state, pgood } = resident.view;
    if (!isOverdue && RISING.includes(state)) return 'TransitioningToOn';
    if (!isOverdue && (FALLING.includes(state) || state === 'fault')) return 'TransitioningToOff';
    return state === 'pgood' || pgood ? 'On' : 'Off';
  };

  const hostState = (): HostState => {
    const power = powerState();
    // "Host firmware is not running", whatever the units still say.
    if (power !== 'Off') {
      if (isQuiesced) return 'Quiesced';
      if (hostUnit === 'active') return 'Running';
      if (hostUnit === 'activating') return 'TransitioningToRunning';
      if (hostUnit === 'deactivating') return 'TransitioningToOff';
    }
    const isComing = asked?.of === 'host' && asked.transition !== 'Off' && power !== 'TransitioningToOff';
    return isComing ? 'TransitioningToRunning' : 'Off';
  };

  const viewNow = (): StateView => {
    const { requestedPower, requestedHost, restartCause, changedAtMs, restore, restoreOnce } = lasting;
    return {
      power: powerState(),
      host: hostState(),
      requestedPower,
      requestedHost,
      restartCause,
      changedAtMs,
      onHours: Math.floor(lasting.onMinutes / MINUTES_PER_HOUR),
      restore,
      restoreOnce,
    };
  };

  const countMinutes = () => {
    if (uncountedMs === null) return;
    const minutes = Math.floor((clock.nowMs() - uncountedMs) / MINUTE_MS);
    uncountedMs += minutes * MINUTE_MS;
    keep({ onMinutes: lasting.onMinutes + minutes });
  };

  /** Counts from now on, or no more. */
  const countHours = (isOn: boolean) => {
    if (isOn === (uncountedMs !== null)) return;
    if (isOn) {
      uncountedMs = clock.nowMs();
      waitForHour();
    } else {
      cancelHour();
      countMinutes();
      uncountedMs = null;
    }
  };

  function waitForHour(): void {
    const leftMinutes = MINUTES_PER_HOUR - (lasting.onMinutes % MINUTES_PER_HOUR);
    const passedMs = clock.nowMs() - (uncountedMs ?? clock.nowMs());
    cancelHour = clock.after(leftMinutes * MINUTE_MS - passedMs, () => {
      countMinutes();
      waitForHour();
      update();
    });
  }

  /** What the resident's new state says about who wanted it. */
  const noticePower = () => {
    const { state } = resident.view;
    if (state === seen) return;
    const before = seen;
    seen = state;
    cancelOverdue();
    isOverdue = false;
    if (RISING.includes(state) || FALLING.includes(state) || state === 'fault') {
      cancelOverdue = clock.after(LONGEST_STAGE_MS, () => {
        isOverdue = true;
        update();
      });
    }
    // A request of our own said what it wants already, also for its second half.
    if (asked !== null) return;
    if (state === 'pgood') keep({ lastAsked: 'on' });
    // A power-off after a fault only tidies up. When the mains go, power is lost before the BMC is: it must not
    // count as somebody's request.
    else if (
      (FALLING.includes(state) || state === 'off') &&
      (before === 'pgood' || RISING.includes(before))
    ) {
      keep({ lastAsked: 'off' });
    }
  };

  const noticeUnits = ([host, quiesce]: readonly UnitState[]) => {
    const before = hostUnit;
    hostUnit = host?.activeState ?? 'inactive';
    isQuiesced = quiesce?.activeState === 'active';
    const isStarted = hostUnit === 'active' && before !== 'active' && before !== null;
    if (isStarted && asked === null) keep({ restartCause: 'Unknown' });
  };

  /**
   * Nothing that was asked for here is under way: what was asked for is what there is, whoever did it and whatever
   * failed, so that a client that compares the two sees no transition. A cycle that is done stays what was asked for
   * last, as with phosphor-state-manager.
   */
  const settleRequests = (power: PowerState, host: HostState) => {
    if (power === 'On' && lasting.requestedPower === 'Off') keep({ requestedPower: 'On' });
    if (power === 'Off') keep({ requestedPower: 'Off' });
    if (host === 'Running' && lasting.requestedHost === 'Off') keep({ requestedHost: 'On' });
    if (host === 'Off' && (power === 'On' || power === 'Off')) keep({ requestedHost: 'Off' });
  };

  /** Draws the conclusions of whatever has changed. */
  const conclude = () => {
    const power = powerState();
    if (asked === null) settleRequests(power, hostState());
    countHours(power === 'On');
    if (power === 'On' || power === 'Off') {
      const atRest = power === 'On' ? 'on' : 'off';
      // A power state that was there before anybody looked has no time.
      const isChange = lasting.power !== null && lasting.power !== atRest;
      keep({ power: atRest, ...(isChange && { changedAtMs: clock.wallTime().getTime() }) });
      // Not during a sequence: a power-off must not wait for a flash memory.
      save();
    }
  };

  function update(): void {
    if (isStopped) return;
    conclude();
    const before = view;
    view = viewNow();
    const same = (Object.keys(view) as (keyof StateView)[]).every((key) => view[key] === before[key]);
    if (!same) options.onChange(view, before);
  }

  const readUnits = async () => {
    try {
      noticeUnits(await units.unitStates([targets.host, targets.quiesce]));
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      log(4, `chassis ${chassis}: the state of the host is not known: ${error.message}`);
    }
  };

  const request = (next: Asked, names: readonly string[], lasts: Partial<LastingState>): void => {
    if (asked?.of === next.of && asked.transition === next.transition) return;
    settleRestore();
    asked = next;
    const isCycle = names.length > 1;
    const wasCycle = lasting.cycle !== null;
    keep({
      ...lasts,
      lastAsked: next.transition === 'Off' ? 'off' : 'on',
      cycle: isCycle ? { of: next.of, bootId, askedAtMs: clock.nowMs() } : null,
    });
    // If this process does not see the end of the first half, the next one must know what comes then.
    if (isCycle || wasCycle) save();
    const carryOut = async () => {
      try {
        const name = `${next.of} ${next.transition} requested`;
        const reached = await transitions.run(name, names, (target) => {
          if (!isCycle || target !== names.at(-1)) return;
          keep({ cycle: null });
          save();
        });
        // The units' own news may come later than that of the job.
        if (reached !== null) await readUnits();
      } catch (error) {
        log(3, `chassis ${chassis}: ${errorText(error)}`);
      }
      if (asked === next) {
        asked = null;
        keep({ cycle: null });
      }
      update();
    };
    void carryOut();
    update();
  };

  const requestHost = (transition: HostTransition, cause: RestartCause): void => {
    const { hostOn, hostOff } = targets;
    request(
      { of: 'host', transition },
      { Off: [hostOff], On: [hostOn], Reboot: [hostOff, hostOn] }[transition],
      { requestedHost: transition, ...(transition !== 'Off' && { restartCause: cause }) },
    );
  };

  function requestPower(transition: PowerTransition): void {
    const { on, off } = targets;
    const names = { Off: [off], On: [on], PowerCycle: [off, on] }[transition];
    request({ of: 'power', transition }, names, { requestedPower: transition });
  }

  /** The cycle that an earlier service did not see through, null when there is none. */
  const unfinishedCycle = (): 'power' | 'host' | null => {
    const { cycle } = lasting;
    if (cycle === null || cycle.bootId !== bootId) return null;
    // On, and nothing is shutting down: somebody has powered it meanwhile, or taken the request back.
    if (resident.view.wanted === 'on' && hostUnit !== 'deactivating') return null;
    return clock.nowMs() - cycle.askedAtMs < LONGEST_CYCLE_MS ? cycle.of : null;
  };

  /** In this boot of the BMC nothing is restored any more. */
  const settleRestore = () => {
    cancelRestore();
    keep({ restoredInBoot: bootId });
  };

  const canRestore = () =>
    lasting.restoredInBoot !== bootId &&
    resident.view.state === 'off' &&
    !resident.view.pgood &&
    !options.isAdopted();

  const restoreNow = () => {
    const isDue = canRestore();
    settleRestore();
    if (isDue) {
      const { restore, restoreOnce, lastAsked } = lasting;
      const policy = restoreOnce.policy === 'None' ? restore.policy : restoreOnce.policy;
      keep({ restoreOnce: { ...restoreOnce, policy: 'None' } });
      const cause = RESTART_CAUSE[policy];
      const isWanted = policy === 'AlwaysOn' || (policy === 'Restore' && lastAsked === 'on');
      log(5, `chassis ${chassis}: power restore policy ${policy}, last asked for: ${lastAsked}`);
      if (policy === 'AlwaysOff') keep({ lastAsked: 'off' });
      if (isWanted) requestHost('On', cause);
    }
    update();
  };

  await readUnits();
  noticePower();
  conclude();
  let view = viewNow();
  const endWatch = units.watchUnits([targets.host, targets.quiesce], (states) => {
    noticeUnits(states);
    update();
  });

  return {
    get view() {
      return view;
    },

    requestPower,

    requestHost: (transition) => requestHost(transition, 'RemoteCommand'),

    setRestore(which, setting) {
      keep({ [which]: { ...lasting[which], ...setting } });
      update();
    },

    powerChanged() {
      noticePower();
      update();
    },

    begin() {
      const cycle = unfinishedCycle();
      keep({ cycle: null });
      // Its first half once more: where power is off already it ends at once.
      if (cycle === 'power') requestPower('PowerCycle');
      if (cycle === 'host') requestHost('Reboot', lasting.restartCause);
      if (cycle !== null) return;
      if (!canRestore()) {
        settleRestore();
        update();
        return;
      }
      cancelRestore = clock.after(Number(lasting.restore.delayUs / 1000n), restoreNow);
    },

    stop() {
      isStopped = true;
      endWatch();
      transitions.stop();
      cancelOverdue();
      cancelRestore();
      cancelHour();
      countMinutes();
      save();
    },
  };
}

/** phosphor-state-manager, discover_system_state.cpp. */
const RESTART_CAUSE: Readonly<Record<RestorePolicy, RestartCause>> = {
  None: 'Unknown',
  AlwaysOn: 'PowerPolicyAlwaysOn',
  AlwaysOff: 'Unknown',
  Restore: 'PowerPolicyPreviousState',
};
