import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorText } from '../../hw/errors.ts';
import { linesBoard } from './lines.ts';
import { root } from './rig.ts';
import { median, type Row } from './rows.ts';

/** A release of Node to be measured: its program, or why there is none. */
export interface Release {
  readonly major: number;
  readonly node: string | null;
  /** Folder of its native addons, as the program has it beside itself. */
  readonly addons: string | null;
  readonly why: string;
}

const RUN_MS = 60_000;

/** At most so many times the yardstick. Of `node -e 0` in releases before 22, which itself is faster, a little more. */
const LIMIT = { nothing: 1.5, nothingOn20: 1.8, look: 1.3, stages: 1.3 };

/** CPU time in milliseconds. Throws where the command does not end with 0. */
function cpuMs(command: readonly string[], env: Record<string, string> = {}): number {
  const { status, stdout, stderr } = spawnSync(
    'bash',
    ['-c', 'TIMEFORMAT=\'%3U %3S\'; exec 3>&2; { time "$@" >/dev/null 2>&3; } 2>&1', 'bash', ...command],
    { encoding: 'utf8', timeout: RUN_MS, env: { PATH: process.env.PATH ?? '', ...env } },
  );
  const [user = Number.NaN, system = Number.NaN] = stdout.trim().split(' ').map(Number);
  if (status !== 0 || Number.isNaN(user + system))
    throw new Error(`${command.join(' ')}: ${stderr || status}`);
  return 1000 * (user + system);
}

function measured(
  what: string,
  limit: number | null,
  count: number,
  run: () => number,
  yardstick: () => number,
): Row {
  try {
    // What the first run leaves for the next ones is not what a start costs.
    for (let round = 0; round < 3; round += 1) run();
    const pairs = Array.from({ length: count }, () => [run(), yardstick()] as const);
    const beside = `${median(pairs.map(([ms]) => ms)).toFixed(1)} ms`;
    return { what, limit, beside, figures: pairs.map(([ms, own]) => ms / own) };
  } catch (error) {
    return { what, limit, why: errorText(error) };
  }
}

/** Runs with the program as it is installed for a release of Node, or tells why there is none. */
export async function withProgram<T>(
  { node, addons, why }: Release,
  run: (node: string, program: string) => Promise<T>,
): Promise<T> {
  if (node === null || addons === null) throw new Error(why);
  const dir = mkdtempSync(join(tmpdir(), 'chassis-power-bench-'));
  try {
    cpSync(join(root, 'dist', 'chassis-power'), dir, { recursive: true });
    cpSync(addons, join(dir, 'native', addons.split('/').at(-1) ?? ''), { recursive: true });
    spawnSync(node, [join(dir, 'code-cache.cjs')], { timeout: RUN_MS });
    return await run(node, join(dir, 'chassis-power.cjs'));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * What a start of a release costs, in pairs with `node -e 0` of the same one: ratios of pairs hold on a machine that has other
 * work. How far they scatter is measured beside them, with `node -e 0` for both.
 */
export async function startUpRows(release: Release, pairs: number): Promise<Row[]> {
  const { major } = release;
  const nothing = major < 22 ? LIMIT.nothingOn20 : LIMIT.nothing;
  const name = (what: string) => `Node ${major}: ${what}`;
  const verbs: readonly (readonly [string, number])[] = [
    ['start', nothing],
    ['wait-on', nothing],
    ['status', nothing],
    ['check', LIMIT.look],
    ['--help', LIMIT.look],
  ];
  const nameOf = (verb: string) => name(`${verb} with nothing to do`);
  const noise = name('node -e 0 against itself');
  try {
    return await withProgram(release, async (node, program) => {
      const idle = () => cpuMs([node, '-e', '0']);
      return [
        measured(noise, null, pairs, idle, idle),
        ...verbs.map(([verb, limit]) => {
          const options = verb.startsWith('-') ? [] : ['--board', linesBoard(1)];
          return measured(nameOf(verb), limit, pairs, () => cpuMs([node, program, verb, ...options]), idle);
        }),
      ];
    });
  } catch (error) {
    const why = errorText(error);
    return [
      { what: noise, limit: null, why },
      ...verbs.map(([verb, limit]) => ({ what: nameOf(verb), limit, why })),
    ];
  }
}

/** What a stage costs that hands its work over, in pairs with the `busctl call` in it: the shell of a stage with the question whether the service answers, around a call that any bus answers. */
export async function stageRow(pairs: number): Promise<Row> {
  const what = 'a stage that hands its work over, against its busctl call';
  const dir = mkdtempSync(join(tmpdir(), 'chassis-power-bench-'));
  const bus = spawn('dbus-daemon', ['--session', '--nofork', '--print-address=1'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const address = await new Promise<string>((resolve, reject) => {
      bus.once('error', reject);
      bus.once('exit', () => reject(new Error('dbus-daemon ended')));
      bus.stdout.once('data', (data) => resolve(String(data).trim()));
    });
    const env = { DBUS_SYSTEM_BUS_ADDRESS: address };
    const unit = readFileSync(join(root, 'systemd', 'resident', 'op-power-start@.service.conf'), 'utf8');
    const answers = join(dir, 'answers');
    writeFileSync(answers, `${process.pid}\n`);
    const call = 'busctl --quiet --timeout=225 call org.freedesktop.DBus / org.freedesktop.DBus GetId';
    const shell = /'(if .*?)'$/ms
      .exec(unit)?.[1]
      ?.replaceAll('\\\n', '')
      .replace('/run/chassis-power/answers', answers)
      .replace(/exec busctl .*?;/, `exec ${call};`)
      .replace(/exec \/usr.*?;/, 'exit 1;');
    if (shell === undefined || !shell.includes(answers)) throw new Error('the unit asks in another way');
    return measured(
      what,
      LIMIT.stages,
      pairs,
      () => cpuMs(['/bin/sh', '-c', shell], env),
      () => cpuMs(call.split(' '), env),
    );
  } catch (error) {
    return { what, limit: LIMIT.stages, why: errorText(error) };
  } finally {
    bus.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
}
