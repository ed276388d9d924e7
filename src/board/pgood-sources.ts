import type { PartOf } from './findings.ts';
import type { PgoodBoard, PgoodSource } from './pgood.ts';
import type { ChassisBoard, LineBoard } from './schema.ts';

/** Something that pgood is taken from. */
export interface NamedSource<Source> {
  readonly source: Source;
  /** For messages: `pgood`, or `pgood 2` of several. */
  readonly role: string;
  /** The keys that lead to it from the chassis. */
  readonly keys: readonly string[];
}

/** What pgood is taken from, in the order of the file. */
export function sourcesOf(pgood: PgoodBoard): readonly NamedSource<PgoodSource>[];
export function sourcesOf(pgood: PartOf<PgoodBoard>): readonly NamedSource<PartOf<PgoodSource>>[];
export function sourcesOf(pgood: PartOf<PgoodBoard>): readonly NamedSource<PartOf<PgoodSource>>[] {
  const key = 'all' in pgood ? 'all' : 'any';
  const several = 'all' in pgood ? pgood.all : 'any' in pgood ? pgood.any : null;
  if (several === null) return [{ source: pgood as PartOf<PgoodSource>, role: 'pgood', keys: ['pgood'] }];
  return (several ?? []).flatMap((source, index) =>
    source === undefined ? [] : [{ source, role: `pgood ${index + 1}`, keys: ['pgood', key, String(index)] }],
  );
}

/** The GPIO lines among its sources. */
export function linesOfPgood(pgood: PgoodBoard): readonly LineBoard[] {
  return sourcesOf(pgood).flatMap(({ source }) => ('chip' in source || 'name' in source ? [source] : []));
}

/** Names of the rails that pgood is taken from, none where it has signals of its own alone. */
export function railsOfPgood({ rails, pgood, latch }: PartOf<ChassisBoard>): readonly string[] {
  if (pgood === undefined || !sourcesOf(pgood).some(({ source }) => 'rails' in source)) return [];
  // On a latched board the enables read off while the power stands.
  return Object.entries(rails ?? {}).flatMap(([name, rail]) => {
    const tells = latch === undefined || rail?.good !== undefined;
    return tells && rail?.logOnly === undefined ? [name] : [];
  });
}
