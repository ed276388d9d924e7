import { CodedError, type HardwareError } from '../../../hw/errors.ts';
import { lineLabel } from '../../../hw/lines.ts';
import { sensorLabel } from '../../../hw/sensor-labels.ts';
import { isLine } from '../../board/lines.ts';
import { chassisOf, loadBoard } from '../../board/load.ts';
import { sourcesOf } from '../../board/pgood-sources.ts';
import type { PropertyPart } from '../../board/property.ts';
import type { ChassisBoard, EnableBoard, GoodBoard, RailBoard } from '../../board/schema.ts';
import { isSensor, sensorRef } from '../../board/sensor-ref.ts';
import { type ChassisReport, chassisText, measured, type RailReport } from '../../report/chassis-text.ts';
import { lastFailureText, withoutTrace } from '../../report/run-text.ts';
import type { Evidence } from '../../run/evidence.ts';
import { evidenceOf } from '../../run/evidence-of.ts';
import { type ChassisHardware, openChassis } from '../../run/hardware.ts';
import { decisive } from '../../run/observe.ts';
import type { HardwarePorts } from '../../run/parts.ts';
import { presentToPowerOn } from '../../run/presence.ts';
import { type Plan, planOf } from '../../sequence/plan.ts';
import { reconcile } from '../../sequence/reconcile.ts';
import { type Observation, powerSeen, railState, type SignalRef } from '../../sequence/state.ts';
import { createSnapshotFile, type SnapshotStore } from '../../store/snapshot.ts';
import type { UnitState } from '../../system/ports.ts';
import { CURRENT, LEGACY, unitsOf } from '../../units/names.ts';
import { EXIT } from '../exit.ts';
import { boxOf } from '../kept-runs.ts';
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

/**
 * Prints all that can be seen of a chassis. Takes no lock and drives nothing, so it may run beside a sequence.
 *
 * A part that cannot be had or read is an entry like the others; the error of the first one is thrown when all is printed.
 */
export const status: Verb = {
  async run({ boardPath, chassis: number, runDir, json }, world) {
    const loaded = await loadBoard(boardPath);
    const chassis = chassisOf(loaded, number);
    const plan = planOf(chassis, loaded.board.devices);
    const store = createSnapshotFile(runDir, number, {
      bootId: world.bootId(),
      boardHash: loaded.hash,
      plan,
      clock: world.clock,
    });
    const hardware = await openChassis(loaded.board, number, portsOf(world), { whatCanBeHad: true });
    try {
      const seen = await readReport(number, chassis, { plan, hardware }, store, world);
      const lastFailure = await (await boxOf({ chassis: number, runDir }, world)).lastFailure();
      world.stdout.write(
        json
          ? `${JSON.stringify({ ...seen.report, lastFailure: lastFailure && withoutTrace(lastFailure) })}\n`
          : chassisText(seen.report) +
              (lastFailure === null ? '' : lastFailureText(lastFailure, world.bootId())),
      );
      if (seen.error !== null) throw seen.error;
      return EXIT.ok;
    } finally {
      await hardware.close();
    }
  },
};

function portsOf({ clock, looks, i2c, sensors, properties }: World): HardwarePorts {
  return { clock, gpio: looks, i2c, sensors, properties };
}

