/**
 * The emulated BMC: boots it, runs commands in it, talks to QEMU about it.
 *
 * What was found in the guest (ast2600-evb, Debian's 6.1 kernel), and tests may count on:
 * - Labels in /sys/class/gpio/gpiochip<base>/label: `1e780000.gpio` with 208 lines (A0 to Z7 are letter * 8 + number) and
 *   `1e780800.gpio` with 36. The board's device tree names no lines; Rainier's does
 *   (`power-chassis-control` is 137, `power-chassis-good` 138): gpiochip<base>/device/of_node/gpio-line-names has them,
 *   separated by NUL. An exported line is called gpio<number> there too.
 * - A line right after its first export: direction `in`, value 0 (or what the rig put on it). Pins that another
 *   controller owns cannot be exported (EINVAL): A0 to A7, B4, B5, H4 to H7, J0 to L3, S0, S1, V0
 *   and V2 (MDIO, I2C, eMMC and its regulators).
 * - A level that was set through sysfs stays when the process ends, also after unexport.
 * - QEMU drops a level written while the line is still an input. The kernel writes the level first and the direction
 *   second, so `echo high >direction` on a fresh line gives an output that is LOW, until a level is written again, to it
 *   or to any line of the same four ports (the chip itself keeps it). A line that has level 1 as an input, by a pull or by the rig, does become a high output.
 * - The guest's clock runs about 11 % slow. What is measured in the guest (uptime, timestamps of systemd and of the
 *   journal, `performance.now()` of a program) orders events, and is no real time. Durations that matter are taken outside,
 *   as `plant.history` does.
 * - I2C adapters in /sys/class/i2c-dev/i2c-<n>/name: `1e78a080.i2c-bus` (0) to `1e78a800.i2c-bus` (15), without 10 and 11.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, createReadStream, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { connectAgent, GuestError, type GuestProcess, shorten } from './command.ts';
import { consoleFailure } from './console.ts';
import { type BmcImage, prepareImage } from './image.ts';
import { connectQmp, type Qmp } from './qmp.ts';
import { type Progress, progress } from './subprocess.ts';

/** A board that QEMU can be: its machine name, its device tree in the kernel package, and the NIC to use. */
export interface BmcMachine {
  machine: string;
  deviceTree: string;
  /** Which of the board's NICs is connected to the host, counted from 0 … */
  nicIndex: number;
  /** … and the address of that NIC's controller, by which the guest finds it. */
  nicAddress: string;
}

export const AST2600_EVB: BmcMachine = {
  machine: 'ast2600-evb',
  deviceTree: 'aspeed-ast2600-evb.dtb',
  nicIndex: 0,
  nicAddress: '1e660000',
};

/** An IBM board with the same chip, whose device tree names its GPIO lines. */
export const RAINIER_BMC: BmcMachine = {
  machine: 'rainier-bmc',
  deviceTree: 'aspeed-bmc-ibm-rainier.dtb',
  nicIndex: 2,
  nicAddress: '1e670000',
};

