import { faultError } from '../run/outcome.ts';
import { powerSeen } from '../sequence/state.ts';
import type { UnitManager } from '../system/ports.ts';
import { believedOn, routeFailure } from '../units/route.ts';
import { persist } from './persist.ts';
import type { Loss } from './resident.ts';
import { type EventLogOptions, failureEntry, tellEventLog } from './tell-event-log.ts';

export interface LossOptions extends EventLogOptions {
  readonly units: () => Promise<UnitManager>;
  /** No power-on was requested since. */
  readonly isStillOff: () => boolean;
}

/**
 * Reports a loss of power, when everything is off and the evidence is in the journal: first to the event log, then to
 * systemd. Both are tried again for ten minutes, systemd only until a power-on has reached the chassis again: one that is on
 * again must not be switched off for an earlier loss. Systemd is told again too where somebody's request ended the power-off
 * and systemd still has the chassis for on. Once `signal` is aborted nothing is reported any more, and jobs of systemd
 * are not waited for. Never rejects for an answer of a bus, a service or a job.
 */
export async function tellOfLoss({ sequence, isOfBefore }: Loss, options: LossOptions): Promise<void> {
  const { chassis, clock, log, logFailure, signal, isStillOff } = options;
  const powerStillApplied = powerSeen(sequence);
  const error = faultError(chassis, sequence);

  const isNews = powerStillApplied || !isOfBefore;
  if (isNews) logFailure(powerStillApplied ? 2 : 3, error);

  /** `use` resolves to whether systemd has taken it. */
  const untilSystemdTakes = (use: (units: UnitManager) => Promise<boolean>): Promise<void> =>
    persist(() => withUnits(options, use), {
      clock,
      signal,
      onFailure: ({ message }, next) =>
        log(3, `chassis ${chassis}: systemd was not told of the loss: ${message}: ${next}`),
      isStillWanted() {
        if (isStillOff()) return true;
        log(4, `chassis ${chassis}: power was asked for since, so systemd is not told of the loss any more`);
        return false;
      },
    });

  if (isOfBefore) {
    // Systemd is told last. If it does not take the chassis for on, the loss was reported everywhere.
    let isKnown = true;
    await untilSystemdTakes(async (units) => {
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
  const routed = untilSystemdTakes(async (units) => {
    const started = await routeFailure(units, chassis, { powerStillApplied });
    for (const { unit, result } of started) {
      log(result === 'done' ? 5 : 3, `chassis ${chassis}: ${unit} started: ${result}`);
    }
    // A power-on request that comes while the host is being stopped takes the place of the power-off. To systemd the stages
    // are active still, so it runs none of them and has a chassis without power for on.
    if (powerStillApplied || started.every(({ result }) => result === 'done')) return true;
    if (!(await believedOn(units, chassis))) return true;
    log(4, `chassis ${chassis}: systemd has it for on, and it has no power: telling systemd again`);
    return false;
  });
  await Promise.all([settled, routed]);
}

async function withUnits(
  { units: connect, signal }: LossOptions,
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
