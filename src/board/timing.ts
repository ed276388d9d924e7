import type { Finding } from './findings.ts';
import { nextOff } from './off-order.ts';
import type { Board, ChassisBoard } from './schema.ts';

/**
 * Times of a valid board that cannot work out on a chassis that is whole: a part may take what its own time allows, and is given
 * up sooner, or not waited for. No file is refused for them: the part may be faster than it is allowed to be.
 */
export function timingWarnings(board: Board): Finding[] {
  return Object.entries(board.chassis).flatMap(([number, chassis]) => {
    const at = ['chassis', number];
    return [...lastRails(chassis, at), ...unseenDischarge(chassis, at), ...idleSettle(chassis, at)];
  });
}

/** `onTimeoutMs` of pgood begins with the last enable, and ends the wait for every rail that is still to come. */
function lastRails({ rails, pgood }: ChassisBoard, at: readonly string[]): Finding[] {
  const needed = new Set(Object.values(rails).flatMap(({ needs }) => needs));
  return Object.entries(rails).flatMap(([name, { enable, good, onTimeoutMs }]): Finding[] => {
    const isLast = enable !== undefined && good !== undefined && !needed.has(name);
    if (!isLast || onTimeoutMs <= pgood.onTimeoutMs) return [];
    return [
      {
        at: [...at, 'rails', name, 'onTimeoutMs'],
        message: `rail ${name} may take ${onTimeoutMs} ms to be good, but is given up ${pgood.onTimeoutMs} ms after the last enable, which is onTimeoutMs of pgood`,
        suggestion: `set onTimeoutMs of pgood above ${onTimeoutMs}, by what pgood takes after the last rail`,
      },
    ];
  });
}

/** What comes after the last rail of the way down is a power-on, and that has a time of its own. */
function idleSettle(chassis: ChassisBoard, at: readonly string[]): Finding[] {
  return Object.entries(chassis.rails).flatMap(([name, { offSettleMs = 0 }]): Finding[] => {
    if (offSettleMs === 0 || isFollowed(chassis, name)) return [];
    return [
      {
        at: [...at, 'rails', name, 'offSettleMs'],
        message: `no rail goes off after ${name}: its offSettleMs of ${offSettleMs} ms only makes a power-off longer`,
        suggestion: `remove it, or name ${name} in the "offAfter" of another rail; the time until power comes again is minOffMs of the chassis`,
      },
    ];
  });
}

/** A rail with an enable goes off after it, be it behind some that are only watched. */
function isFollowed(chassis: ChassisBoard, rail: string): boolean {
  return nextOff(chassis, rail).some(
    (other) => chassis.rails[other]?.enable !== undefined || isFollowed(chassis, other),
  );
}

/** Nobody sees a rail without a good signal fall, so that only `minOffMs` lets it discharge before power comes again. */
function unseenDischarge({ rails, minOffMs }: ChassisBoard, at: readonly string[]): Finding[] {
  const unseen = Object.keys(rails).filter((name) => rails[name]?.good === undefined);
  const [first] = unseen;
  if (minOffMs > 0 || first === undefined) return [];
  const names = unseen.join(', ');
  const [have, take] = unseen.length === 1 ? ['has', 'takes'] : ['have', 'take'];
  return [
    {
      at: [...at, 'rails', first],
      message: `nobody sees whether ${names} ${have} discharged, and without minOffMs power may come again at once`,
      suggestion: `give the chassis a minOffMs of the time that ${names} ${take} to discharge`,
    },
  ];
}
