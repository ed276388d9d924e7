import { HardwareError } from '../../hw/errors.ts';
import { absentIn, type Plan, planWithout } from '../sequence/plan.ts';
import { type Hint, hasTag, type Observation } from '../sequence/state.ts';
import type { ChassisHardware } from './hardware.ts';

/** A chassis without the rails whose parts are absent. */
export interface PresentChassis {
  readonly plan: Plan;
  readonly hardware: ChassisHardware;
  /** As it was when the power-on began that the state file tells of; false where it was read now. */
  readonly isKept: boolean;
  /** The first presence that could not be read now: no power-on begins on a guess. Null where all could, or none was asked for. */
  readonly error: HardwareError | null;
  /** Rails that count as absent though nobody knows: nothing of them is on. */
  readonly guessed: readonly string[];
}

/** A chassis with all its rails. */
export interface WholeChassis {
  readonly plan: Plan;
  readonly hardware: ChassisHardware;
}

/**
 * What is absent counts for a whole power-on, from its begin until the next one begins: what the state file tells is taken,
 * and what is there now where it tells of none. A chassis whose rails all have to be there is not asked.
 *
 * Rejects with a HardwareError where parts of the rails that are there could not be had.
 */
export async function presentChassis(whole: WholeChassis, hint: Hint | null): Promise<PresentChassis> {
  if (!whole.plan.rails.some(({ isOptional }) => isOptional))
    return { ...whole, isKept: false, error: null, guessed: [] };
  if (hint === null) return presentNow(whole);
  return {
    ...(await withoutRails(whole, hint.sequence.absent ?? [])),
    isKept: true,
    error: null,
    guessed: [],
  };
}

/** The same for a power-on, which begins with what is there now. One that is under way, or over, keeps what it began with. */
export async function presentToPowerOn(whole: WholeChassis, hint: Hint | null): Promise<PresentChassis> {
  return presentChassis(whole, hint !== null && hasTag(hint.state, 'atRest') ? null : hint);
}

/**
 * The same for a power-off. A part that has come since, and that something may be on of, has to be seen to go as well: nobody
 * has enabled it, and a host is told to be off that has power. Where it cannot be read whether it has come, what is read of it tells. One that has gone since, and of which nothing is read to be on,
 * is not missed: what could be driven off or read of it went with it.
 */
export async function presentToPowerOff(whole: WholeChassis, hint: Hint | null): Promise<PresentChassis> {
  const { plan, hardware } = whole;
  if (hint === null || !plan.rails.some(({ isOptional }) => isOptional)) return presentChassis(whole, hint);
  const seen = await hardware.presence();
  const kept = hint.sequence.absent ?? [];
  const isGone = (rail: string) => seen.get(rail) === false;
  const sure = absentIn(plan, (rail) => !(kept.includes(rail) && isGone(rail)));
  const isChanged = plan.rails.some(
    ({ name }) => !sure.includes(name) && (kept.includes(name) || isGone(name)),
  );
  if (!isChanged) return { ...(await withoutRails(whole, sure)), isKept: true, error: null, guessed: [] };
  const { observation } = await (await hardware.without(sure)).observe();
  const absent = absentIn(plan, (rail) => {
    if (sure.includes(rail)) return false;
    if (seen.get(rail) === true && kept.includes(rail)) return mayBeOnIn(observation, rail);
    if (kept.includes(rail)) return isOnIn(observation, rail);
    return !isGone(rail) || isOnIn(observation, rail);
  });
  return { ...(await withoutRails(whole, absent)), isKept: true, error: null, guessed: [] };
}

/**
 * As the presences are read now. Where one cannot be read its rail counts as absent if nothing of it may be on: a chassis that is
 * on is taken for what it is, and is no reason to end it.
 */
export async function presentNow({ plan, hardware }: WholeChassis): Promise<PresentChassis> {
  const seen = await hardware.presence();
  const errors = [...seen.values()].filter((each) => each instanceof HardwareError);
  const sure = absentIn(plan, (rail) => seen.get(rail) !== false);
  if (errors.length === 0)
    return { ...(await withoutRails({ plan, hardware }, sure)), isKept: false, error: null, guessed: [] };
  const { observation } = await (await hardware.without(sure)).observe();
  const absent = absentIn(plan, (rail) =>
    seen.get(rail) instanceof HardwareError ? mayBeOnIn(observation, rail) : seen.get(rail) === true,
  );
  const guessed = absent.filter((rail) => !sure.includes(rail));
  return {
    ...(await withoutRails({ plan, hardware }, absent)),
    isKept: false,
    error: errors[0] ?? null,
    guessed,
  };
}

/** An enable that cannot be read may be asserted. */
function mayBeOnIn({ rails }: Observation, rail: string): boolean {
  return rails[rail]?.enabled === true || rails[rail]?.good === true;
}

function isOnIn(observation: Observation, name: string): boolean {
  const isUnread = observation.unread?.some(({ signal, rail }) => signal === 'enable' && rail === name);
  return isUnread ? observation.rails[name]?.good === true : mayBeOnIn(observation, name);
}

async function withoutRails(
  { plan, hardware }: WholeChassis,
  absent: readonly string[],
): Promise<WholeChassis> {
  return { plan: planWithout(plan, absent), hardware: await hardware.without(absent) };
}

/** Rails whose part was there, and is seen to be gone. */
export async function removedFrom(hardware: ChassisHardware, { rails }: Plan): Promise<string[]> {
  if (!rails.some(({ isOptional }) => isOptional)) return [];
  const seen = await hardware.presence();
  return rails.flatMap(({ name }) => (seen.get(name) === false ? [name] : []));
}
