import { PowerError } from '../errors.ts';
import { RESTORE_POLICIES } from '../store/lasting.ts';
import { standardError } from '../system/errors.ts';
import type { ServedObject, ServedProperty } from '../system/ports.ts';
import type { ChassisState, StateView } from './host-state.ts';

/** phosphor-dbus-interfaces, State/Chassis, State/Host, State/OperatingSystem/Status, State/PowerOnHours and Control/Power/RestorePolicy (.interface.yaml). */
const CHASSIS = 'xyz.openbmc_project.State.Chassis';
const HOST = 'xyz.openbmc_project.State.Host';
const HOURS = 'xyz.openbmc_project.State.PowerOnHours';
const SYSTEM = 'xyz.openbmc_project.State.OperatingSystem.Status';
const RESTORE = 'xyz.openbmc_project.Control.Power.RestorePolicy';
/** Paths of phosphor-state-manager and phosphor-settings-manager. */
const STATE_ROOT = '/xyz/openbmc_project/state';
const CONTROL_ROOT = '/xyz/openbmc_project/control';
export const STATE_MANAGER_PATHS: readonly string[] = [STATE_ROOT, CONTROL_ROOT];

const POWER_TRANSITIONS = ['Off', 'On', 'PowerCycle'] as const;
const HOST_TRANSITIONS = ['Off', 'On', 'Reboot'] as const;
/** Resets a host that keeps its power, where the board has a line for it. */
const RESET = 'ForceWarmReboot';
/** Would have the system that runs on the host end first, and nothing here asks it to. */
const GRACEFUL_RESET = 'GracefulWarmReboot';

/** Well-known names for the objects of a chassis; those without a number are for chassis 0. */
export function stateNames(chassis: number): string[] {
  return [CHASSIS, HOST].flatMap((name) => [`${name}${chassis}`, ...(chassis === 0 ? [name] : [])]);
}

export interface StateProperty {
  readonly path: string;
  readonly interface: string;
  readonly property: string;
}

/** Chassis, host and power restore policy of one chassis, with the members and values that management clients count on. */
export function stateObjects(chassis: number, state: ChassisState): ServedObject[] {
  const rows = rowsOf(chassis).filter(({ show }) => show(state.view) !== null);
  return unique(rows.map(({ path }) => path)).map((path) => {
    const atPath = rows.filter((row) => row.path === path);
    const interfaces = unique(atPath.map((row) => row.interface)).map((name) => ({
      name,
      methods: {},
      properties: Object.fromEntries(
        atPath
          .filter((row) => row.interface === name)
          .map((row) => [row.property, servedProperty(row, state)]),
      ),
      signals: {},
    }));
    return { path, interfaces };
  });
}

/** Properties that have different values in two views. */
export function stateChanges(chassis: number, now: StateView, before: StateView): StateProperty[] {
  return rowsOf(chassis)
    .filter((row) => row.show(now) !== row.show(before))
    .map(({ path, interface: name, property }) => ({ path, interface: name, property }));
}

interface Row extends StateProperty {
  readonly signature: string;
  /** Null where the chassis has no such property. */
  readonly show: (view: StateView) => unknown;
  /** Absent where the property is read-only. */
  readonly write?: (state: ChassisState, value: unknown) => void;
}

