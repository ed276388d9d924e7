import type { Drive, Request, SleepSeen } from '../sequence/events.ts';
import type { PressKind } from '../sequence/presses.ts';
import type { Source } from '../sequence/readings.ts';

/** What becomes of one drive of those that an event brings about. */
export interface Struck {
  /**
   * It is refused once; or its line stays as it is for good; or the process is killed before it. `lasts`: it takes its time, which
   * is no fault.
   */
  readonly kind: 'fails' | 'sticks' | 'killed' | 'lasts';
  readonly drive: Drive;
  readonly asserted: boolean;
}

/** One thing that happens in a course of events. Signals are rails by name, and null for pgood. */
export type Happened =
  /** `unread`: a signal that cannot be read when the process that was asked looks at the chassis. */
  | {
      readonly what: 'request';
      readonly request: Request;
      readonly unread?: Source;
      readonly struck?: Struck;
    }
  | {
      readonly what: 'level';
      readonly signal: Source;
      readonly good: boolean;
      /** What drops with it. */
      readonly taking: readonly string[];
      /** It breaks with this change. */
      readonly breaks: boolean;
      /** Its interrupt is lost. */
      readonly missed: boolean;
    }
  /** From now on it is broken, and has no time to keep. */
  | { readonly what: 'notInTime'; readonly signal: Source }
  /**
   * `seen` after a change, `read` because it is due; `fails`; `isLate`, when it is asked for; `lateComes`, when that answer
   * is there.
   */
  | {
      readonly what: 'read';
      readonly signal: Source;
      readonly how: 'seen' | 'read' | 'fails' | 'isLate' | 'lateComes';
      readonly struck?: Struck;
    }
  /** Until the machine waits no longer; `goesOn`: a process begins with what it found. */
  | {
      readonly what: 'time';
      readonly ms: number;
      readonly how: 'passes' | 'long' | 'goesOn';
      readonly struck?: Struck;
    }
  /** Of a drive that lasts. `press`: of a power button. */
  | {
      readonly what: 'driveEnds';
      readonly rail: string;
      readonly ms: number;
      readonly fails: boolean;
      readonly press?: PressKind;
    }
  /** A press came to nothing, and a longer one begins. */
  | { readonly what: 'holds'; readonly rail: string; readonly ms: number }
  /**
   * The host behind a power button is on now, or off: in a press, by itself, or because its power went. `taking`: what drops with it.
   * `missed`: its interrupt is lost.
   */
  | {
      readonly what: 'host';
      readonly rail: string;
      readonly on: boolean;
      readonly why: 'press' | 'itself' | 'power';
      readonly taking: readonly string[];
      readonly missed: boolean;
    }
  /** The sleep state of a host that is on is looked at. */
  | { readonly what: 'sleep'; readonly rail: string; readonly seen: SleepSeen }
  | { readonly what: 'stands' }
  | { readonly what: 'wakes'; readonly ms: number; readonly isLong: boolean; readonly struck?: Struck }
  /** `pressing`: and leaves a power button pressed. */
  | { readonly what: 'killed'; readonly forgets: boolean; readonly pressing?: boolean }
  | { readonly what: 'newBmc' }
  | { readonly what: 'restarts'; readonly ms: number }
  /** The next process takes over from one that ends. */
  | { readonly what: 'handedOver' };

/** A course of events word by word: equal for two that differ in nothing but how long time passes. */
export function tell(happened: Happened): string {
  const text = tellAlone(happened);
  return 'struck' in happened && happened.struck ? `${text}; ${tellStruck(happened.struck)}` : text;
}

/** How long it takes. */
export function takesMs(happened: Happened): number {
  return 'ms' in happened ? happened.ms : 0;
}

function tellAlone(happened: Happened): string {
  switch (happened.what) {
    case 'request': {
      const { request, unread } = happened;
      return `${request} is asked for${unread === undefined ? '' : `; ${nameOf(unread)} cannot be read`}`;
    }
    case 'level': {
      const { signal, good, taking, breaks, missed } = happened;
      const how = [
        taking.length === 0 ? '' : ' with all that hangs on it',
        breaks ? ', as it should not' : '',
        missed ? ', and its interrupt is lost' : '',
      ];
      return `${nameOf(signal)} ${good ? 'comes good' : 'drops'}${how.join('')}`;
    }
    case 'notInTime':
      return `${nameOf(happened.signal)} is not in time`;
    case 'read':
      return {
        seen: `the change of ${nameOf(happened.signal)} is seen`,
        read: `${nameOf(happened.signal)} is read`,
        fails: `${nameOf(happened.signal)} cannot be read`,
        isLate: `the answer of ${nameOf(happened.signal)} is late`,
        lateComes: `the late answer of ${nameOf(happened.signal)} comes`,
      }[happened.how];
    case 'time':
      return {
        passes: 'time passes',
        long: 'a long time passes',
        goesOn: 'the process goes on with what it found',
      }[happened.how];
    case 'driveEnds': {
      const { rail, fails, press } = happened;
      if (press !== undefined) {
        const end = fails ? 'which it does not heed' : 'and all is as it was to be';
        return `the button of ${rail} is let go, ${end}`;
      }
      return fails ? `the set-up of ${rail} fails` : `the set-up of ${rail} is over`;
    }
    case 'holds':
      return `the press of the button of ${happened.rail} came to nothing, and it is held`;
    case 'host':
      return tellHost(happened);
    case 'sleep': {
      const { rail, seen } = happened;
      return {
        awake: `the host of ${rail} is seen awake`,
        leaving: `the host of ${rail} is seen asleep, and all its power stands`,
        asleep: `the host of ${rail} is seen asleep`,
        unread: `the sleep state of ${rail} cannot be read`,
      }[seen];
    }
    case 'stands':
      return 'the process stands still';
    case 'wakes':
      return happened.isLong ? 'it goes on after a long time' : 'it goes on late';
    case 'killed':
      return `the process is killed${happened.pressing ? ' with the button pressed' : ''}${happened.forgets ? ' and its state is lost' : ''}`;
    case 'newBmc':
      return 'the BMC starts anew, and its pins are inputs';
    case 'restarts':
      return `it is started again ${happened.ms === 0 ? 'at once' : 'after a long time'}`;
    case 'handedOver':
      return 'the next process takes up';
  }
}

function tellHost({ rail, on, why, taking, missed }: Extract<Happened, { what: 'host' }>): string {
  const does = {
    press: on ? 'comes on' : 'goes off',
    itself: on ? 'comes on late' : 'switches itself off',
    power: 'goes to sleep, for its power is gone',
  }[why];
  const how = [
    taking.length === 0 ? '' : ', and its power goes at once',
    missed ? ', and its interrupt is lost' : '',
  ];
  return `the host of ${rail} ${does}${how.join('')}`;
}

function tellStruck({ kind, drive, asserted }: Struck): string {
  const line =
    drive.what === 'enable'
      ? `the enable of ${drive.rail}`
      : drive.what === 'reset'
        ? `reset ${drive.reset}`
        : 'the latch';
  if (kind === 'fails') return `${line} cannot be driven`;
  if (kind === 'sticks') return `${line} sticks`;
  if (kind === 'lasts') return `to set up what ${line} switches takes its time`;
  const does = drive.what === 'latch' ? 'pulses' : asserted ? 'asserts' : 'releases';
  return `the process is killed before it ${does} ${line}`;
}

function nameOf(signal: Source): string {
  return signal ?? 'pgood';
}
