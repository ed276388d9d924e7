import { PowerError, type PowerErrorCode } from '../errors.ts';
import type { Fault, FaultKind, SequenceState } from '../sequence/state.ts';
import type { Job, RunResult } from './runner.ts';

const ERROR_OF: Readonly<Record<FaultKind, PowerErrorCode>> = {
  railTimeout: 'RAIL_FAULT',
  railLost: 'RAIL_FAULT',
  railStray: 'RAIL_FAULT',
  pgoodTimeout: 'PGOOD_TIMEOUT',
  pgoodLost: 'PGOOD_LOST',
  powerOffTimeout: 'POWER_OFF_TIMEOUT',
  hardware: 'HARDWARE_FAULT',
};

/**
 * Returns when a job ended where it should, and throws what went wrong otherwise: PowerError with the code of
 * the fault and `powerStillApplied` in its details, or REQUEST_REJECTED with the reason.
 * @param asked what the job is called by whoever asked for it
 */
export function expectDone(chassis: number, asked: string, job: Job, result: RunResult): void {
  const { state, sequence, answer } = result;
  if (answer?.outcome === 'rejected') {
    throw new PowerError('REQUEST_REJECTED', `chassis ${chassis}: ${asked} rejected: ${answer.reason}`, {
      chassis,
      state,
    });
  }
  if (job.until.includes(state)) return;
  // Power is off as asked; that an earlier power-on failed is no failure of this request.
  if (state === 'failed' && job.until.includes('off') && stillOn(sequence).length === 0) return;
  if (state === 'failed') throw faultError(chassis, sequence);
  throw new PowerError(
    'REQUEST_REJECTED',
    `chassis ${chassis}: ${asked} has nothing to wait for: the chassis is ${state}, ask for ${job.until.includes('pgood') ? 'start' : 'stop'} first`,
    { chassis, state },
  );
}

/** What still carries power, for people. */
function stillOn({ rails, pgood }: SequenceState): string[] {
  return [
    ...Object.entries(rails).flatMap(([rail, { enabled, good }]) =>
      enabled || good ? [`rail ${rail} ${good ? 'is good' : 'is enabled'}`] : [],
    ),
    ...(pgood.level ? ['pgood stands'] : []),
  ];
}

/** The fault that a chassis came to rest with in `failed`, as an error. */
export function faultError(chassis: number, sequence: SequenceState): PowerError {
  const applied = stillOn(sequence);
  const fault: Fault | null = sequence.fault;
  const end =
    applied.length === 0
      ? 'the power was taken down'
      : `POWER IS STILL APPLIED (${applied.join(', ')}): disconnect the input power before touching the board`;
  const details = { chassis, powerStillApplied: applied.length > 0 };
  if (fault === null) {
    const message = `chassis ${chassis}: an earlier power sequence failed and its cause is not known; ${end}`;
    return new PowerError('POWER_OFF_TIMEOUT', message, details);
  }
  return new PowerError(ERROR_OF[fault.kind], `chassis ${chassis}: ${fault.reason}; ${end}`, {
    ...details,
    fault,
  });
}
