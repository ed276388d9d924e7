/**
 * Boots a real systemd as PID 1 of private namespaces, with its own journal and its own system bus.
 *
 * What a test does in there stays in there: files land in a tmpfs, `/sys` and `/proc/sys` are read-only,
 * `/dev` has no hardware, the network is a loopback of its own. Nothing outlives the process that booted
 * it: the kernel kills the sandbox when that process dies, whatever it dies of.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** Where the sandbox shows the checkout, read-only. */
export const SANDBOX_CHECKOUT = '/opt/chassis-power';
/** The node binary that runs the tests, as the sandbox shows it. */
export const SANDBOX_NODE = '/opt/node/bin/node';

const CHECKOUT = fileURLToPath(new URL('../../', import.meta.url));
const SANDBOX_SCRIPT = fileURLToPath(new URL('./sandbox.sh', import.meta.url));
const APT = fileURLToPath(new URL('../../deploy/apt.mjs', import.meta.url));
const SYSTEMD_BINARIES = ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'];
const SANDBOX_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

const BOOT_TIMEOUT_MS = 60_000;
const EXEC_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
/** So long a hook of this tier may take. */
const APT_TIMEOUT_MS = 300_000;
/** The sandbox is killed after this time even when the test process hangs and never stops it. */
const LIFETIME_MS = 20 * 60_000;
const POLL_MS = 20;
const OUTPUT_LIMIT = 4 * 1024 * 1024;

/** Where the kernel shows the root folder of a process (proc(5)). */
export const rootOf = (pid: number): string => join('/proc', String(pid), 'root');

export interface ExecResult {
  /** Exit status; 128 + n when signal n ended the command. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ExecOptions {
  /** Rejects, with what was printed so far, when the command takes longer. Default 30 s. */
  readonly timeoutMs?: number;
  /** Given to the command on standard input; nothing by default. */
  readonly input?: string;
}

/** One line of the sandbox's journal, fields as `journalctl -o json` names them. */
export type JournalEntry = Readonly<Record<string, unknown>>;

