import { isOver, railDeadline } from './deadlines.ts';
import type { EventOf } from './events.ts';
import { hangingOn, railPlan } from './plan.ts';
import type { Context } from './readings.ts';
import { railState, signalsAt } from './state.ts';

/**
 * A host that switches itself off goes to sleep first, and then its power goes. One that loses its power goes to sleep as well,
 * a moment later. So it counts only where the host was seen awake, then asleep, and all its power still good after that.
 */

/** What a look at the sleep state tells. */
export function noteSleep(context: Context, { seen, atMs }: EventOf<'HOST_SLEEP'>): Context {
  const { readings } = context;
  const { isAwake, leftMs } = readings.sleep;
  const leaves = seen === 'leaving' && isAwake && allStands(context);
  const left = leaves ? atMs : leftMs;
  const sleep = { ...readings.sleep, isAwake: seen === 'awake', leftMs: seen === 'awake' ? null : left };
  return { ...context, readings: { ...readings, sleep } };
}

/** Nothing is known to be gone but what the sleep itself shows. */
function allStands(context: Context): boolean {
  const { sleep } = context.plan;
  return signalsAt(context, false).every((source) => sleep?.isItsSignal === true && source === sleep.rail);
}

/**
 * The host has switched itself off: it went to sleep while its power stood, and within offTimeoutMs of its rail pgood went, or the rail,
 * or one that needs it, and nothing that it does not take with it.
 */
export function hasHostLeft(context: Context): boolean {
  const { plan, readings, pgood } = context;
  const { leftMs } = readings.sleep;
  if (plan.sleep === null || leftMs === null) return false;
  const { rail, isItsSignal } = plan.sleep;
  const untilMs = leftMs + railPlan(plan, rail).offTimeoutMs;
  const gone = plan.rails.filter(({ name }) => !railState(context, name).good);
  const taken = hangingOn(plan, rail);
  if (gone.some(({ name }) => !taken.has(name))) return false;
  const isGone = gone.some((each) => {
    if (isItsSignal && each.name === rail) return false;
    const deadline = railDeadline(plan, each, context);
    const isLost = deadline?.what === 'railIsLost' && isOver(deadline, context.nowMs, readings);
    return isLost && railState(context, each.name).sinceMs <= untilMs;
  });
  return isGone || (!pgood.good && pgood.sinceMs <= untilMs);
}
