#!/usr/bin/env node
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CodedError, errorText } from '../hw/errors.ts';
import type { Clock } from '../hw/ports.ts';
import { madeOnce } from '../hw/waiting.ts';
import { chassisOf, loadBoard } from '../src/board/load.ts';
import { asksForHelp, firstWord } from '../src/cli/arguments.ts';
import { EXIT, exitCodeOf } from '../src/cli/exit.ts';
import { mayDrive, runCommandLine } from '../src/cli/main.ts';
import { DEFAULT_BOARD, VERBS } from '../src/cli/verbs.ts';
import type { World } from '../src/cli/world.ts';
import { runProcess } from '../src/compose.ts';
import { isDrawnOver, lineReporter } from '../src/report/lines.ts';
import { liveReporter } from '../src/report/live-view.ts';
import { renderSvg } from '../src/report/timing-diagram.ts';
import { openChassis } from '../src/run/hardware.ts';
import { JOBS } from '../src/run/jobs.ts';
import type { Recorded } from '../src/run/record.ts';
import { runSequence } from '../src/run/runner.ts';
import { planOf } from '../src/sequence/plan.ts';
import { SystemError } from '../src/system/errors.ts';
import { createMockGpio } from './backends/gpio.ts';
import { createMockI2c } from './backends/i2c.ts';
import { createMockProperties } from './backends/properties.ts';
import { createMockSensors } from './backends/sensors.ts';
import { createMemoryDisk } from './disk.ts';
import { createInspector } from './inspect.ts';
import { FAULT_GRAMMAR, type Fault, FaultSyntaxError, parseFault } from './plant/faults.ts';
import { createPlant, type Plant, type PlantOptions } from './plant/plant.ts';
import { connectPlant, type RemotePlant, startPlantServer } from './plant-server.ts';
import { createPunctualClock } from './punctuality.ts';
import { createVirtualClock, VirtualTimeError } from './virtual-clock.ts';

/**
 * `chassis-power-sim`: the whole command line of chassis-power on a simulated chassis. Its own options and
 * verbs are below; everything else goes to the command line as it is.
 */

const USAGE = `usage: chassis-power-sim [SIMULATION] VERB …      as chassis-power, on a simulated chassis of the board
       chassis-power-sim plant --board B --socket S [--fault F]…   keep a chassis running for several processes
       chassis-power-sim --plant S lines|rails|hazards [--json]    look at a running chassis from outside
       chassis-power-sim --plant S fault F | clear-faults          break it, mend it
       chassis-power-sim replay FILE [--svg FILE] [--json]         play what verify --save wrote on a simulated chassis
       chassis-power-sim demo --board B [--svg FILE] [--fault F]…  power on and off in real time

simulation:
  --plant S               work on the running chassis behind socket S
  --state-dir DIR         where that chassis keeps what outlives a boot; else the run directory
  --systemd off|on        whether the systemd of this machine is told of what it cannot see (off)
  --time virtual|real     how time passes for a chassis of one's own (virtual: as fast as it can)
  --initially off|on      whether that chassis starts powered
  --line NAME=CHIP/LINE   the line of the device tree's name NAME, repeatable; else each name is a line of its own
  --fault F               a fault of that chassis, repeatable; "--fault list" explains the grammar
`;

/** Verbs of chassis-power that look at no chassis. */
const WITHOUT_CHASSIS = ['schema', 'units', 'verify', 'help'];
/** Time the demo leaves the chassis on, for a reader to see it. */
const DEMO_ON_MS = 300;

interface SimOptions {
  readonly plant: string | undefined;
  readonly socket: string | undefined;
  readonly time: string | undefined;
  readonly initially: string | undefined;
  readonly systemd: string | undefined;
  readonly stateDir: string | undefined;
  readonly faults: readonly string[];
  readonly lineNames: PlantOptions['lineNames'];
  /** What is left for the command line of chassis-power. */
  readonly rest: readonly string[];
  readonly verb: string | undefined;
}

