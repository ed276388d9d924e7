/** What a state is like, for whoever has to know no more of it. */
export type StateTag =
  /** Power is coming up. */
  | 'rising'
  /** Power is going down because somebody asked for it. */
  | 'falling'
  /** Power is being taken down, on request or after a fault. */
  | 'lowering'
  /** Nothing is driven and nothing is waited for. */
  | 'atRest';

/** Every state of the chart, with its tags. */
export const STATE_TAGS = {
  unknown: ['atRest'],
  off: ['atRest'],
  opPowerStart: ['rising'],
  opWaitPowerOn: ['rising'],
  pgood: [],
  opPowerStop: ['falling', 'lowering'],
  opWaitPowerOff: ['falling', 'lowering'],
  fault: ['lowering'],
  failed: ['atRest'],
} as const satisfies Record<string, readonly StateTag[]>;

export type State = keyof typeof STATE_TAGS;

export const STATES = Object.keys(STATE_TAGS) as readonly State[];

export function hasTag(state: State, tag: StateTag): boolean {
  return (STATE_TAGS[state] as readonly StateTag[]).includes(tag);
}

/** What a rail, or the whole chassis, failed of, where the evidence says so. */
export const CAUSES = [
  // What the power supply itself has told, over D-Bus.
  'supply',
  // Of the output, its load and its device, by what the device latched, or by its voltage against a limit.
  'overvoltage',
  'overcurrent',
  'overpower',
  'overtemperature',
  'undertemperature',
  'undervoltage',
  'undercurrent',
  'tracking',
  // The part that the rail is of was there when the power-on began, and is not any more.
  'removed',
  // What the rail is made of is not there, or not as it must be.
  'input',
  // By its good signal alone.
  'neverCame',
  'dropped',
  'stray',
  'stuck',
  // A line or a device could not be driven or read.
  'hardware',
  // Nothing that could be read says what it was.
  'unknown',
] as const;
