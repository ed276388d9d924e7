import { CodedError } from '../../../hw/errors.ts';
import { chassisOf, loadBoard } from '../../board/load.ts';
import { openChassis } from '../../run/hardware.ts';
import { planOf } from '../../sequence/plan.ts';
import { reconcile } from '../../sequence/reconcile.ts';
import { powerSeen, railState } from '../../sequence/state.ts';
import { createSnapshotFile } from '../../store/snapshot.ts';
import type { UnitState } from '../../system/ports.ts';
import { CURRENT, LEGACY, unitsOf } from '../../units/names.ts';
import { EXIT } from '../exit.ts';
import type { Verb } from '../verb.ts';
import type { World } from '../world.ts';

/** The units that show how a power sequence went, with both sets of names. */
function sequenceUnits(chassis: number): string[] {
  return [LEGACY, CURRENT]
    .map((table) => unitsOf(table, chassis))
    .flatMap(({ startStage, waitOnStage, stopStage, waitOffStage, on, off, quiesce }) => [
      startStage,
      waitOnStage,
      stopStage,
      waitOffStage,
      on,
      off,
      quiesce,
    ]);
}

/** Prints what the lines show. Takes no lock and drives nothing, so it may run beside a sequence. */
export const status: Verb = {
  async run({ boardPath, chassis: number, runDir, json }, world) {
    const loaded = await loadBoard(boardPath);
    const chassis = chassisOf(loaded, number);
    const plan = planOf(chassis);
    const store = createSnapshotFile(runDir, number, {
      bootId: world.bootId(),
      boardHash: loaded.hash,
      plan,
      clock: world.clock,
    });
    const hardware = await openChassis(loaded.board, number, world);
    try {
      const { hint, warning } = store.load();
      const { observation, unreadable } = await hardware.observe();
      if (unreadable[0]) throw unreadable[0].error;
      const { state, sequence } = reconcile(plan, observation, hint, world.clock.nowMs());
      const { states: units, unavailable } = await unitStates(number, world);
      if (json) {
        const rails = Object.fromEntries(
          plan.rails.map(({ name }) => [
            name,
            { ...observation.rails[name], phase: railState(sequence, name).phase },
          ]),
        );
        world.stdout.write(
          `${JSON.stringify({
            chassis: number,
            state,
            pgood: observation.pgood,
            powerStillApplied: state === 'failed' && powerSeen(sequence),
            fault: sequence.fault,
            contradictions: sequence.contradictions,
            rails,
            resetsAsserted: observation.resetsAsserted,
            units,
            warning,
          })}\n`,
        );
        return EXIT.ok;
      }
      const lines = [`chassis ${number}  ${state}  pgood ${observation.pgood ? 'asserted' : 'not asserted'}`];
      if (sequence.fault) lines.push(`  fault: ${sequence.fault.reason}`);
      if (state === 'failed' && powerSeen(sequence)) lines.push('  POWER IS STILL APPLIED');
      for (const contradiction of sequence.contradictions) lines.push(`  contradiction: ${contradiction}`);
      const width = Math.max(...plan.rails.map(({ name }) => name.length));
      for (const { name, observable } of plan.rails) {
        const seen = observation.rails[name];
        const good = !observable ? 'no signal' : seen?.good ? 'good' : 'not good';
        lines.push(`  rail ${name.padEnd(width)}  ${seen?.enabled ? 'enabled ' : 'disabled'}  ${good}`);
      }
      for (const [reset, asserted] of Object.entries(observation.resetsAsserted)) {
        lines.push(`  reset ${reset}  ${asserted ? 'asserted' : 'released'}`);
      }
      for (const { unit, activeState, subState } of units ?? [])
        lines.push(`  ${unit}  ${activeState} (${subState})`);
      if (unavailable !== null) lines.push(`  units: ${unavailable}`);
      if (warning !== null) lines.push(`  ${warning}`);
      world.stdout.write(`${lines.join('\n')}\n`);
      return EXIT.ok;
    } finally {
      await hardware.close();
    }
  },
};

/** Without systemd the chassis can still be shown, so its absence is a line of the output and no error. */
async function unitStates(
  chassis: number,
  world: World,
): Promise<{ states: UnitState[] | null; unavailable: string | null }> {
  try {
    const manager = await world.units();
    try {
      const states = await manager.unitStates(sequenceUnits(chassis));
      const known = states.filter(({ isKnown }) => isKnown);
      return { states: known, unavailable: known.length === 0 ? 'none of a chassis is installed' : null };
    } finally {
      await manager.close();
    }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    return { states: null, unavailable: error.message };
  }
}