class SimUsageError extends Error {
  override readonly name = 'SimUsageError';
}

/** Takes the simulation's options out, wherever they stand; everything else keeps its order. */
function takeOptions(args: readonly string[]): SimOptions {
  const values: Record<string, string> = {};
  const faults: string[] = [];
  const rest: string[] = [];
  const lineNames: Record<string, { chip: string; line: number | string }> = {};
  const own = ['plant', 'socket', 'time', 'initially', 'systemd', 'state-dir', 'fault', 'line'];
  for (let index = 0; index < args.length; index += 1) {
    const arg = args[index] ?? '';
    if (arg === '--') {
      rest.push(...args.slice(index));
      break;
    }
    const [, name = '', inline] = /^--([a-z-]+)(?:=(.*))?$/s.exec(arg) ?? [];
    if (!own.includes(name)) {
      rest.push(arg);
      continue;
    }
    if (inline === undefined) index += 1;
    const value = inline ?? args[index];
    if (!value || (inline === undefined && value.startsWith('-')))
      throw new SimUsageError(`--${name} needs a value`);
    if (name === 'fault') faults.push(value);
    else if (name === 'line') Object.assign(lineNames, parseLineName(value));
    else if (name in values) throw new SimUsageError(`--${name} is given twice: which one is meant?`);
    else values[name] = value;
  }
  for (const [name, allowed] of [
    ['time', ['virtual', 'real']],
    ['initially', ['off', 'on']],
    ['systemd', ['off', 'on']],
  ] as const) {
    const value = values[name];
    if (value !== undefined && !(allowed as readonly string[]).includes(value)) {
      throw new SimUsageError(`--${name} takes ${allowed.join(' or ')}, not "${value}"`);
    }
  }
  const { plant, socket, time, initially, systemd, 'state-dir': stateDir } = values;
  return { plant, socket, time, initially, systemd, stateDir, faults, lineNames, rest, verb: verbOf(rest) };
}

/** `fault show` and `fault list` are of chassis-power; any other `fault` breaks the simulated chassis. */
function verbOf(rest: readonly string[]): string | undefined {
  const verb = firstWord(rest);
  if (verb !== 'fault') return verb;
  const after = rest[rest.indexOf(verb) + 1];
  return after === 'show' || after === 'list' ? `${verb} ${after}` : verb;
}

/** `PGOOD=1e780000.gpio/B7`. */
function parseLineName(text: string): Record<string, { chip: string; line: number | string }> {
  const [, name, chip, line] = /^([^=]+)=(.+)\/([^/]+)$/.exec(text) ?? [];
  if (name === undefined || chip === undefined || line === undefined)
    throw new SimUsageError(`--line takes NAME=CHIP/LINE, not "${text}"`);
  return { [name]: { chip, line: /^\d+$/.test(line) ? Number(line) : line } };
}

/** Options that a verb of the simulator takes: the common ones of chassis-power mean nothing to it, and may stand there. */
const OWN_VERBS: Readonly<Record<string, readonly string[]>> = {
  plant: [],
  demo: ['svg'],
  replay: ['svg'],
  lines: [],
  rails: [],
  hazards: [],
  fault: [],
  'clear-faults': [],
};
const VALUED = ['board', 'chassis', 'run-dir', 'svg'];

/** The words after the verb of a command line for a verb of the simulator. */
function operandsOf(verb: string, args: readonly string[]): string[] {
  const known = ['board', 'chassis', 'run-dir', 'json', ...(OWN_VERBS[verb] ?? [])];
  const words: string[] = [];
  for (let index = 0; index < args.length; index += 1) {
    const [arg = '', name = '', inline] = /^--?([^=]*)(=.*)?$/s.exec(args[index] ?? '') ?? [args[index]];
    if (!arg.startsWith('-')) words.push(arg);
    else if (!arg.startsWith('--') || !known.includes(name))
      throw new SimUsageError(`unknown option ${arg}: see chassis-power-sim --help`);
    else if (VALUED.includes(name) && inline === undefined) index += 1;
  }
  return words.slice(1);
}