export interface BootOptions {
  /** Files written before systemd's configuration is read for good (a `daemon-reexec` follows). */
  readonly files?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

export interface SystemdSandbox {
  /** PID 1 of the sandbox as the host numbers it. */
  readonly pid: number;
  /**
   * Runs a command in the sandbox, `/` as working directory, and resolves whatever its exit status.
   * A string goes through `/bin/sh -c`. Rejects when it takes longer than `timeoutMs` (the command is killed
   * then; what it started in turn ends with the sandbox) or when the sandbox is gone.
   */
  exec(command: readonly string[] | string, options?: ExecOptions): Promise<ExecResult>;
  /** Like `exec`; rejects, with all that was printed, when the exit status is not 0. Resolves to stdout. */
  run(command: readonly string[] | string, options?: ExecOptions): Promise<string>;
  /** `systemctl` with these arguments. It blocks until the jobs it queued have ended. */
  systemctl(...args: string[]): Promise<ExecResult>;
  /** Properties of a unit by name. A timestamp comes as systemd prints it: microseconds, `0` for never. */
  showUnit<Name extends string>(unit: string, properties: readonly Name[]): Promise<Record<Name, string>>;
  /** Journal of this boot, oldest first; of one unit when it is named. */
  journal(unit?: string): Promise<JournalEntry[]>;
  /** Resolves when systemd's queue of jobs is empty; rejects, naming what is left, after `timeoutMs`. */
  waitForJobs(timeoutMs?: number): Promise<void>;
  /** Writes a file, its folders included. `mode` is octal text, default `0644`. */
  writeFile(path: string, text: string, mode?: string): Promise<void>;
  readFile(path: string): Promise<string>;
  /** Kills everything in the sandbox and resolves when nothing of it is left. Twice is once. */
  stop(): Promise<void>;
}

/**
 * Why a sandbox cannot be booted here, or null when it can. Changes nothing; a package that is missing
 * but that `bootSystemd` can install is no reason.
 */
export function systemdUnavailableReason(): string | null {
  if (process.platform !== 'linux') return `needs Linux, this is ${process.platform}`;
  if (process.getuid?.() !== 0) return 'needs root';
  if (missingPackages().length > 0) {
    if (!existsSync('/etc/debian_version')) {
      return `needs ${missingPackages().join(', ')}, which only Debian is known to install`;
    }
    return null;
  }
  const probe = spawnSync(
    'unshare',
    [
      ...['--mount', '--pid', '--fork', '--cgroup', '--uts', '--ipc', '--net', '--kill-child'],
      ...['/bin/sh', '-c'],
      'mount --make-rprivate / && mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w /mnt/r' +
        ' && mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w o /mnt/r' +
        ' && mount -t cgroup2 c /mnt/u',
    ],
    { encoding: 'utf8', timeout: 10_000, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  if (probe.status === 0) return null;
  const said =
    (probe.stderr ?? '').trim().split('\n').at(-1) || String(probe.error ?? `exit ${probe.status}`);
  return `needs private namespaces with an overlay and cgroup2 mount: ${said}`;
}

function missingPackages(): string[] {
  const missing: string[] = [];
  if (!SYSTEMD_BINARIES.some((path) => existsSync(path))) missing.push('systemd');
  if (!existsSync('/usr/bin/dbus-daemon')) missing.push('dbus');
  if (!['/usr/bin/unshare', '/usr/bin/nsenter', '/usr/bin/setpriv'].every((path) => existsSync(path))) {
    missing.push('util-linux');
  }
  return missing;
}

function installMissingPackages(): void {
  const missing = missingPackages();
  if (missing.length === 0) return;
  const result = spawnSync(process.execPath, [APT, ...missing], {
    encoding: 'utf8',
    timeout: APT_TIMEOUT_MS,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (result.status !== 0) {
    throw new Error(`${missing.join(', ')} could not be installed: ${result.stderr || result.error}`);
  }
}

/**
 * Boots a sandbox and resolves when it is up. Installs systemd, dbus and util-linux where Debian lacks
 * them. Rejects with what the boot printed when it fails or takes longer than `timeoutMs` (default 60 s),
 * and leaves nothing behind then.
 */
export async function bootSystemd(options: BootOptions = {}): Promise<SystemdSandbox> {
  const reason = systemdUnavailableReason();
  if (reason !== null) throw new Error(`cannot boot systemd: ${reason}`);
  installMissingPackages();
  const systemd = SYSTEMD_BINARIES.find((path) => existsSync(path));
  if (systemd === undefined) throw new Error('cannot boot systemd: its package brought no systemd binary');

  const id = `chassis-power-rig-${randomBytes(6).toString('hex')}`;
  // Each of the three links of this chain dies with the one before it, and the sandbox with the last:
  // a test process that is killed leaves nothing, one that hangs leaves nothing after LIFETIME_MS.
  const launcher = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', 'timeout', '--signal=KILL', String(LIFETIME_MS / 1000)],
      ...['setpriv', '--pdeathsig', 'KILL'],
      ...['unshare', '--mount', '--pid', '--fork', '--uts', '--ipc', '--net', '--kill-child=KILL'],
      ...['/bin/sh', SANDBOX_SCRIPT],
    ],
    {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: SANDBOX_PATH,
        RIG_ID: id,
        RIG_CHECKOUT: CHECKOUT,
        RIG_NODE: process.execPath,
        RIG_SYSTEMD: systemd,
      },
    },
  );
  const sandbox = new Sandbox(launcher, id);
  try {
    await sandbox.waitForBoot(options.timeoutMs ?? BOOT_TIMEOUT_MS);
    const files = Object.entries(options.files ?? {});
    for (const [path, text] of files) await sandbox.writeFile(path, text);
    if (files.length > 0) await sandbox.run(['systemctl', 'daemon-reexec']);
    return sandbox;
  } catch (error) {
    await sandbox.stop();
    throw error;
  }
}

class Sandbox implements SystemdSandbox {
  pid = 0;
  private readonly launcher: ChildProcess;
  private readonly id: string;
  private readonly ended: Promise<void>;
  private isEnded = false;
  private output = '';
  private stopping: Promise<void> | undefined;
  private readonly killAtExit = () => this.kill();

  constructor(launcher: ChildProcess, id: string) {
    this.launcher = launcher;
    this.id = id;
    const keep = (chunk: Buffer) => {
      this.output = (this.output + chunk.toString()).slice(-64 * 1024);
    };
    launcher.stdout?.on('data', keep);
    launcher.stderr?.on('data', keep);
    this.ended = new Promise((resolve) => {
      const end = () => {
        this.isEnded = true;
        resolve();
      };
      launcher.once('close', end);
      launcher.once('error', (error) => {
        this.output += error.message;
        end();
      });
    });
    process.once('exit', this.killAtExit);
  }

  async waitForBoot(timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    let state = 'not started';
    while (Date.now() < deadline) {
      if (this.isEnded) throw new Error(`the sandbox ended while it booted:\n${this.output}`);
      if (this.pid === 0) this.pid = this.findInit() ?? 0;
      if (this.pid !== 0) {
        const left = Math.max(1, deadline - Date.now());
        const answer = await this.exec(['systemctl', 'is-system-running', '--wait'], { timeoutMs: left });
        state = answer.stdout.trim() || answer.stderr.trim();
        if (state === 'running') return;
        if (state === 'degraded') {
          const failed = await this.exec(['systemctl', '--failed', '--no-legend', '--plain']);
          throw new Error(`the sandbox booted with failed units:\n${failed.stdout}`);
        }
      }
      await delay(POLL_MS);
    }
    throw new Error(`the sandbox did not boot within ${timeoutMs} ms (${state}):\n${this.output}`);
  }

  /**
   * PID 1 of the sandbox, once it has entered its own root: before that a command sent there would run
   * on the host's files.
   */
  private findInit(): number | undefined {
    for (const pid of descendants(this.launcher.pid)) {
      try {
        if (readFileSync(join(rootOf(pid), 'etc', 'chassis-power-rig'), 'utf8').trim() === this.id)
          return pid;
      } catch {
        // Another link of the chain, or not that far yet.
      }
    }
    return undefined;
  }

  exec(command: readonly string[] | string, options: ExecOptions = {}): Promise<ExecResult> {
    const argv = typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
    const timeoutMs = options.timeoutMs ?? EXEC_TIMEOUT_MS;
    if (this.pid === 0 || this.isEnded || this.stopping !== undefined) {
      return Promise.reject(new Error(`the sandbox is not running; cannot run ${argv.join(' ')}`));
    }
    return new Promise((resolve, reject) => {
      // Root and working directory are given both: without -w a relative path would be the host's.
      const child = spawn(
        'nsenter',
        [
          ...['-t', String(this.pid), '-a', '-r', '-w', '--', 'setpriv', '--pdeathsig', 'KILL'],
          ...['env', '-i', `PATH=${SANDBOX_PATH}`, 'LANG=C.UTF-8', 'SYSTEMD_PAGER=cat', 'SYSTEMD_COLORS=0'],
          ...argv,
        ],
        { stdio: ['pipe', 'pipe', 'pipe'] },
      );
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout = (stdout + text).slice(-OUTPUT_LIMIT);
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr = (stderr + text).slice(-OUTPUT_LIMIT);
      });
      let timedOut = false;
      const timer = setTimeout(() => {
        timedOut = true;
        // The command dies with nsenter: pdeathsig.
        child.kill('SIGKILL');
        child.stdout.destroy();
        child.stderr.destroy();
      }, timeoutMs);
      child.once('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      child.once('close', (code, signal) => {
        clearTimeout(timer);
        if (timedOut) {
          reject(
            new Error(`${argv.join(' ')} took longer than ${timeoutMs} ms; it printed:\n${stdout}${stderr}`),
          );
        } else {
          resolve({ code: code ?? (signal === 'SIGKILL' ? 137 : 128), stdout, stderr });
        }
      });
      // A command that reads nothing may close its input first.
      child.stdin.on('error', () => undefined);
      child.stdin.end(options.input ?? '');
    });
  }

  async run(command: readonly string[] | string, options: ExecOptions = {}): Promise<string> {
    const result = await this.exec(command, options);
    if (result.code === 0) return result.stdout;
    const shown = typeof command === 'string' ? command : command.join(' ');
    throw new Error(`${shown} exited ${result.code}:\n${result.stdout}${result.stderr}`);
  }

  systemctl(...args: string[]): Promise<ExecResult> {
    return this.exec(['systemctl', ...args], { timeoutMs: 60_000 });
  }

  async showUnit<Name extends string>(
    unit: string,
    properties: readonly Name[],
  ): Promise<Record<Name, string>> {
    const text = await this.run(['systemctl', 'show', unit, `--property=${properties.join(',')}`]);
    const shown = new Map<string, string>();
    for (const line of text.split('\n')) {
      const equals = line.indexOf('=');
      if (equals > 0) shown.set(line.slice(0, equals), line.slice(equals + 1));
    }
    const missing = properties.filter((name) => !shown.has(name));
    if (missing.length > 0) throw new Error(`systemd knows no property ${missing.join(', ')} of ${unit}`);
    return Object.fromEntries(properties.map((name) => [name, shown.get(name) ?? ''])) as Record<
      Name,
      string
    >;
  }

  async journal(unit?: string): Promise<JournalEntry[]> {
    // Without --sync the last lines may still be on their way.
    await this.run(['journalctl', '--sync']);
    const filter = unit === undefined ? [] : ['--unit', unit];
    const text = await this.run(['journalctl', '--boot', '--output=json', '--all', '--no-pager', ...filter]);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as JournalEntry);
  }

  async waitForJobs(timeoutMs = EXEC_TIMEOUT_MS): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const jobs = await this.run(['systemctl', 'list-jobs', '--no-legend', '--plain']);
      if (jobs.trim() === '') return;
      if (Date.now() > deadline) throw new Error(`jobs still queued after ${timeoutMs} ms:\n${jobs}`);
      await delay(POLL_MS);
    }
  }

  async writeFile(path: string, text: string, mode = '0644'): Promise<void> {
    await this.run(
      ['/bin/sh', '-c', 'mkdir -p "$(dirname "$0")" && cat >"$0" && chmod "$1" "$0"', path, mode],
      { input: text },
    );
  }

  readFile(path: string): Promise<string> {
    return this.run(['cat', '--', path]);
  }

  stop(): Promise<void> {
    this.stopping ??= this.stopOnce();
    return this.stopping;
  }

  private async stopOnce(): Promise<void> {
    this.kill();
    const timeout = new AbortController();
    const late = delay(STOP_TIMEOUT_MS, 'late', { signal: timeout.signal, ref: false }).catch(
      () => undefined,
    );
    const outcome = await Promise.race([this.ended, late]);
    timeout.abort();
    process.removeListener('exit', this.killAtExit);
    if (outcome === 'late') {
      throw new Error(`the sandbox (pid ${this.pid}) was killed but has not ended in ${STOP_TIMEOUT_MS} ms`);
    }
    removeCgroup(this.id);
  }

  private kill(): void {
    if (this.isEnded) return;
    // PID 1 takes its whole pid namespace with it, and the launcher ends when that is done. Before there
    // is one, killing the launcher takes the script along.
    const init = this.findInit();
    if (init === undefined) this.launcher.kill('SIGKILL');
    else killQuietly(init);
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Ended already.
  }
}

/** All processes below `pid`, nearest first. */
function descendants(pid: number | undefined): number[] {
  if (pid === undefined) return [];
  const found: number[] = [];
  const next = [pid];
  for (let parent = next.shift(); parent !== undefined; parent = next.shift()) {
    try {
      for (const task of readdirSync(`/proc/${parent}/task`)) {
        const text = readFileSync(`/proc/${parent}/task/${task}/children`, 'utf8');
        const children = text.split(' ').filter((entry) => entry !== '');
        found.push(...children.map(Number));
        next.push(...children.map(Number));
      }
    } catch {
      // Ended while we looked.
    }
  }
  return found;
}

/** Takes away the empty cgroups that a dead sandbox leaves, in a mount of our own: the host may have none. */
function removeCgroup(id: string): void {
  spawnSync(
    'unshare',
    [
      ...['--mount', '/bin/sh', '-c'],
      'mount -t tmpfs t /mnt && mkdir /mnt/c && mount -t cgroup2 c /mnt/c' +
        ' && find "/mnt/c$(sed -n "s/^0:://p" /proc/self/cgroup)/$0" -depth -type d -exec rmdir {} +',
      id,
    ],
    { timeout: 10_000, stdio: 'ignore' },
  );
}
