import type { Clock } from '../../hw/ports.ts';
import { hasTag, type State } from '../sequence/state.ts';
import type { LastingState, RestorePolicy } from '../store/lasting.ts';
import type { UnitState } from '../system/ports.ts';
import { LEGACY, unitsOf } from '../units/names.ts';

/** The data of `host-state-chart.ts`: what is known of a chassis and its host, and how events change it. */

export type PowerTransition = LastingState['requestedPower'];
export type HostTransition = LastingState['requestedHost'];
export type RestartCause = LastingState['restartCause'];
export type RestoreSetting = LastingState['restore'];
/** phosphor-dbus-interfaces, State/Chassis.interface.yaml. */
export type PowerState = 'Off' | 'TransitioningToOn' | 'On' | 'TransitioningToOff';
/** phosphor-dbus-interfaces, State/Host.interface.yaml: the states that can be known without support by host firmware. */
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
  /** The host can be reset while it keeps its power. */
  readonly hasReset: boolean;
  /** phosphor-dbus-interfaces, State/OperatingSystem/Status.interface.yaml. Null where nothing shows it. */
  readonly system: 'Inactive' | 'Standby' | null;
  readonly restore: RestoreSetting;
  /** Replaces `restore` for the next power restore only, unless its policy is None. */
  readonly restoreOnce: RestoreSetting;
}

/** A request of a management client, or of the policy: targets of systemd, one after the other. */
export interface StateRequest {
  readonly of: 'power' | 'host';
  readonly transition: PowerTransition | HostTransition;
  /** Targets that are not reached yet. A cycle has two: power off, then power on. */
  readonly targets: readonly string[];
  /** Its part of the lasting state. */
  readonly lasting: Partial<LastingState>;
}

export interface StateData {
  readonly chassis: number;
  readonly hasReset: boolean;
  /** The firmware of the host shows that it has done its work; null where the board has no signal for it. */
  readonly isPostComplete: boolean | null;
  readonly clock: Clock;
  readonly bootId: string;
  /** Whether the BMC restarted under a chassis that is on, as units of OpenBMC images tell each other. */
  readonly isAdopted: () => boolean;
  /** State of the power sequence. */
  readonly sequence: State;
  readonly pgood: boolean;
  /** The last request of anybody. */
  readonly wanted: 'on' | 'off';
  /** State of the host's unit; null until systemd has answered. */
  readonly hostUnit: string | null;
  readonly isQuiesced: boolean;
  /** The request that is under way; null when none is. */
  readonly request: StateRequest | null;
  readonly lasting: LastingState;
  /** Time with power is counted in `onMinutes` up to here. */
  readonly countedToMs: number;
}

/** What the resident shows of a chassis. */
export type PowerSeen = Pick<StateData, 'sequence' | 'pgood' | 'wanted'>;

/** The two stages of a cycle take at most this long. An older cycle is not resumed: its requester has given up. */
const LONGEST_CYCLE_MS = 480_000;
const MINUTE_MS = 60_000;
const MINUTES_PER_HOUR = 60;

export function powerRequest(chassis: number, transition: PowerTransition): StateRequest {
  const { on, off } = unitsOf(LEGACY, chassis);
  const targets = { Off: [off], On: [on], PowerCycle: [off, on] }[transition];
  return { of: 'power', transition, targets, lasting: { requestedPower: transition } };
}

export function hostRequest(chassis: number, transition: HostTransition, cause: RestartCause): StateRequest {
  const { hostOn, hostOff } = unitsOf(LEGACY, chassis);
  const targets = { Off: [hostOff], On: [hostOn], Reboot: [hostOff, hostOn] }[transition];
  const restartCause = transition === 'Off' ? {} : { restartCause: cause };
  return { of: 'host', transition, targets, lasting: { requestedHost: transition, ...restartCause } };
}

/** Gives the same object where nothing changes, so that the file is not written for nothing. */
export function withLasting(lasting: LastingState, patch: Partial<LastingState>): LastingState {
  const differs = Object.entries(patch).some(([key, value]) => lasting[key as keyof LastingState] !== value);
  return differs ? { ...lasting, ...patch } : lasting;
}

/** Takes a change of the power state, and concludes from the states before and after who requested it. */
export function withPower(data: StateData, seen: PowerSeen): StateData {
  const { sequence: before, request, lasting } = data;
  const next = { ...data, ...seen };
  // A request of this interface has set `lastAsked` already, for both halves of a cycle.
  if (seen.sequence === before || request !== null) return next;
  if (seen.sequence === 'pgood') return { ...next, lasting: withLasting(lasting, { lastAsked: 'on' }) };
  // A power-off after a fault is no request. When the mains fail, the chassis loses power before the BMC does: that
  // must not count as a request either.
  const isOff = hasTag(seen.sequence, 'falling') || seen.sequence === 'off';
  if (!isOff || (before !== 'pgood' && !hasTag(before, 'rising'))) return next;
  return { ...next, lasting: withLasting(lasting, { lastAsked: 'off' }) };
}

/** @param units of the host and of quiesce; null when systemd did not answer */
export function withUnits(data: StateData, units: readonly UnitState[] | null): StateData {
  if (units === null) return data;
  const [host, quiesce] = units;
  const hostUnit = host?.activeState ?? 'inactive';
  const isStarted = hostUnit === 'active' && data.hostUnit !== 'active' && data.hostUnit !== null;
  return {
    ...data,
    hostUnit,
    isQuiesced: quiesce?.activeState === 'active',
    lasting:
      isStarted && data.request === null
        ? withLasting(data.lasting, { restartCause: 'Unknown' })
        : data.lasting,
  };
}

