import { PowerError, type PowerErrorCode } from '../errors.ts';
import { faultText } from '../sequence/causes.ts';
import type { EnableDoubt, Fault, FaultKind, SequenceState } from '../sequence/state.ts';
import type { Job } from './jobs.ts';
import type { RunResult } from './runner.ts';

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
 * the fault, `powerStillApplied` and `stillOn` in its details, or REQUEST_REJECTED with the reason.
 * @param asked what the job is called by whoever asked for it
 */
export function expectDone(chassis: number, asked: string, job: Job, result: RunResult): void {
  const { state, sequence, answer, isFaultOfThisRun } = result;
  if (answer?.outcome === 'rejected') {
    throw new PowerError('REQUEST_REJECTED', `chassis ${chassis}: ${asked} rejected: ${answer.reason}`, {
      chassis,
      state,
    });
  }
  if (job.until.includes(state)) return;
  // Power is off as asked; that an earlier power-on failed is no failure of this request. One that failed itself has
  // not seen all that it must see to say so.
  const isDown = state === 'failed' && stillOn(sequence).length === 0;
  if (isDown && job.until.includes('off') && !isFaultOfThisRun) return;
  if (state === 'failed') throw faultError(chassis, sequence);
  throw new PowerError(
    'REQUEST_REJECTED',
    `chassis ${chassis}: ${asked} has nothing to wait for: the chassis is ${state}, ask for ${job.until.includes('pgood') ? 'start' : 'stop'} first`,
    { chassis, state },
  );
}

/** Something that carries power, or may: nothing could be read that says otherwise. */
interface StillOn {
  /** Null for pgood. */
  readonly rail: string | null;
  /** `good` and `enabled` were read; the others say why the safe thing is assumed. */
  readonly because: 'good' | 'enabled' | EnableDoubt;
}

function stillOn({ rails, pgood }: SequenceState): StillOn[] {
  const found: StillOn[] = [];
  for (const [rail, { watched, enabled, enableDoubt, good, goodUnread }] of Object.entries(rails)) {
    if (watched === 'supply') continue;
    if (good && !goodUnread) found.push({ rail, because: 'good' });
    else if (enabled && watched === undefined) found.push({ rail, because: enableDoubt ?? 'enabled' });
    else if (good) found.push({ rail, because: 'unread' });
  }
  if (pgood.level) found.push({ rail: null, because: pgood.unread ? 'unread' : 'good' });
  return found;
}

const BECAUSE: Readonly<Record<StillOn['because'], string>> = {
  good: 'is good',
  enabled: 'is enabled',
  unread: 'could not be read and is taken to be on',
  undriven: 'could not be switched off and is taken to be on',
};

/** For people. */
function stillOnText({ rail, because }: StillOn): string {
  if (rail !== null) return `rail ${rail} ${BECAUSE[because]}`;
  return because === 'good' ? 'pgood stands' : 'pgood could not be read and is taken to stand';
}

/** The fault that a chassis came to rest with in `failed`, as an error. */
export function faultError(chassis: number, sequence: SequenceState): PowerError {
  const applied = stillOn(sequence);
  const fault: Fault | null = sequence.fault;
  const end =
    applied.length === 0
      ? 'the power was taken down'
      : `POWER IS STILL APPLIED (${applied.map(stillOnText).join(', ')}): disconnect the input power before touching the board`;
  const details = { chassis, powerStillApplied: applied.length > 0, stillOn: applied };
  if (fault === null) {
    const message = `chassis ${chassis}: an earlier power sequence failed and its cause is not known; ${end}`;
    return new PowerError('POWER_OFF_TIMEOUT', message, details);
  }
  return new PowerError(ERROR_OF[fault.kind], `chassis ${chassis}: ${faultText(fault)}; ${end}`, {
    ...details,
    fault,
  });
}
