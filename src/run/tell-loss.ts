import { CodedError } from '../../hw/errors.ts';
import type { Clock, EventLog, UnitManager } from '../../hw/ports.ts';
import { powerSeen } from '../sequence/state.ts';
import { pause } from './pause.ts';
import type { Loss } from './resident.ts';
import { believedOn, routeFailure } from './route.ts';

export interface LossOptions {
  readonly chassis: number;
  /** Name of the event log's entry, for example `xyz.openbmc_project.Power.Error.Shutdown`. */
  readonly eventName: string;
  readonly units: () => Promise<UnitManager>;
  readonly eventLog: () => Promise<EventLog>;
  readonly clock: Clock;
  /** @param severity as syslog counts it (RFC 5424, table 2) */
  readonly log: (severity: number, text: string) => void;
  /** Aborted, nobody is told any more, and the end of what systemd was told to do is not awaited. */
  readonly signal: AbortSignal;
  /** Nobody has asked for power since. */
  readonly isStillOff: () => boolean;
}

/** A bus or a systemd that is back within this time hears of the loss. Far above a restart of either. */
const TELL_FOR_MS = 600_000;
/** A bus that was only restarted is back by then. */
const FIRST_RETRY_MS = 500;
/** Somewhat arbitrary: each further wait is twice as long, up to this. */
const LAST_RETRY_MS = 15_000;

/**
 * Everything is off, and the evidence is in the journal: now the event log hears of the loss, and then systemd.
 * Who cannot be reached is tried again, for ten minutes or until somebody asks for power: a chassis that is on again
 * must not be switched off for what it had before. Never rejects for what a bus, a service or a job answers.
 */
export async function tellOfLoss({ sequence, isOfBefore }: Loss, options: LossOptions): Promise<void> {
  const { chassis, clock, log, signal, isStillOff } = options;
  const powerStillApplied = powerSeen(sequence);

  /** Does `work` until it succeeds once or is given up. */
  const persist = async (whom: string, work: () => Promise<void>): Promise<void> => {
    const deadlineMs = clock.nowMs() + TELL_FOR_MS;
    let retryMs = FIRST_RETRY_MS;
    for (let tries = 1; ; tries += 1) {
      try {
        await work();
        return;
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        if (signal.aborted) return;
        const isLast = clock.nowMs() >= deadlineMs;
        const next = isLast ? 'given up' : `trying again for ${TELL_FOR_MS / 60_000} minutes`;
        if (tries === 1 || isLast) {
          log(3, `chassis ${chassis}: ${whom} was not told of the loss: ${error.message}: ${next}`);
        }
        if (isLast) return;
      }
      await pause(clock, retryMs, signal);
      if (signal.aborted) return;
      if (!isStillOff()) {
        log(4, `chassis ${chassis}: power was asked for since, so ${whom} is not told of the loss any more`);
        return;
      }
      retryMs = Math.min(2 * retryMs, LAST_RETRY_MS);
    }
  };

  const withUnits = async (use: (units: UnitManager) => Promise<void>): Promise<void> => {
    const units = await options.units();
    // What waits for the end of a job rejects then.
    const leave = () => void units.close();
    signal.addEventListener('abort', leave);
    try {
      await use(units);
    } finally {
      signal.removeEventListener('abort', leave);
      await units.close();
    }
  };

  const tellEventLog = async () => {
    const eventLog = await options.eventLog();
    await eventLog.create({
      name: options.eventName,
      severity: 'Critical',
      data: {
        CHASSIS_NUMBER: String(chassis),
        REASON: sequence.fault?.reason ?? 'unknown',
        POWER_STILL_APPLIED: String(powerStillApplied),
        SEVERITY_DETAIL: 'SYSTEM_TERM',
        _PID: String(process.pid),
      },
    });
  };

  const tellSystemd = () =>
    withUnits(async (units) => {
      for (const { unit, result } of await routeFailure(units, chassis, { powerStillApplied })) {
        log(result === 'done' ? 5 : 3, `chassis ${chassis}: ${unit} started: ${result}`);
      }
    });

  if (isOfBefore) {
    // Systemd was told last: if it does not have the chassis for on, everybody knows.
    let isKnown = true;
    await persist('systemd', () =>
      withUnits(async (units) => {
        isKnown = !(await believedOn(units, chassis));
      }),
    );
    if (isKnown) return;
  }
  // Systemd waits for one try of the event log, not for more.
  let tried: () => void = () => undefined;
  const triedOnce = new Promise<void>((resolve) => {
    tried = resolve;
  });
  const logged = persist('the event log', () => tellEventLog().finally(tried));
  await triedOnce;
  await Promise.all([logged, persist('systemd', tellSystemd)]);
}
