import { HardwareError } from '../../../hw/errors.ts';
import { PANEL_POWER, PANEL_RESET } from '../../board/lines.ts';
import type { Board, LineBoard } from '../../board/schema.ts';
import { openPanelButton } from '../../run/panel.ts';
import {
  type ButtonOptions,
  createPowerButton,
  createResetButton,
  type FollowedButton,
} from '../../service/front-panel.ts';
import { type ChassisState, createChassisState } from '../../service/host-state.ts';
import {
  BUTTONS,
  BUTTONS_ROOT,
  type ButtonName,
  buttonObject,
  buttonPath,
} from '../../service/panel-objects.ts';
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

/** A button of a panel that the service follows. */
interface Button {
  readonly name: ButtonName;
  readonly chassis: number;
  readonly followed: FollowedButton;
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
  const buttons: Button[] = [];
  const stop = async () => {
    for (const { followed } of buttons) await followed.stop();
    for (const state of states.values()) state.stop();
    await units.close();
  };
  try {
    for (const [chassis, resident] of residents) {
      const state = await createChassisState({
        chassis,
        resident,
        hasReset: board.chassis[chassis]?.hostReset !== undefined,
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
      buttons.push(...(await buttonsOf(board, { chassis, state, resident }, world, log, changed)));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    names: [...[...states.keys()].flatMap(stateNames), ...(buttons.length > 0 ? [BUTTONS] : [])],
    managerPaths: [...STATE_MANAGER_PATHS, ...(buttons.length > 0 ? [BUTTONS_ROOT] : [])],
    objects: [
      ...[...states].flatMap(([chassis, state]) => stateObjects(chassis, state)),
      ...buttons.map(({ name, chassis, followed }) => buttonObject(name, chassis, followed)),
    ],
    powerChanged: (chassis) => states.get(chassis)?.powerChanged(),
    begin() {
      for (const state of states.values()) state.begin();
      for (const { followed } of buttons) followed.begin();
    },
    stop,
  };
}

/** Of one chassis of the service. */
interface Served {
  readonly chassis: number;
  readonly state: ChassisState;
  readonly resident: Resident;
}

/** The buttons on the panel of a chassis. One that cannot be had is told, and keeps nothing from being served. */
async function buttonsOf(
  board: Board,
  { chassis, state, resident }: Served,
  world: World,
  log: (severity: number, text: string) => void,
  changed: (property: StateProperty) => void,
): Promise<Button[]> {
  const { power, reset } = board.chassis[chassis]?.panel ?? {};
  const buttons: Button[] = [];
  const open = async (
    name: ButtonName,
    role: string,
    line: LineBoard,
    follow: (given: ButtonOptions) => FollowedButton,
  ): Promise<void> => {
    try {
      const button = await openPanelButton(board, { chassis, role, line }, world);
      const path = buttonPath(name, chassis);
      const onChange: ButtonOptions['onChange'] = (property) =>
        changed({ path, interface: BUTTONS, property });
      buttons.push({
        name,
        chassis,
        followed: follow({ chassis, button, clock: world.clock, log, onChange }),
      });
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      log(3, `${error.message}: nobody follows this button until the service is started again`);
    }
  };
  if (power) {
    const { forceOffMs } = power;
    await open('power', PANEL_POWER, power, (given) =>
      createPowerButton({ ...given, forceOffMs, state, resident }),
    );
  }
  if (reset) await open('reset', PANEL_RESET, reset, (given) => createResetButton({ ...given, state }));
  return buttons;
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
