import { appendFileSync } from 'node:fs';
import type { Clock } from '../hw/ports.ts';

/** One step of an actor, as a line of the file. */
interface Step {
  readonly atMs: number;
  /** For example `resident0`. */
  readonly actor: string;
  readonly event: string;
  /** The states that it is in now, as xstate writes them. */
  readonly value: unknown;
}

/** What xstate tells an inspector of a chart that has taken an event. Whatever else it tells is of no chart. */
interface Seen {
  readonly type: string;
  readonly actorRef?: { readonly id?: string };
  readonly event?: { readonly type?: string };
  readonly snapshot?: { readonly value?: unknown };
}

/**
 * Writes each event that an actor of the service has taken, and the states after it, to a file: one line of JSON each.
 * For development: the program that ships has nothing of it.
 */
export function createInspector(path: string, clock: Clock): (seen: object) => void {
  return (seen) => {
    const { type, actorRef, event, snapshot } = seen as Seen;
    if (type !== '@xstate.snapshot' || snapshot?.value === undefined) return;
    const step: Step = {
      atMs: clock.nowMs(),
      actor: actorRef?.id ?? '',
      event: event?.type ?? '',
      value: snapshot.value,
    };
    appendFileSync(path, `${JSON.stringify(step)}\n`);
  };
}