function expectFault(args: readonly string[]): string {
  const [fault, extra] = operandsOf('fault', args);
  if (fault === undefined) throw new SimUsageError('fault needs what is to break');
  if (extra !== undefined)
    throw new SimUsageError(`fault takes one text, quoted as a whole, not "${extra}" as well`);
  return fault;
}

function optionOf(args: readonly string[], option: string): string | undefined {
  const inline = args.find((arg) => arg.startsWith(`${option}=`));
  if (inline !== undefined) return inline.slice(option.length + 1);
  const index = args.indexOf(option);
  return index < 0 ? undefined : args[index + 1];
}

function boardPathOf({ verb, rest }: SimOptions, world: World): string {
  const operand =
    verb === 'check' ? rest.filter((arg) => arg !== verb && !arg.startsWith('-'))[0] : undefined;
  return optionOf(rest, '--board') ?? operand ?? world.env.CHASSIS_POWER_BOARD ?? DEFAULT_BOARD;
}

async function plantOf(boardPath: string, options: SimOptions, clock: Clock): Promise<Plant> {
  const { board } = await loadBoard(boardPath);
  const faults: Fault[] = options.faults.map((text) => parseFault(text, board));
  return createPlant({
    board,
    clock,
    faults,
    lineNames: options.lineNames,
    initially: options.initially === 'on' ? 'on' : 'off',
  });
}

/** A world whose hardware is the plant that `plant` gives; the plant is made with the first line. */
function worldOn(plant: () => Promise<Plant>, clock: Clock, runDir: string, real: World): World {
  const gpio = async () => createMockGpio(await plant());
  return {
    ...real,
    clock,
    // A chassis of one's own has no systemd over it, and the real one's answers take real time.
    units: () =>
      Promise.reject(
        new SystemError(
          'DBUS_UNAVAILABLE',
          'a simulated chassis in this process has no systemd: use --plant',
        ),
      ),
    gpio,
    looks: gpio,
    picture: async () => null,
    i2c: async () => createMockI2c(await plant()),
    sensors: async () => createMockSensors(await plant()),
    properties: async () => createMockProperties(await plant()),
    systemd: 'absent',
    defaultRunDir: runDir,
    stateDir: runDir,
    // Answers in virtual time, and nothing of such a chassis outlives its process.
    disk: madeOnce(async () => createMemoryDisk()),
    openbmcRunDir: runDir,
  };
}

function printHazards(plant: Plant | undefined, world: World): void {
  for (const { kind, name, atMs, text } of plant?.hazards ?? []) {
    world.stderr.write(`hazard: ${kind} ${name} at ${atMs.toFixed(1)} ms: ${text}\n`);
  }
}

async function runHere(options: SimOptions, real: World): Promise<number> {
  const virtual = options.time === 'real' ? undefined : createVirtualClock();
  const clock = virtual ?? real.clock;
  const runDir = mkdtempSync(join(tmpdir(), 'chassis-power-sim-'));
  let making: Promise<Plant> | undefined;
  let plant: Plant | undefined;
  const world = worldOn(
    async () => {
      making ??= plantOf(boardPathOf(options, real), options, clock);
      plant = await making;
      return plant;
    },
    clock,
    runDir,
    real,
  );
  try {
    // A fault that this board cannot have is told before anything runs.
    if (options.faults.length > 0) await world.gpio();
    const run = runCommandLine(options.rest, world);
    return await (virtual ? virtual.runUntil(run) : run);
  } finally {
    printHazards(plant, world);
    plant?.close();
    rmSync(runDir, { recursive: true, force: true });
  }
}

