import { hasTag, STATES, type State } from '../sequence/state.ts';
import type { Job } from './runner.ts';

/** A power-on also finishes what a killed power-off, or the handling of a fault, left behind. */
const LEFT_BEHIND: readonly State[] = STATES.filter((state) => !hasTag(state, 'atRest'));

/** What can be asked of a chassis. The first four are the stages that systemd runs as oneshots. */
export const JOBS = {
  start: { request: 'POWER_ON', goesOnFrom: LEFT_BEHIND, until: ['opWaitPowerOn', 'pgood'] },
  waitOn: { request: null, goesOnFrom: ['opWaitPowerOn', 'pgood', 'fault'], until: ['pgood'] },
  stop: { request: 'POWER_OFF', goesOnFrom: [], until: ['opWaitPowerOff', 'off'] },
  waitOff: {
    request: null,
    whenUnasked: 'opWaitPowerOff',
    goesOnFrom: ['opPowerStop', 'opWaitPowerOff', 'fault'],
    until: ['off'],
  },
  on: { request: 'POWER_ON', goesOnFrom: LEFT_BEHIND, until: ['pgood'] },
  off: { request: 'POWER_OFF', goesOnFrom: [], until: ['off'] },
  /** Of the resident process, while the chassis is on. */
  watch: { request: null, goesOnFrom: ['pgood'], until: [], watches: true },
  clear: { request: 'CLEAR', goesOnFrom: [], until: ['off', 'pgood', 'unknown'] },
} as const satisfies Record<string, Job>;
