import { createSystemClock } from '../../hw/clock.ts';
import type { GpioBackend, LineRef, OutputLine } from '../../hw/ports.ts';
import type { Board } from '../../src/board/schema.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { createSnapshotFile, type SnapshotStore } from '../../src/store/snapshot.ts';
import { checkBoard } from '../check-board.ts';
import { dir } from './rig.ts';
import type { Row } from './rows.ts';

/** Microseconds of CPU time that a rail may cost at a power-on, without and with a state file on a tmpfs. */
const LIMIT_US = { alone: 100, stateFile: 300 };
/** The largest board that is promised, and a small one beside it: what a rail costs is the same on both. */
const RAILS = [8, 256];
/** Enough work that the clock of the CPU time, of microseconds, does not count. */
const RAILS_A_FIGURE = 512;

/** Every rail needs the one before it, so that each of them is an event of its own. */
function boardOf(rails: number): Board {
  const { board, problems } = checkBoard({
    name: 'growth',
    chassis: {
      0: {
        rails: Object.fromEntries(
          Array.from({ length: rails }, (_, index) => [
            `P${index}`,
            {
              enable: { name: `enable-${index}` },
              good: { name: `good-${index}` },
              onTimeoutMs: 500,
              offTimeoutMs: 500,
              ...(index > 0 && { needs: [`P${index - 1}`] }),
            },
          ]),
        ),
        pgood: { name: 'pgood', onTimeoutMs: 10_000, offTimeoutMs: 10_000, deglitchMs: 0 },
        minOffMs: 0,
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

/** Lines that cost nothing, of rails that are good at once. */
function idealGpio(rails: number): GpioBackend {
  const high = new Set<string>();
  const watchers = new Map<string, Set<() => void>>();
  const set = (name: string, level: number): void => {
    if (high.has(name) === (level === 1)) return;
    if (level === 1) high.add(name);
    else high.delete(name);
    for (const wake of watchers.get(name) ?? []) setImmediate(wake);
  };
  let up = 0;
  const nameOf = (line: LineRef): string => ('name' in line ? line.name : `${line.chip} ${line.line}`);
  const read = (name: string) => async () => (high.has(name) ? 1 : 0);
  return {
    locate: async (lines) =>
      lines.map((line, offset) => ({ chip: 'ideal', offset, key: nameOf(line), takenBy: null })),
    async openOutput(line): Promise<OutputLine> {
      const name = nameOf(line);
      return {
        read: read(name),
        async write(level) {
          if (high.has(name) !== (level === 1)) up += level === 1 ? 1 : -1;
          set(name, level);
          set(name.replace('enable', 'good'), level);
          set('pgood', up === rails ? 1 : 0);
        },
        close: async () => undefined,
      };
    },
    async openInput(line) {
      const name = nameOf(line);
      return {
        read: read(name),
        onEdge(wake) {
          const all = watchers.get(name) ?? new Set();
          watchers.set(name, all.add(wake));
          setImmediate(wake);
          return () => all.delete(wake);
        },
        close: async () => undefined,
      };
    },
    release: async () => undefined,
  };
}

const FORGETFUL: SnapshotStore = { load: () => ({ hint: null, warning: null }), save: () => null };

/** Microseconds of CPU time a rail, of power-ons from the opening of the lines to pgood. */
async function costOf(rails: number, dir: string | null): Promise<number> {
  const board = boardOf(rails);
  const chassis = board.chassis[0];
  if (!chassis) throw new RangeError('no chassis 0');
  const plan = planOf(chassis, board.devices);
  const clock = createSystemClock();
  const gpio = idealGpio(rails);
  const store =
    dir === null
      ? FORGETFUL
      : createSnapshotFile(dir, 0, { bootId: 'bench', boardHash: 'bench', plan, clock });
  const carryOut = async (job: (typeof JOBS)['on' | 'off']): Promise<void> => {
    const ports = { clock, gpio: async () => gpio, i2c: () => Promise.reject(new Error('there is no bus')) };
    const hardware = await openChassis(board, 0, ports);
    const { state } = await runSequence(job, { plan, hardware, clock, store, record: () => undefined });
    await hardware.close();
    if (!job.until.some((each) => each === state)) throw new Error(`it ended in ${state}`);
  };
  const rounds = Math.max(1, Math.round(RAILS_A_FIGURE / rails));
  let microseconds = 0;
  for (let round = 0; round < rounds; round += 1) {
    const before = process.cpuUsage();
    await carryOut(JOBS.on);
    const { user, system } = process.cpuUsage(before);
    microseconds += user + system;
    await carryOut(JOBS.off);
  }
  return microseconds / (rounds * rails);
}

/** What a rail costs above the fixed price of a start, by the number of rails. */
export async function growthRows(samples: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [folder, beside, limit] of [
    [null, '', LIMIT_US.alone],
    [dir, ', with the state file on a tmpfs', LIMIT_US.stateFile],
  ] as const) {
    for (const rails of RAILS) {
      const figures: number[] = [];
      // What V8 has not compiled yet is the price of a start.
      await costOf(rails, folder);
      for (let sample = 0; sample < samples; sample += 1) figures.push(await costOf(rails, folder));
      rows.push({ what: `a power-on, µs a rail of ${rails}${beside}`, limit, figures });
    }
  }
  return rows;
}
