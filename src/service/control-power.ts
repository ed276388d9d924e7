import { CodedError, errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { endsWithin } from '../../hw/waiting.ts';
import { DbusReplyError } from '../system/errors.ts';
import type { ServedInterface, ServedMethod, ServedObject } from '../system/ports.ts';
import type { ChassisView, Operation, Resident, Wanted } from './resident.ts';

/** phosphor-power, phosphor-power-sequencer/src/power_interface.cpp; skeleton, libopenbmc_intf/openbmc_intf.xml. */
export const CONTROL_POWER = 'org.openbmc.control.Power';
/** The stages as methods, for the unit drop-ins that let the service do the work of the oneshots. */
export const SEQUENCE = 'chassis_power.Sequence1';
export const CONTROL_POWER_ROOT = '/org/openbmc/control';
/** Both peers spell it this way. */
const FAILED = 'org.openbmc.ControlPower.Error.Failed';

/** The request is accepted, and not carried out yet. */
const IN_PROGRESS = 'org.openbmc.ControlPower.Error.InProgress';

/** busctl gives up after 25 s without a reason, and phosphor-state-manager calls setPowerState with that default. */
const REPLY_LIMIT_MS = 20_000;

export function controlPowerPath(chassis: number): string {
  return `${CONTROL_POWER_ROOT}/power${chassis}`;
}

export interface ControlPowerOptions {
  readonly chassis: number;
  readonly resident: Pick<Resident, 'view' | 'current' | 'request'>;
  readonly clock: Clock;
  /** Whole seconds. */
  readonly pgoodTimeoutSeconds: { read(): number; write(seconds: number): void };
  /** Sets the name of the error that a loss of pgood is reported with, until the next power-on. */
  readonly blameSupply: (errorName: string) => void;
}

/** `org.openbmc.control.Power` of one chassis, with the members, types and errors that its callers count on. */
export function controlPowerObject(options: ControlPowerOptions): ServedObject {
  return { path: controlPowerPath(options.chassis), interfaces: [controlPower(options), sequence(options)] };
}

/** Properties of `org.openbmc.control.Power` that differ between two views, and the signal for their change. */
export function controlPowerChanges(
  now: ChassisView,
  before: ChassisView,
): { readonly properties: readonly string[]; readonly signal: 'PowerGood' | 'PowerLost' | null } {
  const pgoodChanged = now.pgood !== before.pgood;
  return {
    properties: [...(now.wanted === before.wanted ? [] : ['state']), ...(pgoodChanged ? ['pgood'] : [])],
    signal: !pgoodChanged ? null : now.pgood ? 'PowerGood' : 'PowerLost',
  };
}

function controlPower({
  resident,
  clock,
  pgoodTimeoutSeconds,
  blameSupply,
}: ControlPowerOptions): ServedInterface {
  const pgood = () => (resident.view.pgood ? 1 : 0);
  return {
    name: CONTROL_POWER,
    methods: {
      setPowerState: {
        in: [{ name: 'state', signature: 'i' }],
        out: [],
        async call([state], caller) {
          if (state !== 0 && state !== 1)
            throw new DbusReplyError(FAILED, 'Invalid power state: 0 is off, 1 is on');
          const wanted = state === 1 ? 'on' : 'off';
          const { view, current } = resident;
          if (current === null && view.state === (wanted === 'on' ? 'pgood' : 'off')) return [];
          if (wanted === 'on') blameSupply('');
          const operation = resident.request(wanted, clientOf(caller));
          const isOver = await asReply(endsWithin(clock, REPLY_LIMIT_MS, operation.done));
          if (!isOver) expectCarriedOut(wanted, operation);
          return [];
        },
      },
      getPowerState: {
        in: [],
        // The measured pgood, as both peers do it.
        out: [{ name: 'state', signature: 'i' }],
        call: () => [pgood()],
      },
      setPowerSupplyError: {
        in: [{ name: 'error', signature: 's' }],
        out: [],
        call([error]) {
          blameSupply(String(error));
          return [];
        },
      },
    },
    properties: {
      pgood: { signature: 'i', emits: 'change', read: pgood },
      state: { signature: 'i', emits: 'change', read: () => (resident.view.wanted === 'on' ? 1 : 0) },
      pgood_timeout: {
        signature: 'i',
        emits: 'change',
        read: () => pgoodTimeoutSeconds.read(),
        write(value) {
          const seconds = Number(value);
          if (seconds < 0)
            throw new DbusReplyError(FAILED, 'Invalid pgood timeout: it is a number of seconds');
          pgoodTimeoutSeconds.write(seconds);
        },
      },
    },
    signals: { PowerGood: { args: [] }, PowerLost: { args: [] } },
  };
}

type Caller = Parameters<ServedMethod['call']>[1];

function clientOf({ sender }: Caller): string {
  return `client ${sender} of the bus`;
}

/** The four verbs of the oneshots as methods: each returns when its stage is done, or fails with the reason. */
function sequence({ chassis, resident }: ControlPowerOptions): ServedInterface {
  const stage = (work: (by: string) => Promise<void>) => ({
    in: [],
    out: [],
    async call(_: readonly unknown[], caller: Caller) {
      await asReply(work(clientOf(caller)));
      return [];
    },
  });
  const waitFor = (wanted: 'on' | 'off') => async (by: string) => {
    const { current, view } = resident;
    if (current?.wanted === wanted) return current.operation.done;
    // After a failure the lines show whether the power is gone; the oneshot reads them too.
    if (wanted === 'off' && (view.state === 'failed' || view.state === 'fault'))
      return resident.request('off', by).done;
    if (view.state === (wanted === 'on' ? 'pgood' : 'off')) return;
    throw new DbusReplyError(
      FAILED,
      `chassis ${chassis} is ${view.state}${view.fault === null ? '' : ` (${view.fault})`}: nothing to wait for`,
    );
  };
  const begin = (wanted: Wanted) => stage((by) => resident.request(wanted, by).switched);
  return {
    name: SEQUENCE,
    methods: {
      Start: begin('on'),
      WaitOn: stage(waitFor('on')),
      Stop: begin('off'),
      WaitOff: stage(waitFor('off')),
    },
    properties: {
      State: { signature: 's', emits: 'change', read: () => resident.view.state },
      Fault: { signature: 's', emits: 'change', read: () => resident.view.fault ?? '' },
    },
    signals: {},
  };
}

/**
 * Answers a caller whose request takes longer than he may wait. A power-on counts as carried out once every enable is
 * asserted, as with the peers (pgood shows the rest); a power-off once the power is gone.
 * @throws DbusReplyError for a request that is not carried out
 */
function expectCarriedOut(wanted: 'on' | 'off', operation: Operation): void {
  const progress = operation.progress();
  if (wanted === 'on' && progress === 'switched') return;
  const limit = `after ${REPLY_LIMIT_MS / 1000} s`;
  if (progress !== 'waiting') {
    throw new DbusReplyError(
      IN_PROGRESS,
      `The power ${wanted} is still under way ${limit} and goes on: watch the property pgood`,
    );
  }
  if (wanted === 'off') {
    throw new DbusReplyError(
      IN_PROGRESS,
      `The power off has not begun ${limit}: it still waits for whoever drives the chassis`,
    );
  }
  // A caller who got a failure must not find the chassis on a minute later.
  operation.withdraw('the caller was told that it failed');
  throw new DbusReplyError(
    FAILED,
    `The power on is given up ${limit} of waiting for whoever drives the chassis: nothing was switched`,
  );
}

/** The work with its error as the reply of a method, in the words of the command line. */
async function asReply<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof CodedError) throw new DbusReplyError(FAILED, errorText(error));
    throw error;
  }
}