async function runRemote(options: SimOptions, socketPath: string, real: World): Promise<number> {
  const { verb } = options;
  const remote: RemotePlant = await connectPlant(socketPath);
  try {
    const json = options.rest.includes('--json');
    switch (verb) {
      case 'lines':
      case 'rails':
      case 'hazards': {
        const rows: readonly object[] = await remote[verb]();
        real.stdout.write(
          json ? `${JSON.stringify(rows)}\n` : rows.map((row) => `${JSON.stringify(row)}\n`).join(''),
        );
        return EXIT.ok;
      }
      case 'fault':
        await remote.addFault(expectFault(options.rest));
        return EXIT.ok;
      case 'clear-faults':
        await remote.clearFaults();
        return EXIT.ok;
      default:
        return await runCommandLine(options.rest, {
          ...real,
          gpio: async () => remote.gpio,
          looks: async () => remote.gpio,
          picture: async () => null,
          i2c: async () => remote.i2c,
          sensors: async () => remote.sensors,
          // Who takes the systemd of the machine takes its bus, too.
          ...(options.systemd === 'on' ? {} : { properties: async () => remote.properties }),
          // Never by itself: a simulated failure must not quiesce the host of a machine that has one.
          systemd: options.systemd === 'on' ? real.systemd : 'absent',
          defaultRunDir: `${socketPath}.run`,
          stateDir: options.stateDir ?? optionOf(options.rest, '--run-dir') ?? `${socketPath}.run`,
        });
    }
  } finally {
    remote.close();
  }
}

async function servePlant(options: SimOptions, real: World): Promise<number> {
  if (options.socket === undefined) throw new SimUsageError('plant needs --socket S');
  const clock = createPunctualClock(real.clock, (lateMs) =>
    real.stdout.write(`late by ${lateMs.toFixed(1)} ms: this machine is too busy to simulate in real time\n`),
  );
  const plant = await plantOf(boardPathOf(options, real), options, clock);
  const server = await startPlantServer({ plant, socketPath: options.socket });
  real.stdout.write('ready\n');
  await new Promise<void>((resolve) => {
    if (real.signal.aborted) resolve();
    else real.signal.addEventListener('abort', () => resolve());
  });
  await server.close();
  plant.close();
  clock.close();
  return EXIT.ok;
}

/** Power on, a moment on, power off, in one picture. */
async function demo(options: SimOptions, real: World): Promise<number> {
  const path = boardPathOf(options, real);
  const loaded = await loadBoard(path);
  const chassis = chassisOf(loaded, 0);
  const plan = planOf(chassis, loaded.board.devices);
  const simulated = await plantOf(path, options, real.clock);
  const world = worldOn(async () => simulated, real.clock, '', real);
  const hardware = await openChassis(loaded.board, 0, world);
  const recording: Recorded[] = [];
  const isDrawn = isDrawnOver(real.stdout, real.env);
  const report = isDrawn ? liveReporter(real.stdout, plan) : lineReporter(real.stdout, 0);
  const runOptions = {
    plan,
    hardware,
    clock: real.clock,
    // One process, so nothing has to outlive it.
    store: { load: () => ({ hint: null, warning: null }), save: () => null },
    record: (entry: Recorded) => {
      recording.push(entry);
      report(entry);
    },
    signal: real.signal,
  };
  real.stdout.write(`simulated board ${loaded.board.name}: ${loaded.board.description ?? ''}\n\n`);
  const on = await runSequence(JOBS.on, runOptions);
  await new Promise<void>((resolve) => {
    real.clock.after(DEMO_ON_MS, resolve);
  });
  const off = await runSequence(JOBS.off, runOptions);
  await hardware.close();
  simulated.close();
  printHazards(simulated, real);
  const svg = optionOf(options.rest, '--svg');
  if (svg !== undefined) {
    writeFileSync(svg, renderSvg(recording, plan, `${loaded.board.name}: power on and off (simulated)`));
    real.stdout.write(`\ntiming diagram: ${svg}\n`);
  }
  return on.state === 'pgood' && off.state === 'off' ? EXIT.ok : EXIT.railFault;
}

