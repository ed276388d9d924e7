import type { End, EventSource, Fields } from '../report/events.ts';
import type { Missed } from '../run/record.ts';
import type { Output } from '../system/ports.ts';
import { ERROR, INFO, writeLine } from '../system/severity.ts';
import type { World } from './world.ts';

/** Identifier of all that the units say (`SyslogIdentifier=`). */
const IDENTIFIER = 'chassis-power';

/** Makes the fields of an event; null for one that has none. Called only where a journal may take them. */
export type FieldsOf = (events: typeof import('../report/events.ts')) => Fields | null;

/**
 * Tells an event once: to the journal, where `out` goes there, as an entry with fields, and everywhere else, or when the
 * journal does not take it within a second, as the line that it would be without them. Never rejects, and writes a line
 * to what is no journal before it returns.
 * @param severity as syslog counts it (RFC 5424, table 2)
 */
export async function tellEvent(
  out: Output,
  severity: number,
  text: string,
  world: Pick<World, 'journal'>,
  fieldsOf: FieldsOf,
): Promise<void> {
  if (out.journal && (await isTaken(severity, text, world, fieldsOf))) return;
  writeLine(out, severity, text);
}

/** Tells that a power sequence reached what was asked for, or what a host asked for that switched itself off, and how long it took. */
export function tellEnd(
  end: End,
  { chassis, verb, elapsedMs }: EventSource & { readonly elapsedMs: number },
  world: Pick<World, 'stdout' | 'journal'>,
): Promise<void> {
  const power = end === 'pgood' ? 'on' : 'off';
  const what = end === 'hostOff' ? 'its host switched itself off, which' : (verb ?? `power ${power}`);
  const text = `chassis ${chassis} is ${power}: ${what} took ${Math.round(elapsedMs)} ms`;
  return tellEvent(world.stdout, INFO, text, world, ({ endFields }) =>
    endFields(end, { chassis, verb, elapsedMs }),
  );
}

/** Tells of a rail that the chassis does without. */
export function tellMiss(
  { rail, reason }: Missed,
  source: EventSource,
  world: Pick<World, 'stdout' | 'journal'>,
): Promise<void> {
  const text = `chassis ${source.chassis} does without rail ${rail}: ${reason}`;
  return tellEvent(world.stdout, ERROR, text, world, ({ missFields }) =>
    missFields({ rail, reason }, source),
  );
}

async function isTaken(
  severity: number,
  text: string,
  world: Pick<World, 'journal'>,
  fieldsOf: FieldsOf,
): Promise<boolean> {
  try {
    const fields = fieldsOf(await import('../report/events.ts'));
    if (fields === null) return false;
    const entry = { MESSAGE: text, PRIORITY: String(severity), SYSLOG_IDENTIFIER: IDENTIFIER };
    return await (await world.journal()).send({ ...entry, ...fields });
  } catch {
    // A file of the program that cannot be read any more: the line says it all the same.
    return false;
  }
}
