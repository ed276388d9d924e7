import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant, type Plant } from '../../mocks/plant/plant.ts';
import { type PlantServer, startPlantServer } from '../../mocks/plant-server.ts';
import { connectDbus } from '../../src/system/dbus/connection.ts';
import { checkBoard } from '../check-board.ts';
import { startPrivateBus } from '../private-bus.ts';
import { until } from '../until.ts';
import { FILLING } from './sinks.ts';

const root = join(import.meta.dirname, '..', '..');
const SIM = join(root, 'dist', 'sim', 'chassis-power-sim.cjs');
/** What the kernel ends a process for by default, and a program may catch (signal(7)). */
const ENDING = [
  ...(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGTERM'] as const),
  ...(['SIGSTKFLT', 'SIGXCPU', 'SIGVTALRM', 'SIGPROF', 'SIGIO', 'SIGPWR'] as const),
];

let dir = '';
let boardPath = '';
let plant: Plant;
let server: PlantServer | undefined;
let count = 0;
const children: ChildProcess[] = [];

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-signals-'));
  const board = JSON.parse(readFileSync(join(root, 'hw', 'boards', 'reference.json'), 'utf8'));
  // Time for somebody to come in the middle, also on a machine with other work to do.
  for (const rail of Object.values<object>(board.chassis['0'].rails)) {
    Object.assign(rail, { onTimeoutMs: 15_000, offTimeoutMs: 15_000 });
  }
  boardPath = join(dir, 'board.json');
  writeFileSync(boardPath, JSON.stringify(board));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await server?.close();
  server = undefined;
  plant.close();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A chassis whose first rail to move takes long. */
async function plug(initially: 'on' | 'off'): Promise<string[]> {
  const { board } = checkBoard(JSON.parse(readFileSync(boardPath, 'utf8')));
  if (!board) throw new TypeError('the board of this test has problems');
  count += 1;
  const socketPath = join(dir, `${count}.sock`);
  const fault = initially === 'on' ? 'rail PVCORE slow off 10s' : 'rail P5V slow 10s';
  plant = createPlant({ board, clock: createSystemClock(), initially, faults: [parseFault(fault, board)] });
  server = await startPlantServer({ plant, socketPath });
  return [SIM, '--plant', socketPath, '--board', boardPath];
}

const enables = () => plant.lines().filter(({ role, asserted }) => role === 'enable' && asserted).length;

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly printed: () => string;
}

function start(args: readonly string[], env: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  children.push(child);
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      printed += chunk;
    });
  }
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  return { child, ended, printed: () => printed };
}

