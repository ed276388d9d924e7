import { downBefore, type Plan } from '../sequence/plan.ts';
import type { Machine } from './machine.ts';

/** Why a transition of the machine is not to be expected of a search. */
interface Excuse {
  readonly transitions: RegExp;
  readonly why: string;
  readonly holds: (plan: Plan, faults: number) => boolean;
}

const isSeen = ({ rails }: Plan) => rails.some(({ observable }) => observable);

const isBehind = (rails: Plan['rails'], name: string) =>
  rails.some((rail) => rail.name === name && rail.needs.length > 0);

const EXCUSES: readonly Excuse[] = [
  {
    transitions: /latchMissed|LATCHED/,
    why: 'the board has no latch',
    holds: ({ latched }) => !latched,
  },
  {
    transitions: /hostHasLeft|HOST_SLEEP/,
    why: 'no host of the board has a sleep state',
    holds: ({ sleep }) => sleep === null,
  },
  {
    transitions: /railMissed|ofLogOnly/,
    why: 'the chassis can do without no rail of the board',
    holds: ({ rails }) => rails.every(({ isLogOnly }) => !isLogOnly),
  },
  {
    transitions:
      /anyResetReleased|otherResetIsNext|opWaitPowerOn: always \[nextIsChecked\]|pgood: DRIVE_FAILED/,
    why: 'the board has no resets',
    holds: ({ resets }) => resets.length === 0,
  },
  {
    transitions: /otherResetIsNext|opWaitPowerOn: always \[nextIsChecked\]|pgood: DRIVE_FAILED/,
    why: 'the sequence releases no reset of the board',
    holds: ({ resets }) => resets.every(({ isHeld }) => isHeld),
  },
  {
    transitions: /pgoodLostEarly/,
    why: 'every reset that the sequence releases is released in the instant in which all is ready',
    holds: ({ resets }) => resets.every(({ isHeld, releaseDelayMs }) => isHeld || releaseDelayMs === 0),
  },
  {
    transitions: /^opPowerStart: (POWER|READ|DRIVE|always \[railTimedOut)/,
    why: 'no rail waits for another one, so that all are switched on in one step',
    holds: ({ rails }) => rails.every(({ needs, watched }) => watched !== null || needs.length === 0),
  },
  {
    transitions: /^opPowerStart: DRIVE/,
    why: 'no enable waits for another one, so that all are switched on in one step',
    holds: ({ rails }) => rails.every(({ neededBy }) => neededBy.length === 0),
  },
  {
    transitions: /^off: DRIVE/,
    why: 'the only enable is a power button, which is not pressed for a host that is off',
    holds: ({ rails, resets }) =>
      resets.length === 0 && rails.every(({ pulsed, watched }) => pulsed !== null || watched !== null),
  },
  {
    transitions: /^opPowerStop: (POWER|READ|DRIVE)/,
    why: 'no enable waits for another one, so that all are switched off in one step',
    holds: ({ rails }) => rails.every((rail) => downBefore(rail).length === 0),
  },
  {
    transitions: /pgoodLost/,
    why: 'pgood is taken from rails, of which each is told before it',
    holds: (plan) => isSeen(plan) && !plan.pgood.hasSignals,
  },
  {
    transitions: /pgoodLost|pgoodTimedOut|powerStays|^fault: POWER/,
    why: 'nothing of the board tells of power',
    holds: (plan) => !isSeen(plan) && !plan.pgood.hasSignals,
  },
  {
    transitions: /opPowerStart: always \[railLost\]/,
    why: 'all rails are enabled as soon as the first ones are up',
    holds: ({ rails }) =>
      !rails.some(({ needs, watched }) => watched === null && needs.some((need) => isBehind(rails, need))),
  },
  {
    transitions:
      /RAIL_LEVEL|rail(Lost|TimedOut|Stray|TooLate)|railsStuck|linesContradict|(chassis|off|opPowerStart|opPowerStop): READ_FAILED|(off|opPowerStart|opPowerStop): DRIVE_FAILED/,
    why: 'no rail of the board has a signal of its own',
    holds: (plan) => !isSeen(plan),
  },
  {
    transitions:
      /READ_FAILED|railStray|railTimedOut|railTooLateForPgood|railLostWithPgood|(fault|failed): DRIVE_FAILED|failed: CLEAR \[latchMissed\]/,
    why: 'it takes two faults',
    holds: (_, faults) => faults === 1,
  },
];

/** Transitions that no course of the search took, and should have. Nothing is expected where nothing may break. */
export function missedTransitions(
  machine: Machine,
  plan: Plan,
  faults: number,
  taken: ReadonlySet<string>,
): string[] {
  if (faults === 0) return [];
  return machine
    .transitionNames()
    .filter((name) => !taken.has(name))
    .filter(
      (name) => !EXCUSES.some(({ transitions, holds }) => holds(plan, faults) && transitions.test(name)),
    );
}
