import { type ChassisState, createChassisState } from '../../service/host-state.ts';
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

/** Chassis and host state of all chassis, which `serve` publishes in place of phosphor-state-manager. */
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
  residents: ReadonlyMap<number, Resident>,
  world: World,
  log: (severity: number, text: string) => void,
  changed: (property: StateProperty) => void,
): Promise<States> {
  const units = await world.units();
  const states = new Map<number, ChassisState>();
  const stop = async () => {
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
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    names: [...states.keys()].flatMap(stateNames),
    managerPaths: STATE_MANAGER_PATHS,
    objects: [...states].flatMap(([chassis, state]) => stateObjects(chassis, state)),
    powerChanged: (chassis) => states.get(chassis)?.powerChanged(),
    begin() {
      for (const state of states.values()) state.begin();
    },
    stop,
  };
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
