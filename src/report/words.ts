import type { State } from '../sequence/state.ts';

/** Words for a state of the power sequence, used everywhere. */
interface StateWords {
  /** Name of the state, which its unit has too. */
  readonly name: string;
  /** For a space of a few letters. */
  readonly short: string;
  /** What happens in the state, where the name does not say it. */
  readonly doing?: string;
}

export const STATE_WORDS: Readonly<Record<State, StateWords>> = {
  unknown: { name: 'unknown', short: '?' },
  off: { name: 'off', short: 'off' },
  opPowerStart: { name: 'op-power-start', short: 'start', doing: 'asserting the enables' },
  opWaitPowerOn: { name: 'op-wait-power-on', short: 'wait', doing: 'waiting for pgood' },
  pgood: { name: 'pgood', short: 'on', doing: 'the chassis is on' },
  opPowerStop: { name: 'op-power-stop', short: 'stop', doing: 'deasserting the enables' },
  opWaitPowerOff: { name: 'op-wait-power-off', short: 'wait', doing: 'waiting until the power is gone' },
  fault: { name: 'fault', short: 'fault', doing: 'taking the power down' },
  failed: { name: 'failed', short: 'failed' },
};