describe('a signal that ends a process lets power come to rest', () => {
  it.each(ENDING)(
    '%s during on takes down what was raised, and the code is 128 and its number',
    async (name) => {
      const run = start([...(await plug('off')), 'on']);
      await until('P12V is up and P5V rises', () => enables() >= 2);
      run.child.kill(name);
      expect(await run.ended).toEqual({ code: 128 + constants.signals[name], signal: null });
      expect(run.printed()).toContain(`${name} in opPowerStart: the power was taken down`);
      expect(enables()).toBe(0);
      expect(plant.hazards).toEqual([]);
    },
  );

  it.each(['SIGHUP', 'SIGUSR1', 'SIGQUIT', 'SIGTERM'] as const)(
    '%s during off does not leave the board half lowered',
    async (name) => {
      const run = start([...(await plug('on')), 'off']);
      await until('PVCORE falls', () => enables() < 6);
      run.child.kill(name);
      await until('it is told', () =>
        run.printed().includes(`${name} in opPowerStop: power goes down first`),
      );
      plant.clearFaults();
      expect(await run.ended).toEqual({ code: 0, signal: null });
      expect(enables()).toBe(0);
    },
  );

  it('one cause that sends several signals asks once', async () => {
    const run = start([...(await plug('on')), 'off']);
    await until('PVCORE falls', () => enables() < 6);
    // A session that ends: a hangup from the kernel and one from the shell, and SIGTERM from systemd.
    for (const name of ['SIGHUP', 'SIGHUP', 'SIGTERM', 'SIGHUP', 'SIGTERM'] as const) run.child.kill(name);
    await until('it is told', () => run.printed().includes('power goes down first'));
    await delay(150);
    run.child.kill('SIGHUP');
    await delay(150);
    plant.clearFaults();
    expect(await run.ended).toEqual({ code: 0, signal: null });
    expect(enables()).toBe(0);
  });

  it('SIGTERM again leaves at once, with the lines as they are', async () => {
    const run = start([...(await plug('on')), 'off']);
    await until('PVCORE falls', () => enables() < 6);
    const before = enables();
    run.child.kill('SIGHUP');
    await until('it is told', () => run.printed().includes('power goes down first'));
    run.child.kill('SIGTERM');
    await delay(300);
    run.child.kill('SIGTERM');
    expect(await run.ended).toEqual({ code: 143, signal: null });
    expect(enables()).toBe(before);
  });

  it('SIGTERM again, when only a reader is waited for, changes no exit code', async () => {
    const runDir = join(dir, `run-${count}`);
    const command = [...(await plug('off')), 'on', '--run-dir', runDir];
    // What Node calls a pipe of a child is a socket, which nobody reads here.
    const child = spawn('sh', ['-c', FILLING, process.execPath, ...command], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    children.push(child);
    child.stdout?.pause();
    const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    await until('P12V is up and P5V rises', () => enables() >= 2);
    child.kill('SIGTERM');
    const holder = join(runDir, 'chassis0.lock', 'holder');
    await until('the chassis is free', () => /^released$/m.test(readFileSync(holder, 'utf8')));
    // What is left of the run itself is over by then; the reader is waited for a second.
    await delay(300);
    child.kill('SIGTERM');
    expect(await ended).toEqual({ code: 143, signal: null });
    expect(enables()).toBe(0);
  });

  it('SIGUSR1 opens no debugger', async () => {
    const run = start([...(await plug('off')), 'on']);
    await until('P12V is up', () => enables() >= 2);
    run.child.kill('SIGUSR1');
    await run.ended;
    expect(run.printed()).not.toMatch(/Debugger listening/);
  });

  it.each(['SIGTSTP', 'SIGTTIN'] as const)('%s does not stop a sequence half way', async (name) => {
    const run = start([...(await plug('off')), 'on']);
    await until('P12V is up', () => enables() >= 2);
    run.child.kill(name);
    await until('it is told', () => run.printed().includes('a power sequence cannot be suspended'));
    plant.clearFaults();
    expect(await run.ended).toEqual({ code: 0, signal: null });
    expect(enables()).toBe(6);
  });

  it('an error of the program itself is no success, and leaves no power in motion', async () => {
    const broken = join(dir, 'broken.cjs');
    writeFileSync(broken, "process.on('SIGWINCH', () => { throw new TypeError('seeded'); });");
    const run = start(['--require', broken, ...(await plug('off')), 'on']);
    await until('P12V is up', () => enables() >= 2);
    run.child.kill('SIGWINCH');
    expect(await run.ended).toEqual({ code: 70, signal: null });
    expect(run.printed()).toContain('internal error, please report it: TypeError: seeded');
    expect(run.printed()).toContain('an internal error in opPowerStart: the power was taken down');
    expect(enables()).toBe(0);
  });
});

const shellWords = (command: readonly string[]) =>
  [process.execPath, ...command].map((word) => `'${word}'`).join(' ');
/** A terminal window of its own with a shell that runs a script. */
function window(script: string) {
  // With job control, as at a prompt: what the terminal sends goes to the job.
  const child = spawn('script', ['-qec', `set -m; ${script}`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, SHELL: '/bin/sh' },
  });
  children.push(child);
  let printed = '';
  child.stdout?.on('data', (chunk) => {
    printed += chunk;
  });
  return { child, printed: () => printed };
}

describe('a terminal that is lost', () => {
  it('closing the window during on takes down what was raised', async () => {
    const { child } = window(shellWords([...(await plug('off')), 'on']));
    await until('P12V is up', () => enables() >= 2);
    child.kill('SIGKILL');
    await until('everything is off', () => enables() === 0);
    expect(plant.hazards).toEqual([]);
  });

  it('closing the window during off does not leave the board half lowered', async () => {
    const { child } = window(shellWords([...(await plug('on')), 'off']));
    await until('PVCORE falls', () => enables() < 6);
    child.kill('SIGKILL');
    await delay(300);
    plant.clearFaults();
    await until('everything is off', () => enables() === 0);
  });

  it('Ctrl-Z does not suspend it half way, and Ctrl-C takes back what was raised', async () => {
    const { child, printed } = window(shellWords([...(await plug('off')), 'on']));
    await until('P12V is up', () => enables() >= 2);
    child.stdin?.write('\u001a');
    await until('it is told', () => printed().includes('cannot be suspended'));
    child.stdin?.write('\u0003');
    await until('everything is off', () => enables() === 0);
  });

  it('one that stops background writers does not stop a job half way', async () => {
    const { child } = window(`stty tostop; ${shellWords([...(await plug('off')), 'on'])} & sleep 30`);
    await until('P12V is up', () => enables() >= 2);
    plant.clearFaults();
    await until('everything is on', () => enables() === 6);
    child.kill('SIGKILL');
  });
});

