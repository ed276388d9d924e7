import { errorText } from '../../../hw/errors.ts';
import { pause } from '../../../hw/waiting.ts';
import { chassisOf, loadBoard } from '../../board/load.ts';
import { PowerError } from '../../errors.ts';
import { type FoundChassis, findChassis } from '../../run/found.ts';
import { openChassis } from '../../run/hardware.ts';
import { mayPass, READ_AGAIN_MS, READINGS } from '../../run/observe.ts';
import { planOf } from '../../sequence/plan.ts';
import { type Observation, powerSeen, type SequenceState } from '../../sequence/state.ts';
import { lockChassis } from '../../store/lock.ts';
import { clearOnMarker, setOnMarker } from '../../store/on-marker.ts';
import { createSnapshotFile } from '../../store/snapshot.ts';
import { isDbusError } from '../../system/errors.ts';
import { WARNING, writeLine } from '../../system/severity.ts';
import { LEGACY, unitsOf } from '../../units/names.ts';
import { EXIT } from '../exit.ts';
import type { Invocation, Verb } from '../verb.ts';
import type { World } from '../world.ts';

/**
 * `adopt` does not wait for a power sequence of another process: that process informs systemd itself. But the service, which starts
 * with the BMC as well, locks a chassis that it finds on while it writes that down. It reads all lines for that, of which one that
 * hangs costs a second.
 */
const LOCK_WAIT_MS = 5_000;

/**
 * For a BMC that restarted: reads the lines, and starts the power-on target of a chassis that is on. The stages of that
 * target find their work done. A chassis that is off, or in a sequence of another process, is left alone.
 *
 * Drives nothing. Rejects REQUEST_REJECTED where the lines contradict each other: a guess could switch off a running host.
 */
export const adopt: Verb = {
  async run(invocation, world) {
    const found = await readWhenReadable(invocation, world);
    if (found === 'under way')
      return say(invocation, world, { adopted: false, reason: 'driven by another process' });
    const { state, sequence } = found;
    const { chassis } = invocation;
    if (state === 'pgood') return takeOver(invocation, world);
    if (!powerSeen(sequence)) {
      clearOnMarker(world.openbmcRunDir, chassis);
      return say(invocation, world, {
        adopted: false,
        reason: state === 'failed' ? 'off after a failure' : 'off',
      });
    }
    // The next command finishes a sequence that a command of this boot left unfinished.
    if (found.hint !== null && state !== 'unknown' && state !== 'failed') {
      return say(invocation, world, { adopted: false, reason: `under way (${state})` });
    }
    throw new PowerError(
      'REQUEST_REJECTED',
      `chassis ${chassis} is neither on nor off after the start of the BMC: ${describe(found.observation, sequence)}; ` +
        'nothing was switched: look at the chassis, then power it off',
      { chassis, state, contradictions: sequence.contradictions, ...found.observation },
    );
  },
};

/** Reads the chassis, and again where a bus or a device does not answer. Rejects as the last reading did. */
async function readWhenReadable(invocation: Invocation, world: World): Promise<FoundChassis | 'under way'> {
  for (let left = READINGS - 1; ; left -= 1) {
    try {
      return await readChassis(invocation, world);
    } catch (error) {
      if (!mayPass(error) || left === 0 || world.signal.aborted) throw error;
      writeLine(world.stderr, WARNING, `${world.programName}: ${error.message}: reading again`);
    }
    // Unlocked: whoever drives the chassis meanwhile leaves nothing to adopt.
    await pause(world.clock, READ_AGAIN_MS, world.signal);
  }
}

async function readChassis(
  { boardPath, chassis: number, runDir }: Invocation,
  world: World,
): Promise<FoundChassis | 'under way'> {
  const loaded = await loadBoard(boardPath);
  const chassis = chassisOf(loaded, number);
  const plan = planOf(chassis, loaded.board.devices);
  const lock = await lockChassis(runDir, number, 'adopt', {
    clock: world.clock,
    flock: world.flock,
    waitMs: LOCK_WAIT_MS,
    signal: world.signal,
    onWait: () => undefined,
  }).catch((error: unknown) => {
    if (error instanceof PowerError && error.code === 'CHASSIS_LOCKED') return null;
    throw error;
  });
  if (lock === null) return 'under way';
  try {
    const hardware = await openChassis(loaded.board, number, world);
    try {
      const store = createSnapshotFile(runDir, number, {
        bootId: world.bootId(),
        boardHash: loaded.hash,
        plan,
        clock: world.clock,
      });
      return await findChassis({ plan, hardware }, store, world.clock);
    } finally {
      await hardware.close();
    }
  } finally {
    lock.release();
  }
}

async function takeOver(invocation: Invocation, world: World): Promise<number> {
  const { chassis } = invocation;
  const { on } = unitsOf(LEGACY, chassis);
  try {
    setOnMarker(world.openbmcRunDir, chassis);
  } catch (error) {
    world.stderr.write(`${world.programName}: no marker for other units: ${errorText(error)}\n`);
  }
  const units = await world.units();
  try {
    const result = await units.startUnit(on, 'fail');
    if (result === 'done') return say(invocation, world, { adopted: true, reason: `on: ${on} is active` });
    // A request that came meanwhile takes precedence.
    if (result === 'canceled')
      return say(invocation, world, { adopted: false, reason: 'on, and asked for otherwise' });
    throw new PowerError(
      'SYSTEMD_NOT_TOLD',
      `chassis ${chassis} is on, but ${on} ended "${result}": see systemctl status ${on}`,
      { chassis, unit: on, result },
    );
  } catch (error) {
    if (!isDbusError(error, 'org.freedesktop.systemd1.TransactionIsDestructive')) throw error;
    return say(invocation, world, { adopted: false, reason: 'on, and a power-off is queued' });
  } finally {
    await units.close();
  }
}

function describe(
  { rails, pgood, resetsAsserted }: Observation,
  { rails: taken, contradictions }: SequenceState,
): string {
  const switched = Object.keys(rails).filter((rail) => taken[rail]?.watched === undefined);
  const enabled = switched.filter((rail) => rails[rail]?.enabled);
  const held = Object.keys(resetsAsserted).filter((reset) => resetsAsserted[reset]);
  return [
    `pgood ${pgood ? 'stands' : 'does not stand'}`,
    `${enabled.length} of ${switched.length} rails are enabled${enabled.length > 0 ? ` (${enabled.join(', ')})` : ''}`,
    ...(held.length > 0 ? [`${held.join(', ')} held`] : []),
    ...contradictions,
  ].join(', ');
}

function say(
  { chassis, json }: Invocation,
  world: World,
  result: { readonly adopted: boolean; readonly reason: string },
): number {
  world.stdout.write(
    json ? `${JSON.stringify({ chassis, ...result })}\n` : `chassis ${chassis} is ${result.reason}\n`,
  );
  return EXIT.ok;
}
