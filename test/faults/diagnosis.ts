import type { Fault } from '../../mocks/plant/faults.ts';
import { sourcesOf } from '../../src/board/pgood-sources.ts';
import type { Board, ChassisBoard } from '../../src/board/schema.ts';

/** Rails that are only watched, and that nothing with an enable stands before. */
export function suppliesOf(rails: ChassisBoard['rails']): ReadonlySet<string> {
  const supplies = new Set<string>();
  const names = Object.keys(rails);
  // At most one more is found with each look.
  for (const _ of names) {
    for (const name of names) {
      const { enable, needs } = rails[name] ?? { enable: undefined, needs: [] };
      if (enable === undefined && needs.every((need) => supplies.has(need))) supplies.add(name);
    }
  }
  return supplies;
}

/** What a power-on from off may say of a fault that was there before it; null where several answers are right. */
export function diagnosisOf({ effect }: Fault, board: Board, chassis: number): readonly string[] | null {
  const { rails = {}, evidence = [], pgood } = board.chassis[chassis] ?? {};
  const sources = pgood === undefined ? [] : sourcesOf(pgood);
  const takesAny = pgood !== undefined && 'any' in pgood;
  const seen = (rail: string) => rails[rail]?.good !== undefined;
  const isSeenByAsking = (rail: string) => {
    const { good } = rails[rail] ?? {};
    return good !== undefined && !('active' in good);
  };
  const isLogOnly = (rail: string) => rails[rail]?.logOnly !== undefined;
  const pulseOf = (rail: string) => {
    const { enable } = rails[rail] ?? {};
    return enable && 'pulse' in enable ? enable : null;
  };
  const isShownLate = (rail: string) => pulseOf(rail) !== null && pulseOf(rail)?.state === undefined;
  /** The rail whose button is seen to be taken by pgood alone. */
  const byPgood = Object.keys(rails).find((rail) => isShownLate(rail) && !seen(rail));
  const inTime = (rail: string, extraMs: number) => {
    const limitMs = rails[rail]?.onTimeoutMs ?? 0;
    // Close to the limit either answer is right.
    if (extraMs < limitMs * 0.7) return ['pgood'];
    return extraMs > limitMs ? [`railTimeout ${rail}`] : null;
  };
  switch (effect.on) {
    case 'rail':
      if (effect.does === 'slowFall') return ['pgood'];
      if (suppliesOf(rails).has(effect.rail)) {
        if (isLogOnly(effect.rail)) return ['pgood'];
        // It stands when the fault comes, and sinks while power comes up.
        if (effect.does === 'slowRise') return ['pgood'];
        return isSeenByAsking(effect.rail) ? null : [`railTimeout ${effect.rail}`, `railLost ${effect.rail}`];
      }
      if (!seen(effect.rail)) return null;
      if (isLogOnly(effect.rail)) return ['pgood'];
      if (effect.does === 'slowRise') return inTime(effect.rail, effect.extraMs);
      return [`railTimeout ${effect.rail}`];
    case 'enable':
      if (effect.does !== 'stuckOff') return null;
      // Where no state shows that a press was taken, its rail is waited for.
      return [`${isShownLate(effect.rail) ? 'railTimeout' : 'hardware'} ${effect.rail}`];
    case 'button':
      return effect.does === 'stuckOff' ? [`hardware ${effect.rail}`] : ['GPIO_NOT_FOLLOWED'];
    case 'state':
      return effect.does === 'stuckOff' ? [`hardware ${effect.rail}`] : null;
    // A host that is off has nothing to shut down.
    case 'host':
    case 'panel':
    case 'shutdown':
      return ['pgood'];
    case 'setup':
      return [`hardware ${effect.rail}`];
    case 'part':
      return ['pgood'];
    case 'presence': {
      // The part is there: who says so does not lie.
      if (effect.does === 'stuckOn') return ['pgood'];
      // What shows pgood may count on the part that is left out.
      if (effect.does !== 'hang') return null;
      const { presence } = rails[effect.rail] ?? {};
      return [presence && 'inventory' in presence ? 'PROPERTY_UNREAD' : 'I2C_TIMEOUT'];
    }
    case 'good':
      if (effect.does !== 'stuckOff') return null;
      return [isLogOnly(effect.rail) ? 'pgood' : `railTimeout ${effect.rail}`];
    case 'pgood': {
      if (effect.does !== 'stuckOff') return null;
      // One that is not hit is enough for `any`.
      const isLeft = sources.some(
        ({ source }, index) => 'rails' in source || (effect.source !== null && effect.source !== index + 1),
      );
      if (takesAny && isLeft) return ['pgood'];
      return byPgood === undefined ? ['pgoodTimeout'] : [`railTimeout ${byPgood}`];
    }
    case 'i2c': {
      if (effect.times !== null) return null;
      const isOf = (part: object | undefined) =>
        part !== undefined && 'pmbus' in part && part.pmbus === effect.device;
      const lookedAt = Object.keys(rails).filter((rail) =>
        [rails[rail]?.enable, rails[rail]?.good].some(isOf),
      );
      const used = Object.keys(rails).filter((rail) => lookedAt.includes(rail) || isOf(rails[rail]?.setup));
      if (sources.some(({ source }) => 'pmbus' in source && source.pmbus === effect.device)) return null;
      if (used.length === 0) return evidence.includes(effect.device) ? ['pgood'] : null;
      // What only shows a rail that the chassis can do without fails nothing; what switches it as well does.
      if (used.some(isLogOnly)) {
        const isOnlyShown = used.every((rail) => isLogOnly(rail) && !isOf(rails[rail]?.enable));
        return isOnlyShown && effect.does === 'nack' && lookedAt.length === used.length ? ['pgood'] : null;
      }
      // A device without a check answers anything then, and one with it tells.
      if (effect.does === 'noise') return null;
      // One that has no power yet is not asked before its rails come.
      const { poweredBy } = board.devices[effect.device] ?? {};
      // Nor is one before that only takes what it is told.
      if ((poweredBy !== undefined && !suppliesOf(rails).has(poweredBy)) || lookedAt.length === 0)
        return used.map((rail) => `hardware ${rail}`);
      return [{ nack: 'I2C_NO_DEVICE', hang: 'I2C_TIMEOUT', busy: 'I2C_BUSY' }[effect.does]];
    }
    case 'device': {
      const { poweredBy } = board.devices[effect.device] ?? {};
      const isOf = (part: object | undefined) =>
        part !== undefined && 'pmbus' in part && part.pmbus === effect.device;
      const lookedAt = Object.values(rails).some(({ enable, good }) => isOf(enable) || isOf(good));
      const isAskedFirst = poweredBy === undefined || suppliesOf(rails).has(poweredBy);
      return lookedAt && isAskedFirst ? ['PMBUS_IDENTITY'] : null;
    }
    case 'sensor':
      // Its chip may be that of others, and a driver that hangs holds them up.
      if (effect.rail !== null && isLogOnly(effect.rail)) return effect.does === 'fails' ? ['pgood'] : null;
      return [{ fails: 'SENSOR_FAILED', hangs: 'SENSOR_TIMEOUT', gone: 'SENSOR_NO_CHIP' }[effect.does]];
    case 'line':
      if (effect.line.of === 'good' && isLogOnly(effect.line.rail) && effect.does === 'readError')
        return ['pgood'];
      // The latch is not read before it is pulsed.
      if (effect.line.of === 'latch' && effect.does === 'readError') return null;
      // Of `all` it does not matter before the others are good.
      if (effect.line.of === 'pgood' && sources.length > 1 && !['busy', 'hangs'].includes(effect.does))
        return null;
      return [codeOfLine(effect.does)];
    case 'gpio':
      return [codeOfLine(effect.does)];
  }
}

function codeOfLine(does: 'busy' | 'readError' | 'hangs' | 'noInterrupts'): string {
  return { busy: 'GPIO_BUSY', readError: 'GPIO_FAILED', hangs: 'GPIO_TIMEOUT', noInterrupts: 'pgood' }[does];
}
