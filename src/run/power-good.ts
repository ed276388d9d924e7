import { HardwareError, isHang } from '../../hw/errors.ts';
import type { PgoodSource } from '../board/pgood.ts';
import { railsOfPgood, sourcesOf } from '../board/pgood-sources.ts';
import type { ChassisBoard } from '../board/schema.ts';
import type { Signal, Switch } from './parts.ts';

/**
 * pgood: one signal, or several signals and rails that are taken together. One that cannot be read decides nothing where
 * the others do: of `all` one that is not good is enough, of `any` one that is.
 */

/** What can be asked for a level. */
export type Asked = Pick<Switch | Signal, 'bus' | 'role' | 'poweredBy' | 'read'>;

/** What is taken together. */
export interface Together {
  readonly take: 'all' | 'any';
  readonly of: readonly (Asked | Together)[];
}

/** pgood of a chassis. */
export interface PowerGood {
  readonly whole: Together;
  /** Signals of its own, in the order of the board. */
  readonly own: readonly Signal[];
  /** Rails that it is taken from. */
  readonly rails: ReadonlySet<string>;
}

/** What one part says; the error where it cannot be read. */
export type Said = boolean | HardwareError;

/** pgood as the board has it, of parts that were opened. */
export function powerGoodOf(
  chassis: ChassisBoard,
  own: ReadonlyMap<PgoodSource, Signal>,
  {
    enables,
    goods,
  }: { readonly enables: ReadonlyMap<string, Switch>; readonly goods: ReadonlyMap<string, Signal> },
): PowerGood {
  const names = railsOfPgood(chassis);
  const rails = names.flatMap((rail) => goods.get(rail) ?? enables.get(rail) ?? []);
  const parts = sourcesOf(chassis.pgood).flatMap(({ source }): (Asked | Together)[] => {
    if ('rails' in source) return [{ take: 'all', of: rails }];
    const signal = own.get(source);
    return signal === undefined ? [] : [signal];
  });
  const take = 'any' in chassis.pgood ? 'any' : 'all';
  return { whole: { take, of: parts }, own: [...own.values()], rails: new Set(names) };
}

/**
 * The same without rails that are left out.
 * @param signals of these rails
 */
export function powerGoodWithout(
  { whole, own, rails }: PowerGood,
  leftOut: readonly string[],
  signals: readonly Asked[],
): PowerGood {
  const without = (part: Together): Together => ({
    ...part,
    of: part.of.flatMap((each): (Asked | Together)[] => {
      if (isTogether(each)) return [without(each)];
      return signals.includes(each) ? [] : [each];
    }),
  });
  return { whole: without(whole), own, rails: new Set([...rails].filter((rail) => !leftOut.includes(rail))) };
}

function isTogether(part: Asked | Together): part is Together {
  return 'of' in part;
}

/** All that has to be asked, each once. */
export function askedFor(part: Asked | Together): readonly Asked[] {
  return isTogether(part) ? [...new Set(part.of.flatMap(askedFor))] : [part];
}

/**
 * What the parts say together: the first error where those that can be read decide nothing, undefined where that hangs on
 * one that was not asked yet.
 */
export function verdict(part: Asked | Together, saidBy: (part: Asked) => Said | undefined): Said | undefined {
  if (!isTogether(part)) return saidBy(part);
  // Of nothing there is nothing to believe.
  if (part.of.length === 0) return false;
  const said = part.of.map((each) => verdict(each, saidBy));
  const decides = part.take === 'any';
  if (said.includes(decides)) return decides;
  if (said.includes(undefined)) return undefined;
  return said.find((each) => each instanceof HardwareError) ?? !decides;
}

/**
 * Asks until the answer is known, whatever hangs: lines first, and then one part after the other of each bus, which is asked for nothing
 * more once it hangs. Rejects with the HardwareError of the first part that cannot be read where the others do not decide.
 */
export async function readTogether(
  whole: Together,
  read: (part: Asked) => Promise<boolean>,
): Promise<boolean> {
  const parts = askedFor(whole);
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return read(only);
  const said = new Map<Asked, Said>();
  const now = () => verdict(whole, (part) => said.get(part));
  const ask = async (part: Asked): Promise<Said> => {
    const answer = await read(part).catch((error: unknown) => {
      if (error instanceof HardwareError) return error;
      throw error;
    });
    said.set(part, answer);
    return answer;
  };
  const askBus = async (bus: string): Promise<void> => {
    let hung: HardwareError | null = null;
    for (const part of parts) {
      if (part.bus !== bus || now() !== undefined) continue;
      if (hung !== null) said.set(part, hung);
      else {
        const answer = await ask(part);
        if (isHang(answer)) hung = answer;
      }
    }
  };
  const lines = parts.filter(({ bus }) => bus === null);
  await untilKnown(lines.map(ask), () => now() !== undefined);
  const buses = new Set(parts.flatMap(({ bus }) => bus ?? []));
  if (now() === undefined) await Promise.all([...buses].map(askBus));
  const answer = now();
  if (answer === undefined) throw new RangeError('pgood has nothing that it is taken from');
  if (answer instanceof HardwareError) throw answer;
  return answer;
}

/** Resolves when all have ended, or what they are asked for is known. */
function untilKnown(asked: readonly Promise<unknown>[], isKnown: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = asked.length;
    const endIfKnown = (): void => {
      if (left === 0 || isKnown()) resolve();
    };
    for (const each of asked) {
      each.then(() => {
        left -= 1;
        endIfKnown();
      }, reject);
    }
    endIfKnown();
  });
}