/** Plays a counterexample of `verify` on a simulated chassis, and tells whether its invariant is broken there too. */
async function replayFile(options: SimOptions, real: World): Promise<number> {
  const [path, extra] = operandsOf('replay', options.rest);
  if (path === undefined || extra !== undefined)
    throw new SimUsageError('replay takes the file that "chassis-power verify BOARD --save FILE" wrote');
  const { loadCounterexample } = await import('./replay/saved.ts');
  const loaded = loadCounterexample(path);
  if ('problem' in loaded) throw new SimUsageError(loaded.problem);
  const { saved, board } = loaded;
  const { replay } = await import('./replay/replay.ts');
  const { reportOfReplay, textOfReplay } = await import('./replay/text.ts');
  const replayed = await replay(saved, board);
  const isJson = options.rest.includes('--json');
  const report = () => `${JSON.stringify(reportOfReplay(saved, replayed), null, 2)}\n`;
  real.stdout.write(isJson ? report() : textOfReplay(saved, board.name, replayed));
  const svg = optionOf(options.rest, '--svg');
  if (svg !== undefined) {
    const title = `${board.name}: ${saved.invariant} (simulated)`;
    writeFileSync(svg, renderSvg(replayed.recording, replayed.plan, title));
    if (!isJson) real.stdout.write(`timing diagram: ${svg}\n`);
  }
  return replayed.found.length > 0 ? EXIT.findings : EXIT.ok;
}

/** The simulator's own help, or that of a verb of chassis-power. Does nothing else, whatever stands beside it. */
async function help(args: readonly string[], real: World): Promise<number> {
  const verb = args.find((arg) => Object.hasOwn(VERBS, arg));
  if (verb !== undefined) return await runCommandLine([verb, '--help'], real);
  real.stdout.write(USAGE);
  return EXIT.ok;
}

/** The world with an inspector, where CHASSIS_POWER_INSPECT names the file that it writes to. */
function inspected(world: World): World {
  const path = world.env.CHASSIS_POWER_INSPECT;
  return path ? { ...world, inspect: createInspector(path, world.clock) } : world;
}

async function main(args: readonly string[], composed: World): Promise<number> {
  const real = inspected(composed);
  try {
    if (asksForHelp(args)) return await help(args, real);
    const options = takeOptions(args);
    const { verb } = options;
    if (options.faults.includes('list')) {
      real.stdout.write(FAULT_GRAMMAR);
      return EXIT.ok;
    }
    if (options.rest.length === 0) {
      real.stderr.write(USAGE);
      return EXIT.usage;
    }
    // Uninstalling ends with the lines of the chassis that is there.
    const uninstalls = options.plant !== undefined && verb === 'units' && options.rest[1] === 'uninstall';
    if (verb === undefined || (WITHOUT_CHASSIS.includes(verb) && !uninstalls)) {
      return await runCommandLine(options.rest, real);
    }
    if (Object.hasOwn(OWN_VERBS, verb)) operandsOf(verb, options.rest);
    if (verb === 'plant') return await servePlant(options, real);
    if (options.plant !== undefined) return await runRemote(options, options.plant, real);
    if (verb === 'demo') return await demo(options, real);
    if (verb === 'replay') return await replayFile(options, real);
    return await runHere(options, real);
  } catch (error) {
    const own = error instanceof SimUsageError || error instanceof FaultSyntaxError;
    if (!own && !(error instanceof CodedError) && !(error instanceof VirtualTimeError)) throw error;
    real.stderr.write(`chassis-power-sim: ${errorText(error)}\n`);
    return own ? EXIT.usage : exitCodeOf(error);
  }
}

/** Of the simulator's own verbs, those that go on by themselves. */
function leavesWhenDone(args: readonly string[]): boolean {
  try {
    const { verb, rest } = takeOptions(args);
    return verb === 'plant' || verb === 'demo' || verb === 'replay' || mayDrive(rest);
  } catch {
    // What cannot be read drives nothing.
    return false;
  }
}

void runProcess({ name: 'chassis-power-sim', run: main, mayDrive: leavesWhenDone });
