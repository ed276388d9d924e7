import { linesOf } from '../board/lines.ts';
import type { LoadedBoard } from '../board/load.ts';
import type { ChassisBoard } from '../board/schema.ts';
import type { Recorded } from '../run/record.ts';
import { createRestFile } from '../store/rest.ts';
import type { Invocation } from './verb.ts';
import type { World } from './world.ts';

/**
 * Keeps how a chassis was found that is on, after a run that had nothing to do, for the next such run to see that it is still so
 * (`verbs/at-rest.ts`). To be called with the chassis locked. Never rejects: without it the next run takes longer.
 */
export async function keepRest(
  { boardPath, chassis, runDir }: Invocation,
  { board }: LoadedBoard,
  entries: readonly Recorded[],
  world: World,
): Promise<void> {
  const found = observationOf(entries);
  const own = board.chassis[String(chassis)];
  if (found === null || own === undefined || !isOfLinesAlone(own)) return;
  try {
    const refs = linesOf(board).flatMap((line) => (line.chassis === chassis ? [line.ref] : []));
    const keys = (await (await world.gpio()).locate(refs)).map((place) => ('key' in place ? place.key : ''));
    const picture = await world.picture(keys);
    if (picture === null) return;
    const here = { build: world.build(), bootId: world.bootId(), boardPath };
    createRestFile(runDir, chassis, here).keep({ keys, picture, observation: found });
  } catch {
    // The lines were there a moment ago. The next run says what is wrong with them.
  }
}

/** What a run read that found the chassis on, as the last one had left it, and had nothing else to tell; null for any other run. */
function observationOf(entries: readonly Recorded[]) {
  const [first, ...others] = entries;
  if (first?.type !== 'reconciled' || first.state !== 'pgood' || first.hint !== 'pgood') return null;
  if (others.some((entry) => entry.type !== 'request' || entry.outcome !== 'unchanged')) return null;
  const { rails, pgood, resetsAsserted, unread, unpowered } = first;
  return unread === undefined && unpowered === undefined ? { rails, pgood, resetsAsserted } : null;
}

/** What a board file may say of a chassis, and of a rail, by which a run reads lines or nothing. Of other words nobody knows. */
const OF_CHASSIS = ['rails', 'pgood', 'resets', 'latch', 'panel', 'hostSignals', 'evidence', 'minOffMs'];
const OF_RAIL = [
  'nominalVolts',
  'enable',
  'good',
  'needs',
  'offAfter',
  'offSettleMs',
  'logOnly',
  'settleMs',
  'onTimeoutMs',
  'offTimeoutMs',
];

/** Nothing of it is asked for over a bus, and no button may have been left pressed. */
function isOfLinesAlone(chassis: ChassisBoard): boolean {
  const isKnown = (entries: object, words: readonly string[]) =>
    Object.keys(entries).every((word) => words.includes(word));
  return (
    isKnown(chassis, OF_CHASSIS) &&
    Object.values(chassis.rails).every((rail) => isKnown(rail, OF_RAIL)) &&
    !/"(?:pmbus|hwmon|iio|dbus|pulse|device)":/.test(JSON.stringify(chassis))
  );
}