/**
 * PMBus devices of the default board. What they do was found out by trying it in the guest with i2ctransfer, under QEMU
 * 7.2:
 *
 * | | vr0, isl69260, bus 3, 0x60 | psm0, max34451, bus 5, 0x74 |
 * | --- | --- | --- |
 * | PAGE (0x00) | 2 pages, 0 and 1; any other value is taken, and then all reads give 0xff | 21 pages; 0 to 15 have a voltage, 16 to 20 a temperature; 0xff reads as page 0 |
 * | VOUT_MODE (0x20) | 0x40: direct | 0x40: direct |
 * | READ_VOUT (0x8b) | millivolts (m 1, b 0, R 3), low byte first; 1000 after reset | the same; 0 after reset, 0xffff on pages above 15 |
 * | STATUS_WORD (0x79) | 0 after reset | 0 after reset |
 * | OPERATION (0x01) | 0x80 after reset, reads back as written; off makes READ_VOUT 0 at once, on makes it 250 (VOUT_MARGIN_LOW), whatever it was, and VOUT bits in STATUS_WORD may follow | 0x80 after reset, reads back as written, does not bring up a voltage of 0 |
 * | over QMP | `vout[0]`, `vout[1]` in millivolts, and iout, iin, vin, pout, pin, temp1 … temp3; not OPERATION itself | `vout[0]` … `vout[15]`, `temperature[0]` … `[4]` |
 *
 * hsc0 is an adm1272 on bus 4 at 0x10, in its 100 V range (m 4062, b 0, R -2). Limits are 0 after reset, so that the first read
 * of any voltage or current latches a fault; CLEAR_FAULTS does nothing, and the status registers can be written.
 *
 * Fault bits come from limits that the guest writes: with VOUT_UV_FAULT_LIMIT (0x44) above the voltage STATUS_WORD gets
 * 0x80 in its high byte and STATUS_VOUT (0x7a) 0x10, which CLEAR_FAULTS (0x03) does not
 * clear while the voltage is below.
 * A command the device does not know reads 0xff, sets 0x02 in STATUS_WORD and 0x80 in STATUS_CML (0x7e).
 * A read that takes fewer bytes than the register has leaves the rest in front of the next read: `i2cget … b` on a word
 * spoils what follows. An address with nothing on it answers ENXIO.
 */
export const DEFAULT_DEVICES: readonly string[] = [
  'isl69260,bus=aspeed.i2c.bus.3,address=0x60,id=vr0',
  'max34451,bus=aspeed.i2c.bus.5,address=0x74,id=psm0',
  'adm1272,bus=aspeed.i2c.bus.4,address=0x10,id=hsc0',
  'max7310,bus=aspeed.i2c.bus.6,address=0x18,id=exp0',
];

/** Everything another process needs to use a booted guest: plain JSON, so that vitest can hand it to its test processes. */
export interface BmcHandle {
  pid: number;
  agentPort: number;
  /** QMP serves one client per socket: `boot` is kept by the process that booted, the others are free to take. */
  qmpSockets: { boot: string; test: string; plant: string };
  /** QEMU's socket for pins that its object model does not show; one client at a time. */
  qtestSocket: string;
  serialLog: string;
}

/**
 * Longest time of a command that names none. A guest beside other work takes minutes for what it does in seconds alone;
 * a test is given up after 300 s, and the command that took them is to be named.
 */
export const COMMAND_LIMIT_MS = 240_000;

export interface ExecResult {
  /** The exit code, 128 + n when signal n ended the command. */
  code: number;
  stdout: string;
  stderr: string;
}

export interface ExecOptions {
  /** When it is over the command and its process group are killed, and the call rejects. Default COMMAND_LIMIT_MS. */
  timeoutMs?: number;
  stdin?: string | Uint8Array;
}

export interface Bmc {
  readonly handle: BmcHandle;
  readonly qmp: Qmp;
  /** Runs `command` with /bin/sh as root. Any exit code is an answer, not an error. */
  exec(command: string, options?: ExecOptions): Promise<ExecResult>;
  /** The same without decoding: what the command wrote, byte for byte. */
  execBytes(
    command: string,
    options?: ExecOptions,
  ): Promise<{ code: number; stdout: Buffer; stderr: Buffer }>;
  /** Like `exec`, but any exit code except 0 is an error that shows stderr. Returns stdout without its last newline. */
  sh(command: string, options?: ExecOptions): Promise<string>;
  /** Copies one file, mode included, making the folders above it. Whoever has the old file open keeps the old one. */
  copyIn(hostFile: string, guestPath: string, options?: { timeoutMs?: number }): Promise<void>;
  /** Starts `command` and returns a byte stream to its stdin and stdout. Default limit of its life: 600,000 ms. */
  spawnStream(command: string, options?: { timeoutMs?: number }): Promise<GuestProcess>;
  /** Gives every line back that anybody took by sysfs. A line that something holds otherwise stays as it is. */
  freeLines(): Promise<void>;
  /** Resets the chip and comes back when systemd has finished booting. GPIO outputs fall back to inputs meanwhile. */
  reboot(options?: { timeoutMs?: number }): Promise<void>;
  /** Ends the guest, for everyone. */
  shutdown(): Promise<void>;
  /** Lets go of the guest, which runs on. */
  close(): void;
}