async function readReport(
  number: number,
  chassis: ChassisBoard,
  whole: { readonly plan: Plan; readonly hardware: ChassisHardware },
  store: SnapshotStore,
  world: World,
): Promise<{ readonly report: ChassisReport; readonly error: HardwareError | null }> {
  const { hint, warning } = store.load();
  const present = await presentToPowerOn(whole, hint);
  const { plan, hardware } = present;
  const { observation, unreadable, pgoodSources } = await hardware.observe();
  const { state, sequence } = reconcile(plan, observation, hint, world.clock.nowMs());
  const devices = await hardware.telemetry();
  const { states: units, unavailable: noUnits } = await unitStates(number, world);
  const orNull = (signal: SignalRef['signal'], rail: string | null, level: boolean | undefined) =>
    unreadable.some((each) => each.signal === signal && each.rail === rail) ? null : (level ?? false);
  const rails = Object.entries(chassis.rails).map(([name, rail]): [string, RailReport] => {
    const read = observation.rails[name];
    if (read === undefined) return [name, absentRail(rail)];
    const isObservable = rail.good !== undefined || (rail.enable !== undefined && 'pulse' in rail.enable);
    const { phase, watched = null, missed = null } = railState(sequence, name);
    const enabled = watched === null ? orNull('enable', name, read?.enabled) : null;
    return [
      name,
      {
        absent: false,
        enabled,
        good: isObservable ? orNull('good', name, read?.good) : enabled,
        // Nobody waits for a supply of a chassis that is off, which says nothing of the supply.
        phase: watched === 'supply' && phase === 'down' && read?.good ? 'up' : phase,
        watched,
        isObservable,
        logOnly: rail.logOnly !== undefined,
        missed,
        enabledBy: rail.enable ? nameOf(rail.enable) : null,
        shownBy: shownBy(rail),
        ...voltageOf(name, rail, devices),
      },
    ];
  });
  const pgoodNames = new Map(
    sourcesOf(chassis.pgood).map(({ source, role }) => [role, 'rails' in source ? 'rails' : nameOf(source)]),
  );
  const [first] = decisive(plan, unreadable);
  const isRead = first === undefined;
  const resetsUnread = unreadable.map(({ signal, error }) => signal === 'reset' && error.details.role);
  const resets = Object.entries(observation.resetsAsserted).map(([name, asserted]) => [
    name,
    resetsUnread.includes(`reset ${name}`) ? null : asserted,
  ]);
  const report: ChassisReport = {
    chassis: number,
    // What is assumed of a signal that could not be read is meant for a power-off, and must not be told for true.
    state: isRead ? state : 'unknown',
    stage: hint?.state ?? null,
    pgood: orNull('pgood', null, observation.pgood),
    pgoodSources: pgoodSources.map((seen) => ({ ...seen, shownBy: pgoodNames.get(seen.role) ?? seen.role })),
    powerStillApplied: state === 'failed' && powerSeen(sequence),
    fault: (isRead ? sequence.fault : hint?.sequence.fault) ?? null,
    contradictions: isRead ? sequence.contradictions : [],
    rails: Object.fromEntries(rails),
    resetsAsserted: Object.fromEntries(resets),
    resetsHeldUntil: isRead && state === 'pgood' ? heldUntil(chassis, observation) : {},
    devices,
    unread: [
      ...unreadable.map(({ reason, error }) => ({ reason, code: error.code })),
      ...(present.error ? [{ reason: present.error.message, code: present.error.code }] : []),
    ],
    units,
    noUnits,
    warning,
  };
  return { report, error: first?.error ?? present.error };
}

/** What the resets wait for that stayed asserted when the chassis came on. */
function heldUntil({ resets }: ChassisBoard, { resetsAsserted }: Observation): Record<string, string> {
  const held = Object.entries(resets).flatMap(([name, { heldUntil: of }]) =>
    of !== undefined && resetsAsserted[name] ? [[name, of.signal] as const] : [],
  );
  return Object.fromEntries(held);
}

/** Nothing was asked of it. */
function absentRail({ good, enable, logOnly }: RailBoard): RailReport {
  return {
    absent: true,
    enabled: null,
    good: null,
    phase: 'down',
    watched: null,
    isObservable: good !== undefined,
    logOnly: logOnly !== undefined,
    missed: null,
    enabledBy: enable ? nameOf(enable) : null,
    shownBy: good ? nameOf(good) : null,
    voutVolts: null,
    limits: [],
  };
}

function nameOf(part: EnableBoard | GoodBoard | PropertyPart): string {
  if ('dbus' in part) return `${part.property} of ${part.dbus}`;
  if ('pulse' in part) return `power button ${lineLabel(part.pulse)}`;
  if (isSensor(part)) return sensorLabel(sensorRef(part));
  return 'pmbus' in part ? `${part.pmbus} page ${part.page}` : lineLabel(part);
}

/** What says whether the rail is good; null where nothing does but its enable. */
function shownBy({ good, enable }: RailBoard): string | null {
  if (good !== undefined) return nameOf(good);
  if (enable === undefined || !('pulse' in enable)) return null;
  return enable.state === undefined ? 'pgood' : lineLabel(enable.state);
}

/** Of what shows the rail, or else of the page that switches it. */
function voltageOf(name: string, { good, enable }: RailBoard, devices: readonly Evidence[]) {
  const isMeasured = good !== undefined && !isLine(good);
  const said = evidenceOf(name, isMeasured ? good : enable, devices);
  return measured(said, isMeasured && 'minVolts' in good ? good : null);
}

/** Without systemd the chassis can still be shown, so its absence is a line of the output and no error. */
async function unitStates(
  chassis: number,
  world: World,
): Promise<{ states: UnitState[] | null; unavailable: string | null }> {
  if (world.systemd === 'absent') return { states: null, unavailable: 'systemd does not run here' };
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
