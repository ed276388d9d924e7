import { writeFileSync } from 'node:fs';
import { errorText } from '../../../hw/errors.ts';
import { chassisOf, loadBoard } from '../../board/load.ts';
import { PowerError, type PowerErrorCode } from '../../errors.ts';
import { openChassis } from '../../run/hardware.ts';
import { JOBS } from '../../run/jobs.ts';
import { lockChassis } from '../../run/lock.ts';
import type { Recorded, Recorder } from '../../run/record.ts';
import { type Job, type RunResult, runSequence } from '../../run/runner.ts';
import { createSnapshotFile } from '../../run/snapshot.ts';
import { type Plan, planOf } from '../../sequence/plan.ts';
import type { Fault, FaultKind, SequenceState } from '../../sequence/state.ts';
import { EXIT } from '../exit.ts';
import type { Invocation, Verb } from '../main.ts';
import { jsonReporter, lineReporter } from '../report.ts';
import type { World } from '../world.ts';

/** What each verb asks for, one after the other. */
const JOBS_OF: Readonly<Record<string, readonly Job[]>> = {
  start: [JOBS.start],
  'wait-on': [JOBS.waitOn],
  stop: [JOBS.stop],
  'wait-off': [JOBS.waitOff],
  on: [JOBS.on],
  off: [JOBS.off],
  cycle: [JOBS.off, JOBS.on],
  clear: [JOBS.clear],
};

/** Verbs that do what they can with a chassis of which a part is out of reach. */
const POWERS_OFF = ['stop', 'off'];
/** Verbs that show the whole sequence to somebody who looks on. */
const WATCHED = ['on', 'off', 'cycle'];

const ERROR_OF: Readonly<Record<FaultKind, PowerErrorCode>> = {
  railTimeout: 'RAIL_FAULT',
  railLost: 'RAIL_FAULT',
  railStray: 'RAIL_FAULT',
  pgoodTimeout: 'PGOOD_TIMEOUT',
  pgoodLost: 'PGOOD_LOST',
  powerOffTimeout: 'POWER_OFF_TIMEOUT',
  hardware: 'HARDWARE_FAULT',
};

/** All verbs that may drive a line: they lock the chassis, open its lines, run their jobs, and say how it went. */
export const power: Verb = {
  options: ['svg'],
  operands: [0, 0],
  async run(invocation, world) {
    const { verb, chassis: number, runDir } = invocation;
    const loaded = loadBoard(invocation.boardPath);
    const chassis = chassisOf(loaded, number);
    const plan = planOf(chassis);
    const lock = lockChassis(runDir, number, verb);
    try {
      const hardware = await openChassis(loaded.board, chassis, world, {
        whatCanBeHad: POWERS_OFF.includes(verb),
      });
      try {
        const recording: Recorded[] = [];
        const report = await reporterFor(invocation, plan, world);
        const options = {
          plan,
          hardware,
          clock: world.clock,
          store: createSnapshotFile(runDir, number, { bootId: world.bootId(), boardHash: loaded.hash, plan }),
          record: (entry: Recorded) => {
            recording.push(entry);
            report(entry);
          },
          signal: world.signal,
        };
        try {
          for (const job of JOBS_OF[verb] ?? []) settleUp(invocation, job, await runSequence(job, options));
        } finally {
          await writeSvg(invocation, plan, recording, world);
        }
        return EXIT.ok;
      } finally {
        await hardware.close();
      }
    } finally {
      lock.release();
    }
  },
};

async function reporterFor({ verb, json, chassis }: Invocation, plan: Plan, world: World): Promise<Recorder> {
  if (json) return jsonReporter(world.stdout);
  if (WATCHED.includes(verb) && world.stdout.columns !== null) {
    return (await import('../live.ts')).liveReporter(world.stdout, plan);
  }
  return lineReporter(world.stdout, chassis);
}

/** @throws PowerError when the job did not end where it should */
function settleUp({ verb, chassis }: Invocation, job: Job, { state, sequence, answer }: RunResult): void {
  if (answer?.outcome === 'rejected') {
    throw new PowerError('REQUEST_REJECTED', `chassis ${chassis}: ${verb} rejected: ${answer.reason}`, {
      chassis,
      state,
    });
  }
  if (job.until.includes(state)) return;
  const applied = stillOn(sequence);
  // Power is off as asked; that an earlier power-on failed is no failure of this request.
  if (state === 'failed' && job.until.includes('off') && applied.length === 0) return;
  if (state === 'failed') throw faultError(chassis, sequence.fault, applied);
  throw new PowerError(
    'REQUEST_REJECTED',
    `chassis ${chassis}: ${verb} has nothing to wait for: the chassis is ${state}, ask for ${job.until.includes('pgood') ? 'start' : 'stop'} first`,
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

function faultError(chassis: number, fault: Fault | null, applied: readonly string[]): PowerError {
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

async function writeSvg(
  invocation: Invocation,
  plan: Plan,
  recording: readonly Recorded[],
  world: World,
): Promise<void> {
  const path = invocation.option('svg');
  if (path === undefined) return;
  const { renderSvg } = await import('../../trace/svg.ts');
  try {
    writeFileSync(path, renderSvg(recording, plan, `chassis ${invocation.chassis}: ${invocation.verb}`));
  } catch (error) {
    // The power sequence is done and its result is what the caller must hear.
    world.stderr.write(
      `${world.programName}: no timing diagram: cannot write ${path} (${errorText(error)})\n`,
    );
    return;
  }
  if (!invocation.json) world.stdout.write(`timing diagram: ${path}\n`);
}