function rowsOf(chassis: number): Row[] {
  const onChassis = { path: `${STATE_ROOT}/chassis${chassis}`, interface: CHASSIS };
  const onHost = { path: `${STATE_ROOT}/host${chassis}`, interface: HOST };
  const policyPath = `${CONTROL_ROOT}/host${chassis}/power_restore_policy`;
  return [
    {
      ...onChassis,
      property: 'RequestedPowerTransition',
      signature: 's',
      show: (view) => `${CHASSIS}.Transition.${view.requestedPower}`,
      write: (state, value) =>
        state.requestPower(memberOf(`${CHASSIS}.Transition`, POWER_TRANSITIONS, value)),
    },
    {
      ...onChassis,
      property: 'CurrentPowerState',
      signature: 's',
      show: (view) => `${CHASSIS}.PowerState.${view.power}`,
    },
    {
      ...onChassis,
      property: 'CurrentPowerStatus',
      signature: 's',
      // The status is that of the power into the chassis, which nothing here measures.
      show: () => `${CHASSIS}.PowerStatus.Undefined`,
    },
    {
      ...onChassis,
      property: 'LastStateChangeTime',
      signature: 't',
      show: (view) => BigInt(view.changedAtMs),
    },
    {
      ...onChassis,
      interface: HOURS,
      property: 'POHCounter',
      signature: 'u',
      show: (view) => view.onHours,
    },
    {
      ...onHost,
      property: 'RequestedHostTransition',
      signature: 's',
      show: (view) => `${HOST}.Transition.${view.requestedHost}`,
      write: requestHost,
    },
    {
      ...onHost,
      property: 'CurrentHostState',
      signature: 's',
      show: (view) => `${HOST}.HostState.${view.host}`,
    },
    {
      ...onHost,
      property: 'RestartCause',
      signature: 's',
      show: (view) => `${HOST}.RestartCause.${view.restartCause}`,
    },
    {
      ...onHost,
      property: 'AllowedHostTransitions',
      signature: 'as',
      show: ({ hasReset }) => (hasReset ? ALLOWED_WITH_RESET : ALLOWED_TRANSITIONS),
    },
    {
      ...onHost,
      interface: SYSTEM,
      property: 'OperatingSystemState',
      signature: 's',
      show: ({ system }) => system && `${SYSTEM}.OSStatus.${system}`,
    },
    ...restoreRows(policyPath, 'restore'),
    ...restoreRows(`${policyPath}/one_time`, 'restoreOnce'),
  ];
}

const ALLOWED_TRANSITIONS = HOST_TRANSITIONS.map((name) => `${HOST}.Transition.${name}`);
const ALLOWED_WITH_RESET = [...ALLOWED_TRANSITIONS, `${HOST}.Transition.${RESET}`];

function requestHost(state: ChassisState, value: unknown): void {
  const known = [...HOST_TRANSITIONS, RESET, GRACEFUL_RESET] as const;
  const asked = memberOf(`${HOST}.Transition`, known, value);
  if (asked === GRACEFUL_RESET || (asked === RESET && !state.view.hasReset)) {
    throw standardError('NotSupported', `${asked} is not possible here: see AllowedHostTransitions`);
  }
  if (asked === RESET) resetHost(state);
  else state.requestHost(asked);
}

/** @throws DbusReplyError of a host that cannot be reset now */
function resetHost(state: ChassisState): void {
  try {
    state.resetHost('RemoteCommand');
  } catch (error) {
    throw error instanceof PowerError ? standardError('Failed', error.message) : error;
  }
}

function restoreRows(path: string, which: 'restore' | 'restoreOnce'): Row[] {
  return [
    {
      path,
      interface: RESTORE,
      property: 'PowerRestorePolicy',
      signature: 's',
      show: (view) => `${RESTORE}.Policy.${view[which].policy}`,
      write: (state, value) =>
        state.setRestore(which, { policy: memberOf(`${RESTORE}.Policy`, RESTORE_POLICIES, value) }),
    },
    {
      path,
      interface: RESTORE,
      property: 'PowerRestoreDelay',
      signature: 't',
      show: (view) => view[which].delayUs,
      write: (state, value) => state.setRestore(which, { delayUs: BigInt(value as bigint) }),
    },
  ];
}

function servedProperty({ signature, show, write }: Row, state: ChassisState): ServedProperty {
  return {
    signature,
    emits: 'change',
    read: () => show(state.view),
    ...(write && { write: (value: unknown) => write(state, value) }),
  };
}

/** @throws DbusReplyError when `value` is none of `names` of the enumeration `of` */
function memberOf<Name extends string>(of: string, names: readonly Name[], value: unknown): Name {
  const name = names.find((one) => `${of}.${one}` === value);
  if (name !== undefined) return name;
  throw standardError(
    'InvalidArgs',
    `"${value}" is none of ${names.map((one) => `${of}.${one}`).join(', ')}`,
  );
}

const unique = <T>(values: readonly T[]): T[] => [...new Set(values)];
