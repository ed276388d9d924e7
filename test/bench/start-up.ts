/**
 * What a start costs: CPU time (user and system, of the process and its children) of what does nothing, in pairs with
 * `node -e 0` on the same release of Node, and of a stage that hands its work over, in pairs with the `busctl call` in it. Ratios of
 * pairs hold on a machine that has other work; how far they scatter is measured beside them, with `node -e 0` for both.
 */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorText } from '../../hw/errors.ts';

/** A release of Node to be measured: its program, or why there is none. */
interface Release {
  readonly major: number;
  readonly node: string | null;
  /** Folder of its native addons, as the program has it beside itself. */
  readonly addons: string | null;
  readonly why: string;
}

const [root = '', releasesText = '[]', pairsText = '15', inside = ''] = process.argv.slice(2);
const RELEASES = JSON.parse(releasesText) as readonly Release[];
const PAIRS = Number(pairsText);
const RUN_MS = 60_000;
const LINES = 14;
const GPIO = '/sys/class/gpio';
const BASE = 512;

/** At most so many times the yardstick. Of `node -e 0` in releases before 22, which itself is faster, a little more. */
const LIMIT = { nothing: 1.5, nothingOn20: 1.8, look: 1.3, stages: 1.3 };

interface Row {
  readonly what: string;
  /** Null for the noise, which nobody promised. */
  readonly limit: number | null;
  /** Why there is no figure. */
  readonly why?: string;
  readonly ratios?: readonly number[];
  readonly ms?: number;
}

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