/** Takes a request in place of the one before. Nothing is restored in this boot of the BMC any more. */
export function withRequest(data: StateData, request: StateRequest): StateData {
  const { bootId, clock } = data;
  const isCycle = request.targets.length > 1;
  const lasting = withLasting(data.lasting, {
    ...request.lasting,
    lastAsked: request.transition === 'Off' ? 'off' : 'on',
    cycle: isCycle ? { of: request.of, bootId, askedAtMs: clock.nowMs() } : null,
    restoredInBoot: bootId,
  });
  return { ...data, request, lasting };
}

/** Takes that power is on or off, after a transition. */
export function withRest({ lasting, clock }: StateData, power: 'on' | 'off'): LastingState {
  // The first power state that is known has no time of a change.
  const isChange = lasting.power !== null && lasting.power !== power;
  return withLasting(lasting, {
    power,
    ...(isChange && { changedAtMs: clock.wallTime().getTime() }),
  });
}

/** Counts the whole minutes with power up to now. */
export function withMinutes({
  lasting,
  clock,
  countedToMs,
}: StateData): Pick<StateData, 'lasting' | 'countedToMs'> {
  const minutes = Math.floor((clock.nowMs() - countedToMs) / MINUTE_MS);
  return {
    lasting: withLasting(lasting, { onMinutes: lasting.onMinutes + minutes }),
    countedToMs: countedToMs + minutes * MINUTE_MS,
  };
}

/** Time until the next full hour with power. */
export function untilHourMs({ lasting, clock, countedToMs }: StateData): number {
  const leftMinutes = MINUTES_PER_HOUR - (lasting.onMinutes % MINUTES_PER_HOUR);
  return leftMinutes * MINUTE_MS - (clock.nowMs() - countedToMs);
}

/** The cycle that an earlier service did not finish; null when there is none. */
export function unfinishedCycle({
  lasting,
  bootId,
  clock,
  wanted,
  hostUnit,
}: StateData): 'power' | 'host' | null {
  const { cycle } = lasting;
  if (cycle === null || cycle.bootId !== bootId) return null;
  // On, and not shutting down: the chassis was powered on meanwhile, or the request was taken back.
  if (wanted === 'on' && hostUnit !== 'deactivating') return null;
  return clock.nowMs() - cycle.askedAtMs < LONGEST_CYCLE_MS ? cycle.of : null;
}

export function canRestore({ lasting, bootId, sequence, pgood, isAdopted }: StateData): boolean {
  return lasting.restoredInBoot !== bootId && sequence === 'off' && !pgood && !isAdopted();
}

export function restorePolicy({ restore, restoreOnce }: LastingState): RestorePolicy {
  return restoreOnce.policy === 'None' ? restore.policy : restoreOnce.policy;
}

/** Whether the policy restores power. */
export function restoresPower(lasting: LastingState): boolean {
  const policy = restorePolicy(lasting);
  return policy === 'AlwaysOn' || (policy === 'Restore' && lasting.lastAsked === 'on');
}

/** phosphor-state-manager, discover_system_state.cpp. */
export const RESTART_CAUSE: Readonly<Record<RestorePolicy, RestartCause>> = {
  None: 'Unknown',
  AlwaysOn: 'PowerPolicyAlwaysOn',
  AlwaysOff: 'Unknown',
  Restore: 'PowerPolicyPreviousState',
};

const HOST_OF_UNIT: Readonly<Record<string, HostState>> = {
  active: 'Running',
  activating: 'TransitioningToRunning',
  deactivating: 'TransitioningToOff',
};

function hostOf({ isQuiesced, hostUnit, request }: StateData, power: PowerState): HostState {
  // Off means "host firmware is not running", whatever state the units still have.
  const found = power === 'Off' ? undefined : isQuiesced ? 'Quiesced' : HOST_OF_UNIT[hostUnit ?? ''];
  if (found !== undefined) return found;
  const isComing = request?.of === 'host' && request.transition !== 'Off' && power !== 'TransitioningToOff';
  return isComing ? 'TransitioningToRunning' : 'Off';
}

/** Of a chassis without power its signals say nothing. */
function systemOf({ isPostComplete }: StateData, power: PowerState): StateView['system'] {
  if (isPostComplete === null) return null;
  return isPostComplete && power === 'On' ? 'Standby' : 'Inactive';
}

/** The units show no host, and none is requested. */
export function hasNoHost(data: StateData): boolean {
  return hostOf(data, 'On') === 'Off';
}

export function isHostRunning(data: StateData): boolean {
  return hostOf(data, 'On') === 'Running';
}

export function stateView(data: StateData, power: PowerState): StateView {
  const { requestedPower, requestedHost, restartCause, changedAtMs, onMinutes, restore, restoreOnce } =
    data.lasting;
  return {
    power,
    host: hostOf(data, power),
    requestedPower,
    requestedHost,
    restartCause,
    changedAtMs,
    hasReset: data.hasReset,
    system: systemOf(data, power),
    onHours: Math.floor(onMinutes / MINUTES_PER_HOUR),
    restore,
    restoreOnce,
  };
}
