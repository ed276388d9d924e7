import { PANEL_POWER, PANEL_RESET, PLATFORM_RESET, POST_COMPLETE } from '../../board/lines.ts';
import type { Board } from '../../board/schema.ts';
import type { FollowedLine } from '../../run/followed-line.ts';
import {
  type ButtonOptions,
  createPowerButton,
  createResetButton,
  type FollowedButton,
} from '../../service/front-panel.ts';
import { createHostSignals, type HostSignals } from '../../service/host-signals.ts';
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
import { openerOf } from './open-followed.ts';

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
  const hosts: HostSignals[] = [];
  const following = { board, world, log, changed };
  const stop = async () => {
    for (const { followed } of buttons) await followed.stop();
    for (const host of hosts) await host.stop();
    for (const state of states.values()) state.stop();
    await units.close();
  };
  try {
    for (const [chassis, resident] of residents) {
      const state = await createChassisState({
        chassis,
        resident,
        hasReset: board.chassis[chassis]?.hostReset !== undefined,
        showsPost: board.chassis[chassis]?.hostSignals?.postComplete !== undefined,
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
      const served = { chassis, state, resident };
      buttons.push(...(await buttonsOf(served, following)));
      const signals = await hostSignalsOf(served, following);
      if (signals !== null) hosts.push(signals);
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
      for (const host of hosts) host.begin();
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

/** Where lines that only the service follows come from, and where their news go. */
interface Following {
  readonly board: Board;
  readonly world: World;
  readonly log: (severity: number, text: string) => void;
  readonly changed: (property: StateProperty) => void;
}

/** The buttons on the panel of a chassis, as far as they can be had. */
async function buttonsOf(
  { chassis, state, resident }: Served,
  { board, world, log, changed }: Following,
): Promise<Button[]> {
  const { power, reset } = board.chassis[chassis]?.panel ?? {};
  const optionsOf = (name: ButtonName, button: FollowedLine): ButtonOptions => {
    const path = buttonPath(name, chassis);
    const onChange: ButtonOptions['onChange'] = (property) => changed({ path, interface: BUTTONS, property });
    return { chassis, button, clock: world.clock, log, onChange };
  };
  const open = openerOf(chassis, board, world, log);
  const buttons: Button[] = [];
  const powerLine = power && (await open(PANEL_POWER, power));
  if (power && powerLine) {
    const { forceOffMs } = power;
    const followed = createPowerButton({ ...optionsOf('power', powerLine), forceOffMs, state, resident });
    buttons.push({ name: 'power', chassis, followed });
  }
  const resetLine = reset && (await open(PANEL_RESET, reset));
  if (resetLine)
    buttons.push({
      name: 'reset',
      chassis,
      followed: createResetButton({ ...optionsOf('reset', resetLine), state }),
    });
  return buttons;
}

/** What the host of a chassis says of itself, as far as it can be had; null where the board has no signal of it. */
async function hostSignalsOf(
  { chassis, state }: Served,
  { board, world, log }: Following,
): Promise<HostSignals | null> {
  const { hostSignals } = board.chassis[chassis] ?? {};
  if (hostSignals === undefined) return null;
  const open = openerOf(chassis, board, world, log);
  const { postComplete, platformReset } = hostSignals;
  return createHostSignals({
    chassis,
    postComplete: postComplete ? await open(POST_COMPLETE, postComplete) : null,
    platformReset: platformReset ? await open(PLATFORM_RESET, platformReset) : null,
    ...{ state, clock: world.clock, log },
  });
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
