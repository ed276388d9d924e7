import { faultError } from '../run/outcome.ts';
import { powerSeen } from '../sequence/state.ts';
import type { UnitManager } from '../system/ports.ts';
import { believedOn, type Routed, routeFailure, routeOff } from '../units/route.ts';
import { persist } from './persist.ts';
import type { Loss } from './resident.ts';
import { type EventLogOptions, failureEntry, tellEventLog } from './tell-event-log.ts';

export interface OffOptions extends Pick<EventLogOptions, 'chassis' | 'clock' | 'log' | 'signal'> {
  readonly units: () => Promise<UnitManager>;
  /** No power-on was requested since. */
  readonly isStillOff: () => boolean;
}
export type LossOptions = OffOptions & EventLogOptions;

/**
 * Tells systemd that the host has switched itself off, which is no failure: the power-off target alone. As often and as long as of
 * a loss (`tellOfLoss`). Never rejects for an answer of a bus or a job.
 */
export function tellOfHostOff(options: OffOptions): Promise<void> {
  return routeUntilTaken(options, 'that the host is off', (units) => routeOff(units, options.chassis));
}

/**
 * Reports a loss of power, when everything is off and the evidence is in the journal: first to the event log, then to
 * systemd. Both are tried again for ten minutes, systemd only until a power-on has reached the chassis again: one that is on
 * again must not be switched off for an earlier loss. Systemd is told again too where somebody's request ended the power-off
 * and systemd still has the chassis for on. Once `signal` is aborted nothing is reported any more, and jobs of systemd
 * are not waited for. Never rejects for an answer of a bus, a service or a job.
 */
export async function tellOfLoss({ sequence, isOfBefore }: Loss, options: LossOptions): Promise<void> {
  const { chassis, logFailure } = options;
  const powerStillApplied = powerSeen(sequence);
  const error = faultError(chassis, sequence);

  const isNews = powerStillApplied || !isOfBefore;
  if (isNews) logFailure(powerStillApplied ? 2 : 3, error);

  if (isOfBefore) {
    // Systemd is told last. If it does not take the chassis for on, the loss was reported everywhere.
    let isKnown = true;
    await untilSystemdTakes(options, OF_LOSS, async (units) => {
      isKnown = !(await believedOn(units, chassis));
      return true;
    });
    if (isKnown) return;
    if (!isNews) logFailure(3, error);
  }
  const { tried, settled } = tellEventLog(
    failureEntry(chassis, error, {
      wanted: 'on',
      isLoss: true,
      supplyError: options.supplyError(),
      data: options.dataOf(error),
    }),
    options,
  );
  // One try of the event log comes before systemd, and no more.
  await tried;
  const route = (units: UnitManager) => routeFailure(units, chassis, { powerStillApplied });
  // Power that could not be taken down is off for nobody, whatever systemd has it for.
  const routed = powerStillApplied
    ? untilSystemdTakes(options, OF_LOSS, async (units) => {
        tellStarted(options, await route(units));
        return true;
      })
    : routeUntilTaken(options, OF_LOSS, route);
  await Promise.all([settled, routed]);
}

/** What systemd is told of. */
const OF_LOSS = 'of the loss';

/** @param use resolves to whether systemd has taken it */
function untilSystemdTakes(
  options: OffOptions,
  what: string,
  use: (units: UnitManager) => Promise<boolean>,
): Promise<void> {
  const { chassis, clock, signal, log, isStillOff } = options;
  return persist(() => withUnits(options, use), {
    clock,
    signal,
    onFailure: ({ message }, next) =>
      log(3, `chassis ${chassis}: systemd was not told ${what}: ${message}: ${next}`),
    isStillWanted() {
      if (isStillOff()) return true;
      log(4, `chassis ${chassis}: power was asked for since, so systemd is not told ${what} any more`);
      return false;
    },
  });
}

/**
 * A power-on request that comes while the host is being stopped takes the place of the power-off. To systemd the stages are
 * active still, so it runs none of them and has a chassis without power for on: it is told again.
 */
function routeUntilTaken(
  options: OffOptions,
  what: string,
  route: (units: UnitManager) => Promise<Routed[]>,
): Promise<void> {
  const { chassis, log } = options;
  return untilSystemdTakes(options, what, async (units) => {
    const started = await route(units);
    tellStarted(options, started);
    if (started.every(({ result }) => result === 'done')) return true;
    if (!(await believedOn(units, chassis))) return true;
    log(4, `chassis ${chassis}: systemd has it for on, and it has no power: telling systemd again`);
    return false;
  });
}

function tellStarted({ chassis, log }: OffOptions, started: readonly Routed[]): void {
  for (const { unit, result } of started) {
    log(result === 'done' ? 5 : 3, `chassis ${chassis}: ${unit} started: ${result}`);
  }
}

async function withUnits(
  { units: connect, signal }: OffOptions,
  use: (units: UnitManager) => Promise<boolean>,
): Promise<boolean> {
  const units = await connect();
  // Closing rejects a wait for the end of a job.
  const leave = () => void units.close();
  // One of its own for each chassis that is lost: Node would tell the eleventh that listens to the same one for a leak.
  const ends = AbortSignal.any([signal]);
  ends.addEventListener('abort', leave);
  try {
    return await use(units);
  } finally {
    ends.removeEventListener('abort', leave);
    await units.close();
  }
}