describe('a SIGHUP to the service', () => {
  /** Another board, to be told from the one of before by its name alone. */
  const changeBoard = () => {
    const board = JSON.parse(readFileSync(boardPath, 'utf8'));
    writeFileSync(boardPath, JSON.stringify({ ...board, name: `${board.name}-changed` }));
  };
  /** The words that start the service on a bus of its own, and what waits until it serves there. */
  const serveWords = async () => {
    const command = await plug('off');
    const { address, daemon } = await startPrivateBus(mkdtempSync(join(dir, 'bus-')));
    children.push(daemon);
    const runDir = mkdtempSync(join(dir, 'run-'));
    const serves = async () => {
      const bus = await connectDbus({ clock: createSystemClock(), address });
      const isPowered = {
        ...{ destination: 'org.openbmc.control.Power', path: '/org/openbmc/control/power0' },
        ...{ interface: 'org.openbmc.control.Power', member: 'getPowerState' },
      };
      let answer: unknown = null;
      for (const end = Date.now() + 15_000; answer === null && Date.now() < end; await delay(20)) {
        // Nobody has the name before.
        answer = await bus.call(isPowered).catch(() => null);
      }
      await bus.close();
      expect(answer).toEqual([0]);
    };
    return {
      command: [...command, 'serve', '--state', 'off', '--run-dir', runDir],
      env: { DBUS_SYSTEM_BUS_ADDRESS: address },
      runDir,
      serves,
    };
  };
  /** The process that watches the chassis, as its lock tells it. */
  const watcherOf = (runDir: string): number => {
    const path = join(runDir, 'watched', 'chassis0.lock', 'holder');
    return Number(/pid (\d+)/.exec(existsSync(path) ? readFileSync(path, 'utf8') : '')?.[1] ?? 0);
  };
  const isRunning = (pid: number): boolean => {
    const path = `/proc/${pid}/stat`;
    // One that ended and that nobody has waited for is a zombie.
    return existsSync(path) && !/\) Z /.test(readFileSync(path, 'utf8'));
  };

  it('that somebody sent makes it read the board file again, as often as it comes', async () => {
    const { command, env, serves } = await serveWords();
    const run = start(command, env);
    await serves();
    for (let round = 1; round <= 2; round += 1) {
      changeBoard();
      run.child.kill('SIGHUP');
      await until('it starts over', () => run.printed().split('starting over with it').length > round);
      await serves();
    }
    run.child.kill('SIGHUP');
    await until('it says so', () => run.printed().includes('the board file has not changed'));
    expect(run.child.exitCode).toBeNull();
    run.child.kill('SIGTERM');
    expect(await run.ended).toEqual({ code: 0, signal: null });
  });

  it('that somebody sent is no end either where it has a terminal', async () => {
    const { command, env, runDir, serves } = await serveWords();
    const variable = `DBUS_SYSTEM_BUS_ADDRESS=${env.DBUS_SYSTEM_BUS_ADDRESS}`;
    const { printed } = window(`${variable} ${shellWords(command)}`);
    await serves();
    const pid = watcherOf(runDir);
    process.kill(pid, 'SIGHUP');
    await until('it says so', () => printed().includes('the board file has not changed'));
    expect(isRunning(pid)).toBe(true);
  });

  it('of a terminal that is lost ends it, with the lines as they are', async () => {
    const { command, env, runDir, serves } = await serveWords();
    const variable = `DBUS_SYSTEM_BUS_ADDRESS=${env.DBUS_SYSTEM_BUS_ADDRESS}`;
    const { child } = window(`${variable} ${shellWords(command)}`);
    await serves();
    const pid = watcherOf(runDir);
    expect(isRunning(pid)).toBe(true);
    const before = plant.lines();
    child.kill('SIGKILL');
    await until('it ended', () => !isRunning(pid));
    expect(plant.lines()).toEqual(before);
    expect(plant.hazards).toEqual([]);
  });
});
