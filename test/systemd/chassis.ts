/**
 * The program on a simulated chassis in a sandbox: what the suites that run the real command line under the
 * real units have in common. The chassis is a process of its own, and its lines are looked at from outside the
 * program.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { UNITS } from './machine.ts';
import { type ExecResult, SANDBOX_CHECKOUT, SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

export const SIM = `${SANDBOX_NODE} ${SANDBOX_CHECKOUT}/dist/sim/chassis-power-sim.cjs`;
export const PROGRAM = `${SANDBOX_NODE} ${SANDBOX_CHECKOUT}/dist/chassis-power/chassis-power.cjs`;
export const PLANT_SOCKET = '/run/plant.sock';
const BOARD = '/etc/chassis-power/board.json';
const PLANT_TIMEOUT_MS = 10_000;
const WAIT_TIMEOUT_MS = 15_000;

/** A line of the simulated chassis, as `chassis-power-sim lines --json` prints it. */
export interface Line {
  readonly line: string;
  readonly chassis: number;
  readonly role: 'enable' | 'good' | 'pgood' | 'reset' | 'latch';
  readonly rail: string | null;
  readonly asserted: boolean;
  /** Level changes since the plant was started. */
  readonly changes: number;
}

export interface PlantOptions {
  readonly initially?: 'off' | 'on';
  readonly faults?: readonly string[];
}

export interface Chassis {
  /** Starts a chassis in the sandbox; resolves when it can be driven. */
  startPlant(options?: PlantOptions): Promise<void>;
  stopPlant(): Promise<void>;
  addFault(fault: string): Promise<void>;
  lines(): Promise<Line[]>;
  /** Whether the lines of a role are asserted, of chassis 0 unless another is named. */
  asserted(role: Line['role'], chassis?: number): Promise<boolean[]>;
  /** What the plant saw that can damage a chassis. */
  hazards(): Promise<unknown[]>;
  /** How often each line changed. */
  changes(): Promise<Record<string, number>>;
  /** The command line as a person at a shell has it: not a unit, and systemd is there. */
  command(args: string): Promise<ExecResult>;
  /** `units install` and `units uninstall` as shipped: they need no chassis, and tell systemd over its D-Bus. */
  units(action: 'install' | 'uninstall'): Promise<string>;
  expectPowered(chassis?: number): Promise<void>;
  expectEveryEnableOff(chassis?: number): Promise<void>;
  /** Resolves once `holds` does; rejects after `timeoutMs`, 15 s by default. */
  until(what: string, holds: () => Promise<boolean>, timeoutMs?: number): Promise<void>;
  /** Everything stopped and forgotten, for the next test. */
  reset(): Promise<void>;
}

/** What the plant that was started last has printed, while it runs and when it is gone. */
let lastPlant: () => Promise<string> = async () => '';

/** By how much the plant of the last test was late, as it says itself; null where it was in time. */
export async function plantLateness(): Promise<string | null> {
  return (await lastPlant()).match(/^late by .*$/gm)?.at(-1) ?? null;
}

/**
 * The reference board with deadlines of seconds. Who wants to come in the middle of something gets a rail that is
 * slow for seconds, so that a machine with other work to do is still in time.
 */
export function patientBoard(): { devices: Record<string, object>; chassis: Record<string, object> } {
  const path = join(import.meta.dirname, '..', '..', 'hw', 'boards', 'reference.json');
  const board = JSON.parse(readFileSync(path, 'utf8'));
  for (const rail of Object.values<object>(board.chassis['0'].rails)) {
    Object.assign(rail, { onTimeoutMs: 8000, offTimeoutMs: 8000 });
  }
  return board;
}

/** The same as text, with one rail, P1V8, that is given up after two seconds. */
export function boardImpatientOfP1v8(): string {
  const board = patientBoard();
  const { rails } = board.chassis['0'] as { rails: Record<string, object> };
  Object.assign(rails.P1V8 ?? {}, { onTimeoutMs: 2000 });
  return JSON.stringify(board);
}

