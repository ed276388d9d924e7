import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSystemClock } from '../../hw/clock.ts';
import type { PlantEvent } from '../../mocks/plant/events.ts';
import { createPlant, type Plant } from '../../mocks/plant/plant.ts';
import { startPlantServer } from '../../mocks/plant-server.ts';
import type { Board } from '../../src/board/schema.ts';
import type { DbusConnection } from '../../src/system/dbus/connection.ts';
import { checkBoard } from '../check-board.ts';
import { startPrivateBus } from '../private-bus.ts';

/** The checkout. */
export const root = process.argv[2] ?? '';
const SHM = '/dev/shm';
const SIM = join(root, 'dist', 'sim', 'chassis-power-sim.cjs');
/** Time in which a process that only waits has done all its starting. */
const REST_MS = 3_000;

export const clock = createSystemClock();
/** On a tmpfs where there is one, as the run directory of a BMC is. */
export const dir = mkdtempSync(join(existsSync(SHM) ? SHM : tmpdir(), 'chassis-power-bench-'));
export const children = new Set<ChildProcess>();

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export function start(
  args: readonly string[],
  env: Record<string, string> = {},
  node = process.execPath,
): ChildProcess {
  const child = spawn(node, args, {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: { PATH: process.env.PATH ?? '', ...env },
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}
export async function end(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

/** The reference board so many times over, each on lines of its own; without the de-glitch time, which is the board's. */
export function boardOf(count: number): Board {
  const reference = JSON.parse(readFileSync(join(root, 'hw', 'boards', 'reference.json'), 'utf8'));
  const devices: Record<string, object> = {};
  const chassis: Record<string, object> = {};
  for (let number = 0; number < count; number += 1) {
    devices[`vr${number}`] = { ...reference.devices.vr_ddr, address: `0x${(0x40 + number).toString(16)}` };
    const text = JSON.stringify(reference.chassis['0'])
      .replaceAll('1e780000.gpio', `chip${number}`)
      .replaceAll('vr_ddr', `vr${number}`);
    chassis[number] = JSON.parse(text, (key, value) => {
      if (key === 'deglitchMs' || key === 'minOffMs') return 0;
      // What is measured is a loss, and the way to it may take its time on a machine with other work to do.
      return key === 'onTimeoutMs' || key === 'offTimeoutMs' ? 5_000 : value;
    });
  }
  const { board, problems } = checkBoard({ name: 'bench', devices, chassis });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

export interface Stage {
  readonly plant: Plant;
  readonly socket: string;
  readonly boardPath: string;
  close(): Promise<void>;
}
let stages = 0;
export async function stageOf(board: Board, initially: 'off' | 'on'): Promise<Stage> {
  const boardPath = join(dir, `board-${stages}.json`);
  writeFileSync(boardPath, JSON.stringify(board));
  const plant = createPlant({ board, clock, initially });
  stages += 1;
  // One of its own: the plant of a figure that could not be measured is there still.
  const socket = join(dir, `plant-${stages}.sock`);
  const server = await startPlantServer({ plant, socketPath: socket });
  return {
    plant,
    socket,
    boardPath,
    async close() {
      await server.close();
      plant.close();
      rmSync(`${socket}.run`, { recursive: true, force: true });
    },
  };
}

export type LineEvent = Extract<PlantEvent, { type: 'line' }>;
export const changes = (plant: Plant, role: string, chassis: number, sinceMs: number): LineEvent[] =>
  plant.history.filter(
    (event): event is LineEvent =>
      event.type === 'line' &&
      event.role === role &&
      event.chassis === chassis &&
      !event.asserted &&
      event.atMs >= sinceMs,
  );
export const enabled = (plant: Plant, chassis: number) =>
  plant.lines().filter((line) => line.role === 'enable' && line.chassis === chassis && line.asserted).length;
export const isOn = (plant: Plant, chassis: number) =>
  plant.lines().some((line) => line.role === 'pgood' && line.chassis === chassis && line.asserted);

/** From the edge of pgood to the last enable off, in milliseconds. Null while an enable is still on. */
export function lossMs(plant: Plant, chassis: number, sinceMs: number): number | null {
  if (enabled(plant, chassis) > 0) return null;
  const [edge] = changes(plant, 'pgood', chassis, sinceMs);
  const last = changes(plant, 'enable', chassis, sinceMs).at(-1);
  return edge && last ? last.atMs - edge.atMs : null;
}

export async function privateBus(): Promise<{ address: string; close: () => Promise<void> }> {
  const { address, daemon } = await startPrivateBus(dir);
  children.add(daemon);
  return { address, close: () => end(daemon) };
}

export const power = (dbus: DbusConnection, chassis: number, state: 0 | 1) =>
  dbus.call({
    destination: 'org.openbmc.control.Power',
    path: `/org/openbmc/control/power${chassis}`,
    interface: 'org.openbmc.control.Power',
    member: 'setPowerState',
    signature: 'i',
    body: [state],
  });

/** Arguments of Node for a verb on the simulated chassis. */
export const simulated = ({ socket, boardPath }: Stage, verb: string, ...options: readonly string[]) => [
  SIM,
  '--plant',
  socket,
  verb,
  '--board',
  boardPath,
  ...options,
];

/** What the service has in its environment when systemd starts it. */
export function unitEnvironment(): Record<string, string> {
  const unit = readFileSync(join(root, 'systemd', 'chassis-power.service'), 'utf8');
  return Object.fromEntries(
    [...unit.matchAll(/^Environment="?(\w+)=([^"\n]*)"?$/gm)].map(([, name = '', value = '']) => [
      name,
      value,
    ]),
  );
}

export async function serveOn(stage: Stage, address: string): Promise<ChildProcess> {
  return start(simulated(stage, 'serve', '--state', 'off'), {
    DBUS_SYSTEM_BUS_ADDRESS: address,
    ...unitEnvironment(),
  });
}

export function residentKib({ pid }: ChildProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}
/** Resolves when a process that only waits has done all its starting. */
export const rested = () => pause(REST_MS);

/** Ends every process that was started, and removes what they left. */
export function cleanUp(): void {
  for (const child of children) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
}
