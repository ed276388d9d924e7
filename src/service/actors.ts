import { type Actor, type AnyStateMachine, createActor, type InputFrom, type InspectionEvent } from 'xstate';
import type { Clock } from '../../hw/ports.ts';
import { PowerError } from '../errors.ts';

/** For development: called with every step of the actors. */
export type Inspector = (event: InspectionEvent) => void;

export interface ActorOptions {
  /** Names the actor to an inspector. */
  readonly id: string;
  readonly clock: Clock;
  readonly inspect?: Inspector | undefined;
}

/**
 * Starts a chart with `clock` for its delays. An error that an action throws ends the actor, and is an uncaught
 * exception.
 */
export function startActor<Chart extends AnyStateMachine>(
  chart: Chart,
  { id, clock, inspect }: ActorOptions,
  input: InputFrom<Chart>,
): Actor<Chart> {
  const timers = {
    setTimeout: (run: () => void, ms: number) => clock.after(ms, run),
    clearTimeout: (cancel: () => void) => cancel(),
  };
  const actor = createActor<AnyStateMachine>(chart, {
    id,
    clock: timers,
    input,
    ...(inspect && { inspect }),
  });
  return actor.start() as Actor<Chart>;
}

/** Placeholder in a chart for an actor that is provided where the chart is started. */
export function notProvided(): never {
  throw new PowerError('INTERNAL', 'a chart was started without what it invokes');
}