const median = (values: readonly number[]): number =>
  [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;

function measured(what: string, limit: number | null, run: () => number, yardstick: () => number): Row {
  try {
    // What the first run leaves for the next ones is not what a start costs.
    for (let round = 0; round < 3; round += 1) run();
    const pairs = Array.from({ length: PAIRS }, () => [run(), yardstick()] as const);
    return { what, limit, ms: median(pairs.map(([ms]) => ms)), ratios: pairs.map(([ms, own]) => ms / own) };
  } catch (error) {
    return { what, limit, why: errorText(error) };
  }
}

/** Files as the kernel has them for lines that are exported, of a chassis that is on. */
function linesScript(): string {
  const file = (path: string, text: string | number) => `mkdir -p $(dirname ${path}); echo ${text} > ${path}`;
  const chip = Object.entries({ label: 'soc', base: BASE, ngpio: 64 }).map(([name, text]) =>
    file(`${GPIO}/gpiochip${BASE}/${name}`, text),
  );
  const lines = Array.from({ length: LINES }, (_, line) => {
    const direction = line % 2 === 0 && line !== LINES - 2 ? 'out' : 'in';
    return Object.entries({ value: 1, direction, active_low: 0 }).map(([name, text]) =>
      file(`${GPIO}/gpio${BASE + line}/${name}`, text),
    );
  });
  const mounts = ['mount --make-rprivate /', 'mount -t tmpfs none /sys/class', 'mount -t tmpfs none /run'];
  return ['set -e', ...mounts, ...chip, ...lines.flat(), 'exec "$@"'].join('\n');
}

function boardText(): string {
  const rail = (number: number) => ({
    enable: { chip: 'soc', line: 2 * number },
    good: { chip: 'soc', line: 2 * number + 1 },
  });
  const rails = Object.fromEntries(
    Array.from({ length: LINES / 2 - 1 }, (_, number) => [`P${number}`, rail(number)]),
  );
  const resets = { host: { chip: 'soc', line: LINES - 1, active: 'low' } };
  return JSON.stringify({
    name: 'bench',
    devices: {},
    chassis: { 0: { rails, pgood: { chip: 'soc', line: LINES - 2 }, resets } },
  });
}

/** The rows of one release, in a mount namespace with those lines. */
function verbRows({ major, node, addons, why }: Release): Row[] {
  const nothing = major < 22 ? LIMIT.nothingOn20 : LIMIT.nothing;
  const verbs: readonly (readonly [string, number | null])[] = [
    ['-e 0', null],
    ['start', nothing],
    ['wait-on', nothing],
    ['status', nothing],
    ['check', LIMIT.look],
    ['--help', LIMIT.look],
  ];
  const name = (verb: string) =>
    verb === '-e 0' ? `Node ${major}: node -e 0 against itself` : `Node ${major}: ${verb} with nothing to do`;
  if (node === null || addons === null)
    return verbs.map(([verb, limit]) => ({ what: name(verb), limit, why }));
  const dir = mkdtempSync(join(tmpdir(), 'chassis-power-bench-'));
  try {
    cpSync(join(root, 'dist', 'chassis-power'), join(dir, 'program'), { recursive: true });
    cpSync(addons, join(dir, 'program', 'native', addons.split('/').at(-1) ?? ''), { recursive: true });
    spawnSync(node, [join(dir, 'program', 'code-cache.cjs')], { timeout: RUN_MS });
    writeFileSync(join(dir, 'board.json'), boardText());
    const idle = () => cpuMs([node, '-e', '0']);
    return verbs.map(([verb, limit]) => {
      const args = verb.startsWith('-') ? verb.split(' ') : [verb, '--board', join(dir, 'board.json')];
      const program = verb === '-e 0' ? [] : [join(dir, 'program', 'chassis-power.cjs')];
      return measured(name(verb), limit, () => cpuMs([node, ...program, ...args]), idle);
    });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The shell of a stage with the question whether the service answers, around a call that any bus answers. */
async function stageRow(): Promise<Row> {
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

/** Of items that have limits, and that this command does not measure. */
const LEFT: readonly Row[] = [
  'start target through resident stages on the emulated BMC (1.3)',
  'call to enable pin on the emulated BMC (1.5)',
  'resident memory of the service with 1 chassis (1.25) and with 12 (1.35)',
  'twelve chassis that lose pgood in one moment (4)',
  'wake-ups of the idle service (2 and 110 a second)',
  'overhead a rail (100 µs), with the state file on tmpfs (300 µs)',
].map((what) => ({ what, limit: null, why: 'npm run bench -- --check has no measurement of it yet' }));

function table(rows: readonly Row[]): string {
  const cells = rows.map(({ what, limit, why, ratios, ms }) => {
    const promised = limit === null ? '' : String(limit);
    if (ratios === undefined || ms === undefined) return [what, '', '', '', promised, `not measured: ${why}`];
    const sorted = [...ratios].sort((one, other) => one - other);
    const at = (part: number) => (sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN).toFixed(2);
    const said = limit === null ? '' : median(ratios) <= limit ? 'kept' : 'MISSED';
    return [what, ms.toFixed(1), median(ratios).toFixed(2), `${at(0.25)} to ${at(0.75)}`, promised, said];
  });
  const head = ['what', 'CPU ms, median', 'ratio, median', 'middle half', 'limit', ''];
  const line = (words: readonly string[]) =>
    `| ${words.map((word) => word.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |\n`;
  return line(head) + line(head.map(() => '---')) + cells.map(line).join('');
}

function page(rows: readonly Row[]): string {
  const [cpu] = cpus();
  return `# Performance

Written by \`npm run bench -- --check\`, not by hand. CPU time of whole processes with their children, ${PAIRS} pairs in turn with the
yardstick (\`node -e 0\` of the same Node, or the \`busctl call\`), on ${cpus().length} cores of ${cpu?.model ?? 'an unknown processor'}, which may have had other work.
The lines are files (${LINES} of them), the chassis is on, NODE_EXTRA_CA_CERTS is not set. The scatter of \`node -e 0\` against itself is the noise.

${table(rows)}`;
}

if (inside !== '') {
  process.stdout.write(JSON.stringify(RELEASES.flatMap(verbRows)));
} else {
  const child = spawnSync(
    'unshare',
    [
      '--mount',
      '/bin/sh',
      '-c',
      linesScript(),
      'sh',
      process.execPath,
      ...process.argv.slice(1, 5),
      'inside',
    ],
    { encoding: 'utf8', timeout: 3_600_000, maxBuffer: 2 ** 26, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const why = `no mount namespace of its own with lines: ${child.stderr?.trim() || child.error?.message}`;
  const verbs: Row[] =
    child.status === 0
      ? JSON.parse(child.stdout)
      : RELEASES.flatMap((release) => verbRows({ ...release, node: null, why }));
  const rows = [...verbs, await stageRow(), ...LEFT];
  const path = join(root, 'docs', 'performance.md');
  writeFileSync(path, page(rows));
  process.stdout.write(`${table(rows)}\nwritten: ${existsSync(path) ? path : 'nothing'}\n`);
  // What was promised and not measured was not kept either.
  const isKept = ({ limit, ratios }: Row) =>
    limit === null || (ratios !== undefined && median(ratios) <= limit);
  if (!rows.every(isKept)) process.exitCode = 1;
}
