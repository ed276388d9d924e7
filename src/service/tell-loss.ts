import { faultError } from '../run/outcome.ts';
import { powerSeen } from '../sequence/state.ts';
import type { UnitManager } from '../system/ports.ts';
import { believedOn, routeFailure } from '../units/route.ts';
import { persist } from './persist.ts';
import type { Loss } from './resident.ts';
import { type EventLogOptions, failureEntry, tellEventLog } from './tell-event-log.ts';

export interface LossOptions extends EventLogOptions {
  /** Name of the event log's entry, for example `xyz.openbmc_project.Power.Error.Shutdown`. */
  readonly eventName: string;
  readonly units: () => Promise<UnitManager>;
  /** Nobody has asked for power since. */
  readonly isStillOff: () => boolean;
}

/**
 * Everything is off, and the evidence is in the journal: now the event log hears of the loss, and then systemd.
 * Who cannot be reached is tried again for ten minutes, and systemd no longer than until somebody asks for power: a
 * chassis that is on again must not be switched off for what it had before. Once `signal` is aborted nobody is told any
 * more, and the end of what systemd was told to do is not awaited. Never rejects for what a bus, a service or a job answers.
 */
export async function tellOfLoss({ sequence, isOfBefore }: Loss, options: LossOptions): Promise<void> {
  const { chassis, eventName, clock, log, signal, isStillOff } = options;
  const powerStillApplied = powerSeen(sequence);
  const error = faultError(chassis, sequence);

  if (powerStillApplied) log(2, error.message);

  const untilSystemdHears = (use: (units: UnitManager) => Promise<void>): Promise<void> =>
    persist(
      async () => {
        await withUnits(options, use);
        return true;
      },
      {
        clock,
        signal,
        onFailure: ({ message }, next) =>
          log(3, `chassis ${chassis}: systemd was not told of the loss: ${message}: ${next}`),
        isStillWanted() {
          if (isStillOff()) return true;
          log(
            4,
            `chassis ${chassis}: power was asked for since, so systemd is not told of the loss any more`,
          );
          return false;
        },
      },
    );

  if (isOfBefore) {
    // Systemd was told last: if it does not have the chassis for on, everybody knows.
    let isKnown = true;
    await untilSystemdHears(async (units) => {
      isKnown = !(await believedOn(units, chassis));
    });
    if (isKnown) return;
  }
  const { tried, settled } = tellEventLog(
    failureEntry(chassis, error, { wanted: 'on', name: eventName }),
    options,
  );
  // Systemd waits for one try of the event log, not for more.
  await tried;
  const routed = untilSystemdHears(async (units) => {
    for (const { unit, result } of await routeFailure(units, chassis, { powerStillApplied })) {
      log(result === 'done' ? 5 : 3, `chassis ${chassis}: ${unit} started: ${result}`);
    }
  });
  await Promise.all([settled, routed]);
}

async function withUnits(
  { units: connect, signal }: LossOptions,
  use: (units: UnitManager) => Promise<void>,
): Promise<void> {
  const units = await connect();
  // What waits for the end of a job rejects then.
  const leave = () => void units.close();
  signal.addEventListener('abort', leave);
  try {
    await use(units);
  } finally {
    signal.removeEventListener('abort', leave);
    await units.close();
  }
}
