import { HardwareError } from '../../../hw/errors.ts';
import type { Board } from '../../board/schema.ts';
import { openPowerButton } from '../../run/panel.ts';
import { createPowerButton, type PowerButton } from '../../service/front-panel.ts';
import { type ChassisState, createChassisState } from '../../service/host-state.ts';
import { BUTTONS, BUTTONS_ROOT, powerButtonObject, powerButtonPath } from '../../service/panel-objects.ts';
import type { Resident } from '../../service/resident.ts';
import {
  STATE_MANAGER_PATHS,
  type StateProperty,
  stateChanges,
  stateNames,
  stateObjects,
} from '../../service/state-objects.ts';
import { createLastingFile } from '../../store/lasting.ts';
import { hasOnMarker } from '../../store/on-marker.ts';
import { SystemError } from '../../system/errors.ts';
import type { ServedObject } from '../../system/ports.ts';
import type { World } from '../world.ts';

/** Chassis and host state of all chassis and their panels, which `serve` publishes in place of phosphor-state-manager. */
export interface States {
  readonly names: readonly string[];
  readonly managerPaths: readonly string[];
  readonly objects: readonly ServedObject[];
  /** To be called when the view of a resident has changed. */
  powerChanged(chassis: number): void;
  /** To be called once all objects are published. */
  begin(): void;
  stop(): Promise<void>;
}

/** @param changed called for each property whose value has changed */
export async function createStates(
  board: Board,
  residents: ReadonlyMap<number, Resident>,
  world: World,
  log: (severity: number, text: string) => void,
  changed: (property: StateProperty) => void,
): Promise<States> {
  const units = await world.units();
  const states = new Map<number, ChassisState>();
  const buttons = new Map<number, PowerButton>();
  const stop = async () => {
    for (const button of buttons.values()) await button.stop();
    for (const state of states.values()) state.stop();
    await units.close();
  };
  try {
    for (const [chassis, resident] of residents) {
      const state = await createChassisState({
        chassis,
        resident,
        units,
        clock: world.clock,
        store: createLastingFile(world.stateDir, chassis),
        bootId: world.bootId(),
        isAdopted: () => hasOnMarker(world.openbmcRunDir, chassis),
        log,
        onChange: (now, before) => {
          for (const property of stateChanges(chassis, now, before)) changed(property);
        },
        inspect: world.inspect,
      });
      states.set(chassis, state);
      const button = await powerButtonOf(board, { chassis, state, resident }, { world, log, changed });
      if (button !== null) buttons.set(chassis, button);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    names: [...[...states.keys()].flatMap(stateNames), ...(buttons.size > 0 ? [BUTTONS] : [])],
    managerPaths: [...STATE_MANAGER_PATHS, ...(buttons.size > 0 ? [BUTTONS_ROOT] : [])],
    objects: [
      ...[...states].flatMap(([chassis, state]) => stateObjects(chassis, state)),
      ...[...buttons].map(([chassis, button]) => powerButtonObject(chassis, button)),
    ],
    powerChanged: (chassis) => states.get(chassis)?.powerChanged(),
    begin() {
      for (const state of states.values()) state.begin();
      for (const button of buttons.values()) button.begin();
    },
    stop,
  };
}

/** The power button of a chassis; null where it has none. One that cannot be had is told, and keeps nothing from being served. */
async function powerButtonOf(
  board: Board,
  {
    chassis,
    state,
    resident,
  }: { readonly chassis: number; readonly state: ChassisState; readonly resident: Resident },
  {
    world,
    log,
    changed,
  }: {
    readonly world: World;
    readonly log: (severity: number, text: string) => void;
    readonly changed: (property: StateProperty) => void;
  },
): Promise<PowerButton | null> {
  const power = board.chassis[chassis]?.panel?.power;
  if (power === undefined) return null;
  try {
    const button = await openPowerButton(board, { chassis, line: power }, world);
    return createPowerButton({
      chassis,
      button,
      forceOffMs: power.forceOffMs,
      state,
      resident,
      clock: world.clock,
      log,
      onChange: (property) => changed({ path: powerButtonPath(chassis), interface: BUTTONS, property }),
    });
  } catch (error) {
    if (!(error instanceof HardwareError)) throw error;
    log(3, `${error.message}: nobody follows this button until the service is started again`);
    return null;
  }
}

/** Adds what to do where another program owns one of the names. */
export function withAdvice(error: unknown, names: readonly string[]): unknown {
  if (!(error instanceof SystemError) || error.code !== 'DBUS_NAME_TAKEN') return error;
  if (!names.includes(String(error.details.name))) return error;
  return new SystemError(
    error.code,
    `${error.message}; or leave chassis and host state to phosphor-state-manager, or whoever has them here, with serve --state off`,
    error.details,
    { cause: error },
  );
}
