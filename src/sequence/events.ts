import type { Fault, Miss, SignalRef, State } from './state.ts';

/**
 * What the sequence is told, and what it wants done. Time comes with every event as `atMs` on the monotonic clock.
 */

export type Request = 'POWER_ON' | 'POWER_OFF' | 'CLEAR';

export type Drive =
  | { readonly what: 'enable'; readonly rail: string }
  | { readonly what: 'reset'; readonly reset: string }
  | { readonly what: 'latch' };

/**
 * What a look at the sleep state of a host found. `leaving`: it sleeps, and all its power was read to be good after that;
 * `asleep`: it sleeps, and some was not.
 */
export type SleepSeen = 'awake' | 'leaving' | 'asleep' | 'unread';

export type SequenceEvent =
  | { type: Request; atMs: number }
  /** A level that was read: asked for at `askedMs` and answered at `atMs`, so it is of some moment in between. */
  | { type: 'RAIL_LEVEL'; rail: string; good: boolean; askedMs: number; atMs: number }
  | { type: 'PGOOD_LEVEL'; good: boolean; askedMs: number; atMs: number }
  /** The sleep state of the host was looked at while the chassis is on. */
  | { type: 'HOST_SLEEP'; seen: SleepSeen; atMs: number }
  /** Time passed. */
  | { type: 'TICK'; atMs: number }
  /** Nothing was read for the last `ms`: the process stood still. */
  | { type: 'STALLED'; ms: number; atMs: number }
  /** An enable was switched: from now on its times count. */
  | { type: 'DRIVEN'; rail: string; asserted: boolean; atMs: number }
  /** The latch was pulsed. */
  | { type: 'LATCHED'; atMs: number }
  /** A line or device could not be driven. `readBack`: it was read after that, and stands in the other state. */
  | {
      type: 'DRIVE_FAILED';
      drive: Drive;
      asserted: boolean;
      readBack: boolean;
      code: string;
      reason: string;
      atMs: number;
    }
  | ({ type: 'READ_FAILED'; code: string; reason: string; askedMs: number; atMs: number } & SignalRef);

export type EventOf<Type extends SequenceEvent['type']> = Extract<SequenceEvent, { type: Type }>;

/** How a request was taken. */
export type Outcome = 'changed' | 'unchanged' | 'rejected';

export interface Answer {
  readonly request: Request;
  readonly outcome: Outcome;
  /** Why it was rejected; empty otherwise. */
  readonly reason: string;
}

/** How a power button switches a rail off. */
export interface Press {
  /** The host that runs on it may shut down by itself first, where the board gives it the time. */
  readonly isGraceful: boolean;
  /** It was pressed to switch on and the rail did not come: it may be on all the same, or come late. */
  readonly mayBeOn: boolean;
}

/** What the sequence wants done, as data. */
export type SequenceAction =
  | {
      readonly type: 'driveEnable';
      readonly rail: string;
      readonly asserted: boolean;
      /** Of a rail that a power button is to switch off. */
      readonly press?: Press;
    }
  | { readonly type: 'driveReset'; readonly reset: string; readonly asserted: boolean }
  | { readonly type: 'pulseLatch' }
  /** A state was entered; several in one step where one passes straight through. */
  | { readonly type: 'entered'; readonly state: State }
  | ({ readonly type: 'answer' } & Answer)
  /** A rail that the chassis can do without did not come, or dropped. */
  | { readonly type: 'tellMissed'; readonly rail: string; readonly miss: Miss; readonly reason: string }
  /** The host behind the power button of the rail has switched itself off. */
  | { readonly type: 'tellHostOff'; readonly rail: string }
  | { readonly type: 'raiseFault'; readonly fault: Fault };
