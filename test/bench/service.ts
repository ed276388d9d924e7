import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../hw/errors.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { connectDbus, type DbusConnection } from '../../src/system/dbus/connection.ts';
import { checkBoard } from '../check-board.ts';
import { until } from '../until.ts';
import { linesBoard } from './lines.ts';
import {
  boardOf,
  clock,
  end,
  isOn,
  lossMs,
  pause,
  power,
  privateBus,
  residentKib,
  rested,
  type Stage,
  serveOn,
  stageOf,
  start,
  unitEnvironment,
} from './rig.ts';
import type { Row } from './rows.ts';

/** By `ratio` to an idle Node, by `ratio` to the loss of one chassis alone, and a second. */
const LIMIT = { memoryOfOne: 1.25, memoryOfAll: 1.35, lossOfAll: 4, wakeUps: 2, wakeUpsOfPolls: 110 };
const CHASSIS = 12;
/** The memory of a process hardly differs from that of the next one. */
const MEMORY_PAIRS = 3;
/** Far above a loss. */
const LOOK_MS = 500;
const WAKE_UPS_MS = 5_000;
const MARK = '/run/chassis-power/answers';

/** Rows of what `measure` gives for a limit, or why there are none. */
async function rowOf(
  what: string,
  limit: number,
  measure: () => Promise<Omit<Row, 'what' | 'limit'>>,
): Promise<Row> {
  try {
    return { what, limit, ...(await measure()) };
  } catch (error) {
    return { what, limit, why: errorText(error) };
  }
}

/** How often the threads of a process went to sleep by themselves, up to now (proc_pid_status(5)). */
function sleepsOf({ pid }: ChildProcess): number {
  const tasks = join('/proc', String(pid), 'task');
  const status = readdirSync(tasks).map((task) => readFileSync(join(tasks, task, 'status'), 'utf8'));
  return status.reduce((sum, text) => sum + Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(text)?.[1]), 0);
}

async function wakeUpsOf(service: ChildProcess, samples: number): Promise<number[]> {
  const figures: number[] = [];
  for (let sample = 0; sample < samples; sample += 1) {
    const [before, beforeMs] = [sleepsOf(service), clock.nowMs()];
    await pause(WAKE_UPS_MS);
    figures.push((1_000 * (sleepsOf(service) - before)) / (clock.nowMs() - beforeMs));
  }
  return figures;
}

/** What only the program itself shows, on lines that are files and raise no interrupts: in the namespace that has those. */
export async function residentRows(node: string, program: string): Promise<Row[]> {
  const bus = await privateBus();
  const startService = async (chassis: number): Promise<ChildProcess> => {
    rmSync(MARK, { force: true });
    const service = start(
      [program, 'serve', '--state', 'off', '--board', linesBoard(chassis)],
      { DBUS_SYSTEM_BUS_ADDRESS: bus.address, ...unitEnvironment() },
      node,
    );
    await until('the service answers', () => existsSync(MARK));
    await rested();
    return service;
  };
  const memory = async (chassis: number) => {
    const figures: number[] = [];
    let kib = 0;
    for (let pair = 0; pair < MEMORY_PAIRS; pair += 1) {
      const idle = start(['--eval', 'setInterval(() => undefined, 1000)'], {}, node);
      const service = await startService(chassis);
      kib = residentKib(service);
      figures.push(kib / residentKib(idle));
      await end(service);
      await end(idle);
    }
    return { figures, beside: `${(kib / 1024).toFixed(1)} MiB` };
  };
  const rows = [
    await rowOf(
      'resident memory of the service with 1 chassis, against an idle Node',
      LIMIT.memoryOfOne,
      () => memory(1),
    ),
    await rowOf(`resident memory of the service with ${CHASSIS} chassis, the same`, LIMIT.memoryOfAll, () =>
      memory(CHASSIS),
    ),
    await rowOf(
      'wake-ups a second of the idle service, lines without interrupts',
      LIMIT.wakeUpsOfPolls,
      async () => {
        const service = await startService(1);
        const figures = await wakeUpsOf(service, MEMORY_PAIRS);
        await end(service);
        return { figures };
      },
    ),
  ];
  await bus.close();
  return rows;
}

/** What takes a chassis that moves, or lines with interrupts: of the simulated ones. */
export async function simulatedRows(trials: number): Promise<Row[]> {
  const bus = await privateBus();
  const rows = [
    await rowOf('wake-ups a second of the idle service, lines with interrupts', LIMIT.wakeUps, async () => {
      const { board } = checkBoard(JSON.parse(readFileSync(linesBoard(1), 'utf8')));
      if (!board) throw new TypeError('the board is wrong');
      const stage = await stageOf(board, 'on');
      const service = await serveOn(stage, bus.address);
      await rested();
      const figures = await wakeUpsOf(service, MEMORY_PAIRS);
      await end(service);
      await stage.close();
      return { figures };
    }),
    await rowOf(
      `${CHASSIS} chassis that lose pgood in one moment, against one of them alone`,
      LIMIT.lossOfAll,
      () => lossesOf(bus.address, trials),
    ),
  ];
  await bus.close();
  return rows;
}

async function lossesOf(address: string, trials: number): Promise<Omit<Row, 'what' | 'limit'>> {
  const stage = await stageOf(boardOf(CHASSIS), 'off');
  const service = await serveOn(stage, address);
  const dbus = await connectDbus({ clock, address });
  const all = Array.from({ length: CHASSIS }, (_, chassis) => chassis);
  try {
    await switched(dbus, stage, all);
    const figures: number[] = [];
    let lastMs = 0;
    for (let trial = 0; trial < trials; trial += 1) {
      const aloneMs = await losing(dbus, stage, [trial % CHASSIS]);
      lastMs = await losing(dbus, stage, all);
      figures.push(lastMs / aloneMs);
    }
    return { figures, beside: `${lastMs.toFixed(0)} ms` };
  } finally {
    await end(service);
    await dbus.close();
    await stage.close();
  }
}

/** Switches chassis off where they are not, and on. */
async function switched(dbus: DbusConnection, stage: Stage, chassis: readonly number[]): Promise<void> {
  const toState = (number: number, state: 0 | 1) =>
    until(`chassis ${number} takes ${state}`, () =>
      power(dbus, number, state).then(
        () => true,
        () => false,
      ),
    );
  await Promise.all(
    chassis.map(async (number) => {
      await toState(number, 0);
      await toState(number, 1);
      await until(`pgood of chassis ${number} stands`, () => isOn(stage.plant, number));
    }),
  );
}

/** From the first edge of pgood to the last enable off, of chassis that lose it together; they are on again afterwards. */
async function losing(dbus: DbusConnection, stage: Stage, chassis: readonly number[]): Promise<number> {
  const board = boardOf(CHASSIS);
  await pause(20 + Math.random() * 30);
  const sinceMs = clock.nowMs();
  for (const number of chassis) stage.plant.addFault(parseFault(`chassis ${number} pgood stuck off`, board));
  const losses = () => chassis.map((number) => lossMs(stage.plant, number, sinceMs));
  // The simulated chassis are in this process: looking without a pause would hold up what is measured.
  await until('everything is off', async () => {
    await pause(LOOK_MS);
    return losses().every((ms) => ms !== null);
  });
  const longestMs = Math.max(...losses().map((ms) => ms ?? Number.NaN));
  stage.plant.clearFaults();
  await switched(dbus, stage, chassis);
  return longestMs;
}
