import { hasTag, type State } from '../sequence/state.ts';

export type Wanted = 'on' | 'off';

/** What a client sees of a chassis. */
export interface ChassisView {
  readonly state: State;
  /** Power good, de-glitched. False during a power-on until the resets are released. */
  readonly pgood: boolean;
  /** The last request of anybody; `off` after a loss of power. */
  readonly wanted: Wanted;
  /** Reason of the fault, while the chassis is in `fault` or `failed`. In any other state why pgood cannot be read, while it cannot. */
  readonly fault: string | null;
}

/** What is known of a chassis: first from its lines, then from what was recorded or read since. */
export interface ChassisFacts {
  readonly state: State;
  /** Level of pgood, de-glitched. */
  readonly pgood: boolean;
  readonly wanted: Wanted;
  /** Reason of the last fault, also when the chassis has left it behind. */
  readonly fault: string | null;
  /** Why pgood cannot be read; null while it can. */
  readonly pgoodUnread: string | null;
}

export type ChassisFact =
  | { readonly type: 'STATE_ENTERED'; readonly state: State }
  | { readonly type: 'FAULT_RECORDED'; readonly reason: string | null }
  | { readonly type: 'PGOOD_CHANGED'; readonly level: boolean }
  | { readonly type: 'PGOOD_UNREAD'; readonly reason: string | null };

export function firstFacts(state: State, pgood: boolean, fault: string | null): ChassisFacts {
  return withState({ state, pgood, fault, pgoodUnread: null, wanted: 'off' }, state);
}

/** The reducer of what is known. */
export function withFact(facts: ChassisFacts, fact: ChassisFact): ChassisFacts {
  switch (fact.type) {
    case 'STATE_ENTERED':
      return withState(facts, fact.state);
    case 'FAULT_RECORDED':
      return { ...facts, fault: fact.reason };
    case 'PGOOD_CHANGED':
      return { ...facts, pgood: fact.level };
    case 'PGOOD_UNREAD':
      return { ...facts, pgoodUnread: fact.reason };
  }
}

function withState(facts: ChassisFacts, state: State): ChassisFacts {
  // An unknown state does not show what was requested.
  return { ...facts, state, wanted: WANTED_IN[state] ?? facts.wanted };
}

const WANTED_IN: Readonly<Partial<Record<State, Wanted>>> = {
  off: 'off',
  opPowerStart: 'on',
  opWaitPowerOn: 'on',
  pgood: 'on',
  opPowerStop: 'off',
  opWaitPowerOff: 'off',
  fault: 'off',
  failed: 'off',
};

export function viewOf({ state, pgood, wanted, fault, pgoodUnread }: ChassisFacts): ChassisView {
  return {
    state,
    pgood: pgood && !hasTag(state, 'rising'),
    wanted,
    fault: state === 'fault' || state === 'failed' ? fault : pgoodUnread,
  };
}