/** Puts a board and the program, on a simulated chassis, into the sandbox. Its units are not installed yet. */
export async function putChassis(machine: SystemdSandbox, boardText?: string): Promise<Chassis> {
  await machine.run(`mkdir -p /etc/chassis-power; cp ${SANDBOX_CHECKOUT}/hw/boards/reference.json ${BOARD}`);
  if (boardText !== undefined) await machine.writeFile(BOARD, boardText);
  const program = `#!/bin/sh\nexec ${SIM} --plant ${PLANT_SOCKET} --systemd on "$@" --run-dir /run/chassis-power\n`;
  await machine.writeFile('/usr/bin/chassis-power', program, '0755');

  const look = async <Row>(what: 'lines' | 'hazards') =>
    JSON.parse(await machine.run(`${SIM} --plant ${PLANT_SOCKET} ${what} --json`)) as Row[];
  const lines = () => look<Line>('lines');
  const asserted = async (role: Line['role'], chassis = 0) =>
    (await lines())
      .filter((line) => line.role === role && line.chassis === chassis)
      .map((line) => line.asserted);
  const hearPlant = async () => (await machine.exec(['cat', '/run/plant.out'])).stdout;
  const stopPlant = async () => {
    const printed = await machine.run(
      `systemctl stop plant.service 2>/dev/null; cat /run/plant.out 2>/dev/null; rm -f ${PLANT_SOCKET} /run/plant.out`,
    );
    lastPlant = async () => printed;
  };

  return {
    async startPlant({ initially = 'off', faults = [] } = {}) {
      const command = `${SIM} plant --board ${BOARD} --socket ${PLANT_SOCKET} --initially ${initially}`;
      await machine.run([
        ...['systemd-run', '--quiet', '--unit=plant', '--collect'],
        ...['--property=StandardOutput=truncate:/run/plant.out'],
        ...command.split(' '),
        ...faults.flatMap((fault) => ['--fault', fault]),
      ]);
      for (const deadline = Date.now() + PLANT_TIMEOUT_MS; ; await delay(20)) {
        if (/^ready$/m.test(await hearPlant())) {
          lastPlant = hearPlant;
          return;
        }
        if (Date.now() > deadline) {
          const said = (await machine.journal('plant.service')).map((entry) => entry.MESSAGE).join('\n');
          throw new Error(`the plant was not ready within ${PLANT_TIMEOUT_MS} ms:\n${said}`);
        }
      }
    },
    async stopPlant() {
      await stopPlant();
    },
    async addFault(fault) {
      await machine.run([...SIM.split(' '), '--plant', PLANT_SOCKET, 'fault', fault]);
    },
    lines,
    asserted,
    hazards: () => look('hazards'),
    changes: async () => Object.fromEntries((await lines()).map(({ line, changes }) => [line, changes])),
    command: (args) => machine.exec(`chassis-power ${args}`, { timeoutMs: 60_000 }),
    units: (action) => machine.run(`${PROGRAM} units ${action}`),
    async expectPowered(chassis = 0) {
      expect(await asserted('enable', chassis)).not.toContain(false);
      expect(await asserted('pgood', chassis)).toEqual([true]);
    },
    async expectEveryEnableOff(chassis = 0) {
      const enables = await asserted('enable', chassis);
      expect(enables.length).toBeGreaterThan(0);
      expect(enables).not.toContain(true);
      expect(await asserted('pgood', chassis)).toEqual([false]);
    },
    async until(what, holds, timeoutMs = WAIT_TIMEOUT_MS) {
      for (const deadline = Date.now() + timeoutMs; !(await holds()); await delay(10)) {
        if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
      }
    },
    async reset() {
      const stop = ['systemctl', 'stop', ...UNITS, ...UNITS.map((unit) => unit.replace('@0', '@1'))];
      // What the service had begun to start for a failure may come in between, and cancel a job of this.
      await machine.exec(stop);
      await machine.waitForJobs();
      await machine.run(stop);
      await stopPlant();
      await machine.run(
        'systemctl reset-failed; rm -rf /etc/systemd/system/*.d /run/chassis-power /run/openbmc; systemctl daemon-reload',
      );
    },
  };
}
