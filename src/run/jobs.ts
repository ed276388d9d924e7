import type { Request } from '../sequence/events.ts';
import { hasTag, STATES, type State } from '../sequence/state.ts';

/** What a verb asks of the sequence. */
export interface Job {
  /** Sent after the states that a killed process left unfinished are finished; null only lets the sequence go on. */
  readonly request: Request | null;
  /**
   * The state that a job without a request assumes where there is power although all enables are off, and no state file
   * explains it. A power-off whose state file was lost leaves that behind.
   */
  readonly stateForUnexplainedPower?: State;
  /**
   * States of another process from which the job goes on by itself, before its request. In any other state nothing is
   * driven without the request.
   */
  readonly goesOnFrom: readonly State[];
  /** The job ends in the first of these states. `failed` always ends it. */
  readonly until: readonly State[];
  /** The job stays in `pgood` and watches, until power is lost, another process drives, or it is asked to end. */
  readonly watches?: boolean;
}

/** A power-on also finishes what a killed power-off, or the handling of a fault, left behind. */
const LEFT_BEHIND: readonly State[] = STATES.filter((state) => !hasTag(state, 'atRest'));

/** What can be asked of a chassis. The first four are the stages that systemd runs as oneshots. */
export const JOBS = {
  start: { request: 'POWER_ON', goesOnFrom: LEFT_BEHIND, until: ['opWaitPowerOn', 'pgood'] },
  waitOn: { request: null, goesOnFrom: ['opWaitPowerOn', 'pgood', 'fault'], until: ['pgood'] },
  stop: { request: 'POWER_OFF', goesOnFrom: [], until: ['opWaitPowerOff', 'off'] },
  waitOff: {
    request: null,
    stateForUnexplainedPower: 'opWaitPowerOff',
    goesOnFrom: ['opPowerStop', 'opWaitPowerOff', 'fault'],
    until: ['off'],
  },
  on: { request: 'POWER_ON', goesOnFrom: LEFT_BEHIND, until: ['pgood'] },
  off: { request: 'POWER_OFF', goesOnFrom: [], until: ['off'] },
  /** Of the resident process, while the chassis is on. */
  watch: { request: null, goesOnFrom: ['pgood'], until: [], watches: true },
  clear: { request: 'CLEAR', goesOnFrom: [], until: ['off', 'pgood', 'unknown'] },
} as const satisfies Record<string, Job>;
