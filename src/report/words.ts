import type { State } from '../sequence/state.ts';

/** What people call a state of the power sequence, everywhere. */
interface StateWords {
  /** The field's name: what the units are called too. */
  readonly name: string;
  /** Where there is room for a few letters only. */
  readonly short: string;
  /** What goes on in it, where that is more than the name says. */
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