/** Quotes one word for the guest's shell. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

export interface BootOptions {
  /** `-device` arguments of QEMU. Default: `DEFAULT_DEVICES`. */
  devices?: readonly string[];
  machine?: BmcMachine;
  image?: BmcImage;
  timeoutMs?: number;
}

/**
 * Boots a BMC from the cached image (made first when it is missing) and returns when systemd has finished starting.
 * The image itself is never written: the guest's changes live in a temporary overlay that ends with QEMU, and QEMU ends
 * with this process, however that ends.
 */
export async function bootBmc(options: BootOptions = {}): Promise<Bmc> {
  const image = options.image ?? (await prepareImage());
  const machine = options.machine ?? AST2600_EVB;
  const timeoutMs = options.timeoutMs ?? 400_000;
  const working = progress('bmc');
  const folder = mkdtempSync(join(tmpdir(), 'bmc-'));
  const qmpSockets = { boot: join(folder, 'boot'), test: join(folder, 'test'), plant: join(folder, 'plant') };
  const qtestSocket = join(folder, 'qtest');
  const serialLog = join(folder, 'serial.log');
  const qemuLog = join(folder, 'qemu.log');
  const log = openSync(qemuLog, 'w');
  const nics: string[] = [];
  for (let i = 0; i < machine.nicIndex; i++) nics.push('-nic', 'none');
  const qemu = spawn(
    'setpriv',
    [
      '--pdeathsig',
      'KILL',
      'qemu-system-arm',
      '-M',
      machine.machine,
      '-m',
      '1G',
      '-display',
      'none',
      '-monitor',
      'none',
      '-kernel',
      image.kernel,
      '-initrd',
      image.initramfs,
      '-dtb',
      join(image.deviceTrees, machine.deviceTree),
      // Without the blacklist aspeed_gfx holds the boot up for a minute. net.ifnames=0: udev must not rename a NIC that is up.
      '-append',
      `console=ttyS4,115200n8 rw quiet net.ifnames=0 rig.nic=${machine.nicAddress} rig.epoch=${Math.floor(Date.now() / 1000)} modprobe.blacklist=aspeed_gfx,aspeed_video`,
      '-drive',
      `file=${image.disk},if=sd,format=raw,index=2,snapshot=on`,
      ...nics,
      // Port 0: the system picks a free one, and nobody can take it in between. restrict: the guest reaches nothing else.
      '-nic',
      'user,restrict=on,hostfwd=tcp:127.0.0.1:0-10.0.2.15:7000',
      ...Object.values(qmpSockets).flatMap((path) => ['-qmp', `unix:${path},server=on,wait=off`]),
      '-qtest',
      `unix:${qtestSocket},server=on,wait=off`,
      '-qtest-log',
      '/dev/null',
      '-serial',
      `file:${serialLog}`,
      ...(options.devices ?? DEFAULT_DEVICES).flatMap((device) => ['-device', device]),
    ],
    // The overlay is a file that QEMU makes in TMPDIR and removes at once.
    { stdio: ['ignore', log, log], env: { ...process.env, TMPDIR: folder } },
  );
  closeSync(log);
  let ended: string | undefined;
  qemu.once('error', (error) => {
    ended = `cannot start it: ${error.message}`;
  });
  qemu.once('exit', (code, signal) => {
    ended ??= `it ended with ${signal ?? code}`;
  });
  const cleanUp = () => {
    qemu.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  process.once('exit', cleanUp);
  const alive = () => {
    if (ended === undefined) return;
    throw new GuestError(`QEMU is gone (${ended}). It said: ${tail(qemuLog)}`);
  };

  try {
    working.step('starting QEMU');
    const deadline = Date.now() + timeoutMs;
    const qmp = await connectQmpWhenThere(qmpSockets.boot, alive, deadline);
    const handle: BmcHandle = {
      pid: qemu.pid ?? 0,
      agentPort: await agentPort(qmp),
      qmpSockets,
      qtestSocket,
      serialLog,
    };
    working.step(`QEMU runs (pid ${handle.pid}), waiting for the guest`);
    const bmc = new RunningBmc(handle, qmp, async () => {
      process.removeListener('exit', cleanUp);
      await ending(qemu);
      cleanUp();
    });
    await bmc.waitUntilUp({ deadline, alive, working });
    return bmc;
  } catch (error) {
    const said = tail(serialLog);
    // Its connection may have been lost before its end was known.
    const why =
      ended !== undefined && !message(error).includes('QEMU is gone') ? `; QEMU is gone (${ended})` : '';
    process.removeListener('exit', cleanUp);
    cleanUp();
    throw new GuestError(
      `the BMC did not boot: ${message(error)}${why}${said && `\nIts console ends with:\n${said}`}`,
    );
  } finally {
    working.end();
  }
}

/** Why there is no guest, for the processes of the tests. */
export interface NoBmc {
  reason: string;
}

/** Uses a guest that another process booted. Rejects with the reason where there is none. */
export async function attachBmc(
  handle: BmcHandle | NoBmc,
  options: { qmpSocket?: 'test' | 'plant' } = {},
): Promise<Bmc> {
  if ('reason' in handle) throw new GuestError(handle.reason);
  const qmp = await connectQmp(handle.qmpSockets[options.qmpSocket ?? 'test']);
  return new RunningBmc(handle, qmp, async () => undefined);
}

class RunningBmc implements Bmc {
  readonly handle: BmcHandle;
  readonly qmp: Qmp;
  readonly #ended: () => Promise<void>;

  constructor(handle: BmcHandle, qmp: Qmp, ended: () => Promise<void>) {
    this.handle = handle;
    this.qmp = qmp;
    this.#ended = ended;
  }

  async exec(command: string, options: ExecOptions = {}): Promise<ExecResult> {
    const { code, stdout, stderr } = await this.execBytes(command, options);
    return { code, stdout: stdout.toString(), stderr: stderr.toString() };
  }

  async execBytes(command: string, options: ExecOptions = {}) {
    const child = await this.spawnStream(command, { timeoutMs: options.timeoutMs ?? COMMAND_LIMIT_MS });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.on('data', (data: Buffer) => stdout.push(data));
    child.on('stderr', (data: Buffer) => stderr.push(data));
    // `exited` rejects with the same error; without a listener it would end the process.
    child.on('error', () => undefined);
    child.end(options.stdin);
    try {
      const code = await child.exited;
      // The exit code is the last frame: all output is in the stream's buffer, if not out of it yet.
      if (!child.readableEnded) await once(child, 'end');
      return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) };
    } catch (error) {
      const said = Buffer.concat(stderr).toString().trim().slice(-2000);
      throw new GuestError(`${message(error)}${said && `\nIts stderr so far: ${said}`}`);
    }
  }

  async sh(command: string, options: ExecOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.exec(command, options);
    if (code !== 0) {
      throw new GuestError(
        `exit code ${code} in the guest from: ${shorten(command)}\n${(stderr || stdout).trim().slice(-2000)}`,
      );
    }
    return stdout.replace(/\n$/, '');
  }

  async copyIn(hostFile: string, guestPath: string, options: { timeoutMs?: number } = {}): Promise<void> {
    const mode = (statSync(hostFile).mode & 0o7777).toString(8);
    const [to, part] = [quote(guestPath), quote(`${guestPath}.part-${randomBytes(4).toString('hex')}`)];
    const child = await this.spawnStream(
      `mkdir -p ${quote(dirname(guestPath))} && cat >${part} && chmod ${mode} ${part} && mv -f ${part} ${to}`,
      { timeoutMs: options.timeoutMs ?? COMMAND_LIMIT_MS },
    );
    child.resume();
    await pipeline(createReadStream(hostFile), child);
    const code = await child.exited;
    if (code !== 0)
      throw new GuestError(`cannot copy ${hostFile} to ${guestPath}: ${child.stderr.toString().trim()}`);
  }

  async spawnStream(command: string, options: { timeoutMs?: number } = {}): Promise<GuestProcess> {
    const agent = await connectAgent(this.handle.agentPort, 15_000);
    return agent.start(command, options.timeoutMs ?? 600_000);
  }

  async freeLines(): Promise<void> {
    await this.sh(
      'ls /sys/class/gpio | sed -n "s/^gpio\\([0-9]*\\)$/\\1/p" | while read n; do echo $n >/sys/class/gpio/unexport; done',
    );
  }

  async reboot(options: { timeoutMs?: number } = {}): Promise<void> {
    const before = await connectAgent(this.handle.agentPort, 15_000);
    before.close();
    const consoleFrom = statSync(this.handle.serialLog).size;
    await this.qmp.systemReset();
    await this.waitUntilUp({
      deadline: Date.now() + (options.timeoutMs ?? 400_000),
      notBootId: before.bootId,
      consoleFrom,
    });
  }

  /** Returns when the agent answers (after a reset: with another boot id) and systemd has nothing left to start. */
  async waitUntilUp(wait: {
    deadline: number;
    notBootId?: string;
    /** Where in the log of the console this boot begins. */
    consoleFrom?: number;
    alive?: () => void;
    working?: Progress;
  }): Promise<void> {
    for (;;) {
      (wait.alive ?? (() => this.#alive()))();
      const failure = consoleFailure(readFrom(this.handle.serialLog, wait.consoleFrom ?? 0));
      if (failure !== null) throw new GuestError(`the guest will not come up: ${failure}`);
      try {
        const agent = await connectAgent(this.handle.agentPort, 3_000);
        agent.close();
        if (agent.bootId !== wait.notBootId) break;
      } catch (error) {
        if (Date.now() > wait.deadline) throw error;
      }
      await sleep(200);
    }
    wait.working?.step('the agent answers, waiting for systemd');
    const { stdout } = await this.exec('systemctl is-system-running --wait', {
      timeoutMs: Math.max(1_000, wait.deadline - Date.now()),
    });
    wait.working?.end(`the guest is up (${stdout.trim()})`);
  }

  #alive(): void {
    try {
      process.kill(this.handle.pid, 0);
    } catch {
      // Whoever booted it has its exit code and what it said.
      throw new GuestError(`QEMU is gone (pid ${this.handle.pid})`);
    }
  }

  async shutdown(): Promise<void> {
    // The answer to `quit` may be lost, as QEMU is: that is not a failure to end it.
    await this.qmp.quit().catch(() => undefined);
    await this.#ended();
  }

  close(): void {
    this.qmp.close();
  }
}

async function connectQmpWhenThere(path: string, alive: () => void, deadline: number): Promise<Qmp> {
  for (;;) {
    alive();
    try {
      return await connectQmp(path);
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(100);
    }
  }
}

/** QEMU tells which port the system gave it only in a table meant for people. */
async function agentPort(qmp: Qmp): Promise<number> {
  const table = String(await qmp.execute('human-monitor-command', { 'command-line': 'info usernet' }));
  const port = /TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)/.exec(table)?.[1];
  if (port === undefined) throw new GuestError(`QEMU shows no forwarded port: ${table}`);
  return Number(port);
}

async function ending(qemu: ChildProcess): Promise<void> {
  if (qemu.exitCode !== null || qemu.signalCode !== null) return;
  const timer = setTimeout(() => qemu.kill('SIGKILL'), 5_000);
  await once(qemu, 'exit');
  clearTimeout(timer);
}

function readFrom(file: string, offset: number): string {
  return readFileSync(file).subarray(offset).toString('latin1');
}

function tail(file: string): string {
  try {
    return readFileSync(file, 'latin1').trim().slice(-3000);
  } catch {
    return '';
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
