import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import type { PlantEvent } from '../../mocks/plant/events.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant, type Plant } from '../../mocks/plant/plant.ts';
import { type PlantServer, startPlantServer } from '../../mocks/plant-server.ts';
import { checkBoard } from '../check-board.ts';
import { startPrivateBus } from '../private-bus.ts';
import { until } from '../until.ts';

/** The real program is stopped (SIGSTOP) while the chassis goes on. Times are those of the chassis. */

const root = join(import.meta.dirname, '..', '..');
const SIM = join(root, 'dist', 'sim', 'chassis-power-sim.cjs');
const clock = createSystemClock();

let dir = '';
const cleanUp: (() => Promise<void> | void)[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-stall-'));
});
afterEach(async () => {
  for (const clean of cleanUp.splice(0).reverse()) await clean();
  rmSync(dir, { recursive: true, force: true });
});

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

interface Stage {
  readonly plant: Plant;
  readonly fault: (text: string) => void;
  readonly start: (args: readonly string[], env?: Record<string, string>) => ChildProcess;
}

async function stageOf(deglitchMs: number, initially: 'off' | 'on'): Promise<Stage> {
  const text = readFileSync(join(root, 'hw', 'boards', 'reference.json'), 'utf8');
  const boardPath = join(dir, 'board.json');
  writeFileSync(boardPath, text.replace('"deglitchMs": 5', `"deglitchMs": ${deglitchMs}`));
  const { board } = checkBoard(JSON.parse(readFileSync(boardPath, 'utf8')));
  if (!board) throw new TypeError('the board is refused');
  const plant = createPlant({ board, clock, initially });
  cleanUp.push(() => plant.close());
  const socketPath = join(dir, 'plant');
  const server: PlantServer = await startPlantServer({ plant, socketPath });
  cleanUp.push(() => server.close());
  return {
    plant,
    fault: (fault) => plant.addFault(parseFault(fault, board)),
    start(args, env = {}) {
      const all = [SIM, '--plant', socketPath, ...args, '--board', boardPath, '--run-dir', join(dir, 'run')];
      const child = spawn(process.execPath, all, {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { PATH: process.env.PATH ?? '', ...env },
      });
      cleanUp.push(() => {
        child.kill('SIGKILL');
      });
      return child;
    },
  };
}

type LineEvent = Extract<PlantEvent, { type: 'line' }>;
function enables({ plant }: Stage, asserted: boolean): LineEvent[] {
  return plant.history.filter(
    (event): event is LineEvent =>
      event.type === 'line' && event.role === 'enable' && event.asserted === asserted,
  );
}

/** Stopped while `ms` pass for the chassis. */
async function stopFor(child: ChildProcess, ms: number): Promise<void> {
  child.kill('SIGSTOP');
  await pause(ms);
  child.kill('SIGCONT');
}

const codeOf = (child: ChildProcess) => new Promise<number | null>((resolve) => child.once('exit', resolve));

describe('a program that is stopped while it drives', () => {
  it.each([1, 3, 5])('reaches pgood all the same: 700 ms after the enable number %i', async (count) => {
    const stage = await stageOf(5, 'off');
    const child = stage.start(['on']);
    const code = codeOf(child);
    await until('the enable', () => enables(stage, true).length >= count);
    await stopFor(child, 700);
    expect(await code).toBe(0);
    expect(stage.plant.hazards).toEqual([]);
  });

  it('reaches off all the same: longer than a rail may take to go down', async () => {
    const stage = await stageOf(5, 'on');
    const child = stage.start(['off']);
    const code = codeOf(child);
    await until('the first disable', () => enables(stage, false).length >= 1);
    await stopFor(child, 2_500);
    expect(await code).toBe(0);
    expect(stage.plant.hazards).toEqual([]);
  });
});

describe('a service that is stopped', () => {
  const DEGLITCH_MS = 300;

  it('for a second over a glitch of 200 ms leaves the host on, and acts on a loss after that', async () => {
    const stage = await stageOf(DEGLITCH_MS, 'on');
    const { address, daemon } = await startPrivateBus(dir);
    cleanUp.push(() => {
      daemon.kill('SIGKILL');
    });
    const child = stage.start(['serve', '--state', 'off'], { DBUS_SYSTEM_BUS_ADDRESS: address });
    let said = '';
    child.stdout?.on('data', (data) => {
      said += String(data);
    });
    await until('the watch', () => said.includes('lines read: pgood'));
    for (let round = 0; round < 3; round += 1) {
      const gone = said.split('pgood gone').length;
      stage.fault('pgood glitch 200ms');
      await until('the glitch was seen', () => said.split('pgood gone').length > gone);
      const back = said.split('pgood asserted').length;
      await stopFor(child, 1_000);
      await until('its end was seen', () => said.split('pgood asserted').length > back);
    }
    expect(enables(stage, false)).toEqual([]);
    const lostMs = clock.nowMs();
    stage.fault('pgood stuck off');
    await until('every enable is off', () => enables(stage, false).length === 6);
    expect(enables(stage, false)[0]?.atMs).toBeGreaterThanOrEqual(lostMs + DEGLITCH_MS);
  });
});
