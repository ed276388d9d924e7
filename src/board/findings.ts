import type { Board, ChassisBoard, RailBoard } from './schema.ts';

/** The parts of a board file that fit the schema. */
export type PartOf<T> = T extends readonly (infer Item)[]
  ? readonly (PartOf<Item> | undefined)[]
  : T extends object
    ? { readonly [Key in keyof T]?: PartOf<T[Key]> | undefined }
    : T;
export type BoardPart = PartOf<Board>;
export type ChassisPart = PartOf<ChassisBoard>;

/** What a cross check found. */
export interface Finding {
  /** The keys that lead there. */
  readonly at: readonly string[];
  readonly message: string;
  readonly suggestion: string;
  /** The other part that it contradicts. */
  readonly other?: readonly string[];
  /** Something is missing. It may stand in a part of the file that could not be read. */
  readonly absent?: true;
}

/** Checks skip missing parts, which the schema reports. */
export type Check = (board: BoardPart) => Finding[];

export function eachChassis(
  { chassis: all = {} }: BoardPart,
  visit: (chassis: ChassisPart, at: readonly string[]) => Finding[],
): Finding[] {
  return Object.entries(all).flatMap(([number, chassis]) =>
    chassis === undefined ? [] : visit(chassis, ['chassis', number]),
  );
}

type Rails = readonly (readonly [name: string, rail: PartOf<RailBoard>])[];

/** Two dozen checks ask, and most boards are looked at once. */
const knownRails = new WeakMap<object, Rails>();

export function railsOf({ rails }: ChassisPart): Rails {
  if (rails === undefined) return [];
  const known = knownRails.get(rails);
  if (known !== undefined) return known;
  const all = Object.entries(rails).map(([name, rail]) => [name, rail ?? {}] as const);
  knownRails.set(rails, all);
  return all;
}
