import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { lineOffset } from '../../hw/lines.ts';
import { createPmbusPage } from '../../hw/pmbus/pmbus.ts';
import type { Level, LineRef } from '../../hw/ports.ts';
import { connectPorts, type PortClient } from '../../mocks/wire/client.ts';
import type { UnitManager, UnitState } from '../../src/system/ports.ts';
import { describeGpioBackend, type GpioSetup } from '../contract/gpio-contract.ts';
import { describeI2cBackend } from '../contract/i2c-contract.ts';
import { describeUnitManager } from '../contract/unit-manager-contract.ts';
import { writePhysicalWord } from './agent/physical-memory.ts';
import { type PinHistory, startPinHistory } from './agent/pin-history.ts';
import { installAgent } from './rig/agent.ts';
import type { GuestProcess } from './rig/command.ts';
import { attachBmc, type Bmc } from './rig/guest.ts';

const CHIP = '1e780000.gpio';
/** Ports of which all lines can be had and that no other test uses. */
const OUTPUT_PORTS = 'EFIMNOPQRWXYZ';
/** Outputs are no use of these: the chip has inputs only there. */
const INPUT_PORTS = 'TU';
const HELD_HIGH = 'G0';
const BUSY = 'G1';
const SHORTED = 'H1';
/** Who commands a port, one bit for each port of E to H at its lowest line: 0 is the BMC's processor. */
const COMMAND_SOURCE_E_TO_H = 0x1e780068;
const H_BY_ANOTHER_MASTER = 1 << 24;

const BUS = 3;
/** The controllers 10 and 11 are not in use on this board. */
const UNKNOWN_BUS = 10;
const VR = { address: 0x60, path: '/machine/peripheral/vr0' } as const;
const EMPTY_ADDRESS = 0x61;
const OWNED_ADDRESS = 0x62;
const READ_VOUT = 0x8b;

/** Node takes 5 to 15 s to start in the guest, more when the machine has other work. */
const AGENT_TIMEOUT_MS = 90_000;
const AGENT_LIFE_MS = 1_800_000;
/** From an edge on a pin to its wake here it takes some 20 ms in the emulation. */
const SETTLE_MS = 25;

interface Agent extends PortClient {
  readonly process: GuestProcess;
}

let bmc: Bmc;
let agent: Agent;
/** The next process, as far as the suites care. */
let nextAgent: Agent;
let history: PinHistory;
let holder: GuestProcess;
let gpioBase: number;

beforeAll(async () => {
  bmc = await attachBmc(inject('bmc'));
  await installAgent(bmc);

  history = await startPinHistory(bmc);
  gpioBase = Number(
    await bmc.sh(
      `cd /sys/class/gpio; for chip in gpiochip*; do [ "$(cat $chip/label)" != ${CHIP} ] || cat $chip/base; done`,
    ),
  );
  await bmc.qmp.setGpioLevel(HELD_HIGH, 1);
  await driveAsBootloader(HELD_HIGH, 'high');
  await driveAsBootloader(SHORTED, 'low');
  // What the processor writes has no effect then: the line stays low, as with a short.
  await writePhysicalWord(bmc.qmp, COMMAND_SOURCE_E_TO_H, H_BY_ANOTHER_MASTER);
  holder = await bmc.spawnStream(`exec gpioset --mode=signal ${CHIP} ${lineOffset(BUSY)}=0`, {
    timeoutMs: AGENT_LIFE_MS,
  });
  await eventually(async () => (await bmc.qmp.gpioDirection(BUSY)) === 'out');

  await bmc.sh(`cat >/run/systemd/system/contract-succeeds.service <<'END'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
END
cd /run/systemd/system
sed s,/bin/true,/bin/false, contract-succeeds.service >contract-fails.service
cp contract-succeeds.service contract-idle.service
systemctl daemon-reload`);
  await bmc.sh(`echo dummy ${OWNED_ADDRESS} >/sys/bus/i2c/devices/i2c-${BUS}/new_device`);

  agent = await startAgent('first');
  nextAgent = await startAgent('next');
});

afterAll(async () => {
  await agent?.close();
  await nextAgent?.close();
  holder?.destroy();
  await history?.stop();
  if (bmc) await writePhysicalWord(bmc.qmp, COMMAND_SOURCE_E_TO_H, 0);
  await bmc?.sh(`echo ${OWNED_ADDRESS} >/sys/bus/i2c/devices/i2c-${BUS}/delete_device`);
  bmc?.close();
});

/** As a bootloader leaves the enable of a running host: driven, and not exported. */
async function driveAsBootloader(name: string, level: 'high' | 'low'): Promise<void> {
  const number = sysfsNumber(name);
  await bmc.sh(
    `cd /sys/class/gpio; echo ${number} >export; echo ${level} >gpio${number}/direction; echo ${number} >unexport`,
  );
}

/** `name` shows in the guest's process list; `as` is put in front of the command. */
async function startAgent(name: string, as = ''): Promise<Agent> {
  const guestProcess = await bmc.spawnStream(`cd /; exec ${as} node /opt/contract-agent/agent.mjs ${name}`, {
    timeoutMs: AGENT_LIFE_MS,
  });
  const client = connectPorts(guestProcess, { deadlineMs: AGENT_TIMEOUT_MS, peer: `the agent "${name}"` });
  try {
    await client.call('ping');
    // The libraries load with their first use, for seconds; the suites' limits are not made for that.
    await client.gpio.openInput(pin('H0')).catch(() => undefined);
    const handle = await client.call('openUnits');
    await client.call('unitStates', handle, ['basic.target']);
    await client.call('closeUnits', handle);
  } catch (error) {
    throw new Error(`the agent "${name}" does not come up; its stderr: ${guestProcess.stderr}`, {
      cause: error,
    });
  }
  return { ...client, process: guestProcess };
}

/** Ends the agent as its program ends by itself; gives the exit code. */
async function endAgent(ending: Agent): Promise<number> {
  await ending.close();
  return ending.process.exited;
}

async function eventually(condition: () => Promise<boolean> | boolean, withinMs = 30_000): Promise<void> {
  const deadlineMs = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${withinMs} ms: ${condition}`);
    await delay(10);
  }
}

const settle = async (ms = 0) => {
  // What the agent sent before its answer has come by then, and what was on its way to it, it has.
  await agent.call('ping');
  await delay(Math.max(ms, SETTLE_MS));
  await agent.call('ping');
};

function pin(name: string): LineRef {
  return { chip: CHIP, line: name };
}

function sysfsNumber(name: string): number {
  return gpioBase + (lineOffset(name) ?? Number.NaN);
}

function pinName(line: LineRef): string {
  if (!('chip' in line) || line.chip !== CHIP)
    throw new RangeError(`not of ${CHIP}: ${JSON.stringify(line)}`);
  if (typeof line.line === 'string') return line.line;
  return `${String.fromCharCode(65 + Math.floor(line.line / 8))}${line.line % 8}`;
}

function* pinsOf(ports: string): Generator<string, undefined> {
  for (const port of ports) for (let bit = 0; bit < 8; bit += 1) yield `${port}${bit}`;
}

const freshOutputs = pinsOf(OUTPUT_PORTS);
/** Given to tests that did not touch them. */
const untouched: string[] = [];

/** A line that nobody has touched since the boot, at the level that its pull gives it. */
async function freshOutput(pull: Level): Promise<string> {
  const name = untouched.pop() ?? freshOutputs.next().value;
  if (name === undefined) throw new RangeError('the chip has no fresh line left: add a port to OUTPUT_PORTS');
  await bmc.qmp.setGpioLevel(name, pull);
  return name;
}

let inputs = pinsOf(INPUT_PORTS);

/** Inputs go round: only the rig drives them. */
function nextInput(): string {
  const { value: name } = inputs.next();
  if (name !== undefined) return name;
  inputs = pinsOf(INPUT_PORTS);
  return nextInput();
}

for (const pull of [0, 1] as const) {
  const setup = async (): Promise<GpioSetup> => {
    const output = await freshOutput(pull);
    // The agent may have it from the test before.
    await agent.call('unexport', sysfsNumber(HELD_HIGH)).catch(() => undefined);
    const states = new Map([
      [output, await history.stateOf(output)],
      [HELD_HIGH, await history.stateOf(HELD_HIGH)],
    ]);
    let isTouched = false;
    return {
      backend: agent.gpio,
      another: async () => nextAgent.gpio,
      teardown: async () => {
        if (!isTouched) untouched.push(output);
      },
      world: {
        lines: {
          get output() {
            isTouched = true;
            return pin(output);
          },
          get outputOtherwise() {
            isTouched = true;
            return { chip: CHIP, line: lineOffset(output) ?? Number.NaN };
          },
          input: pin(nextInput()),
          heldHigh: pin(HELD_HIGH),
          busy: pin(BUSY),
          shorted: pin(SHORTED),
        },
        settle,
        levelSeenOutside: (line) => bmc.qmp.gpioLevel(pinName(line)),
        directionSeenOutside: (line) => bmc.qmp.gpioDirection(pinName(line)),
        drive: (line, level) => bmc.qmp.setGpioLevel(pinName(line), level),
        isFree: async (line) =>
          !(await bmc.sh(`gpioinfo ${CHIP} | grep "line *${lineOffset(pinName(line))}:"`)).includes('[used]'),
        takeOutside: async (line) => {
          await bmc.sh(`echo ${sysfsNumber(pinName(line))} >/sys/class/gpio/export`);
        },
        stopInterrupts: async (line) => {
          await bmc.sh(`echo none >/sys/class/gpio/gpio${sysfsNumber(pinName(line))}/edge`);
        },
        giveBackOutside: async (line) => {
          await bmc.sh(`echo ${sysfsNumber(pinName(line))} >/sys/class/gpio/unexport`);
        },
        historySeenOutside: async (line) => {
          const name = pinName(line);
          const from = states.get(name);
          if (from === undefined) throw new RangeError(`${name} is not followed`);
          return history.levelsSince(name, from);
        },
      },
    };
  };
  describeGpioBackend(`onoff on an AST2600, lines pulled ${pull === 1 ? 'up' : 'down'}`, setup, {
    looked: 'its lines all raise interrupts; expander.test.ts has one that raises none',
    // Its GPIO model counts every edge and takes one off for each acknowledged line: after a second edge before
    // the acknowledgement it never lowers its interrupt again, and the guest does nothing else any more.
    mergedEdges: 'QEMU 7.2 hangs in its interrupt when a line changes twice before the kernel looks',
    stories: 'QEMU 7.2 hangs so when nobody is left who reads in between',
    hold: 'no program of the guest stays with a line',
    breakReads: 'the value file of a line of the AST2600 does not fail',
    hang: 'no chip of it hangs',
  });
}

describe('GPIO lines and the process that drives them', () => {
  test.each([1, 0] as const)('keep %i when it ends, and when it is killed', async (level) => {
    const names = [await freshOutput(level === 1 ? 0 : 1), await freshOutput(level === 1 ? 0 : 1)] as const;
    const endings = [
      async (ending: Agent) => {
        expect(await endAgent(ending)).toBe(0);
      },
      async (ending: Agent) => {
        ending.process.destroy();
        await ending.closed;
        await eventually(async () => (await bmc.exec(`pgrep -f '^node .*agent.mjs drives'`)).code === 1);
      },
    ];
    for (const [index, end] of endings.entries()) {
      const name = names[index] ?? '';
      const before = await history.stateOf(name);
      const driving = await startAgent('drives');
      const line = await driving.gpio.openOutput(pin(name));
      await line.write(level);
      await end(driving);
      expect([await bmc.qmp.gpioLevel(name), await bmc.qmp.gpioDirection(name)]).toEqual([level, 'out']);
      expect(history.levelsSince(name, before)).toEqual([before.level, level]);
    }

    const after = await Promise.all(names.map((name) => history.stateOf(name)));
    const following = await startAgent('follows');
    for (const [index, name] of names.entries()) {
      const line = await following.gpio.openOutput(pin(name));
      expect(await line.read()).toBe(level);
      const input = await following.gpio.openInput(pin(name));
      expect(await input.read()).toBe(level);
      expect(history.levelsSince(name, after[index] ?? (await history.stateOf(name)))).toEqual([level]);
    }
    expect(await endAgent(following)).toBe(0);
    for (const name of names) {
      expect([await bmc.qmp.gpioLevel(name), await bmc.qmp.gpioDirection(name)]).toEqual([level, 'out']);
    }
  });
});

const busName = { value: '' };
beforeAll(async () => {
  busName.value = await bmc.sh(`cat /sys/class/i2c-dev/i2c-${BUS}/name`);
});

async function setMillivolts(page: 0 | 1, millivolts: number): Promise<void> {
  await bmc.qmp.qomSet(VR.path, `vout[${page}]`, millivolts);
}

describeI2cBackend(
  'i2c-bus on an AST2600 with an ISL69260',
  async () => {
    const words = [0x1234, 0x0567] as const;
    await setMillivolts(0, words[0]);
    await setMillivolts(1, words[1]);
    return {
      backend: agent.i2c,
      another: async () => nextAgent.i2c,
      world: {
        bus: BUS,
        busOtherwise: busName.value,
        unknownBus: UNKNOWN_BUS,
        paged: { address: VR.address, command: READ_VOUT, words },
        emptyAddress: EMPTY_ADDRESS,
        ownedAddress: OWNED_ADDRESS,
        settle,
      },
    };
  },
  {
    hang: 'no device of QEMU holds the clock down',
    checked: 'no PMBus device of QEMU has a packet error check',
    told: 'no test tells an ISL69260 of QEMU a word',
    blocks: 'the ISL69260 of QEMU has none; the ADM1272 has, beside its diagnosis',
    otherLength: 'a device of QEMU sends what was not read of a block with the next read',
    noBlock: 'it has none, and sends nothing that is known',
    unchecked: 'the ISL69260 of QEMU answers wrongly once after a read of a byte too many',
  },
);

describe('PMBus with an ISL69260', () => {
  const openPage = async (page: number) => {
    const bus = await agent.i2c.openBus(BUS);
    return { bus, device: createPmbusPage({ bus, address: VR.address, page, vout: { m: 1, r: 3 } }) };
  };

  beforeEach(async () => {
    await bmc.sh(
      `for page in 0 1; do i2cset -y ${BUS} ${VR.address} 0 $page; i2cset -y ${BUS} ${VR.address} 1 0x80; done`,
    );
  });

  test.each([0, 1] as const)('the voltage of page %i follows', async (page) => {
    const { bus, device } = await openPage(page);
    for (const millivolts of [900, 1_234, 0, 32_767]) {
      await setMillivolts(page, millivolts);
      await setMillivolts(page === 0 ? 1 : 0, 555);
      expect(await device.readVoutVolts()).toBeCloseTo(millivolts / 1_000, 9);
    }
    await bus.close();
  });

  test.each([0, 1] as const)('page %i is switched off and on, and the other stays on', async (page) => {
    const { bus, device } = await openPage(page);
    const { bus: otherBus, device: other } = await openPage(page === 0 ? 1 : 0);
    expect(await device.readEnabled()).toBe(true);
    await device.operation(false);
    expect([await device.readEnabled(), await other.readEnabled()]).toEqual([false, true]);
    expect(await device.readVoutVolts()).toBe(0);
    await device.operation(true);
    expect([await device.readEnabled(), await other.readEnabled()]).toEqual([true, true]);
    await bus.close();
    await otherBus.close();
  });

  test('the status word is what others read, and shows a fault', async () => {
    const { bus, device } = await openPage(0);
    const readByOthers = async () => Number(await bmc.sh(`i2cget -y ${BUS} ${VR.address} 0x79 w`));
    await setMillivolts(0, 900);
    expect(await device.statusWord()).toBe(await readByOthers());
    // VOUT_UV_FAULT_LIMIT above the voltage: bit 15 says that STATUS_VOUT has more.
    await bmc.sh(`i2cset -y ${BUS} ${VR.address} 0x44 1000 w`);
    await device.readVoutVolts();
    const faulty = await device.statusWord();
    expect(faulty & 0x8000).toBe(0x8000);
    expect(faulty).toBe(await readByOthers());
    await bmc.sh(`i2cset -y ${BUS} ${VR.address} 0x44 0 w; i2cset -y ${BUS} ${VR.address} 0x03`);
    await bus.close();
  });
});

test('without rights nothing is taken: GPIO_PERMISSION, I2C_PERMISSION', async () => {
  const [unexported, exported] = [await freshOutput(0), await freshOutput(0)];
  await bmc.sh(`echo ${sysfsNumber(exported)} >/sys/class/gpio/export`);
  const nobody = await startAgent('nobody', 'setpriv --reuid=nobody --regid=nogroup --clear-groups');
  expect(await nobody.call('user')).not.toBe(0);
  for (const name of [unexported, exported]) {
    for (const open of ['openOutput', 'openInput'] as const) {
      await expect(nobody.gpio[open](pin(name)), `${open} ${name}`).rejects.toMatchObject({
        code: 'GPIO_PERMISSION',
      });
    }
  }
  for (const bus of [BUS, busName.value]) {
    await expect(nobody.i2c.openBus(bus)).rejects.toMatchObject({ code: 'I2C_PERMISSION' });
  }
  expect(await endAgent(nobody)).toBe(0);
  expect(await bmc.qmp.gpioDirection(unexported)).toBe('in');
});

const NO_WATCH = 'the agent answers calls, and tells nothing by itself';

/** A manager in the agent. */
async function openUnits(): Promise<UnitManager> {
  const handle = await agent.call<number>('openUnits');
  return {
    startUnit: (unit, mode) => agent.call<string>('startUnit', handle, unit, mode),
    unitStates: (units) => agent.call<UnitState[]>('unitStates', handle, units),
    watchUnits: () => {
      throw new TypeError(NO_WATCH);
    },
    reload: () => agent.call<void>('reload', handle),
    close: () => agent.call<void>('closeUnits', handle),
  };
}

// systemd cannot be stopped from answering, but what lies between can: the guest's D-Bus daemon.
const systemdOfBmc = async () => {
  await bmc.sh('systemctl stop contract-succeeds.service; systemctl reset-failed');
  let restore: string | undefined;
  return {
    manager: await openUnits(),
    world: {
      units: {
        succeeds: 'contract-succeeds.service',
        fails: 'contract-fails.service',
        unknown: 'contract-nobody-has-it.service',
        idle: 'contract-idle.service',
      },
      settle,
      hang: async () => {
        restore = 'pkill -CONT -x dbus-daemon';
        await bmc.sh('pkill -STOP -x dbus-daemon');
      },
      killBus: async () => {
        restore = 'systemctl start dbus.socket dbus.service';
        // systemd itself listens on another socket to systemctl.
        await bmc.sh('systemctl stop dbus.socket dbus.service');
      },
    },
    teardown: async () => {
      if (restore === undefined) return;
      await bmc.sh(restore);
      await eventually(
        async () => (await bmc.exec('busctl --timeout=5 status org.freedesktop.systemd1')).code === 0,
      );
    },
  };
};
describeUnitManager('the systemd of the BMC', systemdOfBmc, { watch: NO_WATCH });

describe('the clock of the BMC', () => {
  test('is one for all processes, and counts from the boot', async () => {
    // Both by the guest's clock, which is slow against real time.
    const uptimeMs = async () => Number((await bmc.sh('cut -d " " -f 1 /proc/uptime')).trim()) * 1_000;
    const times = [
      (await uptimeMs()) - 10,
      await agent.call<number>('nowMs'),
      await nextAgent.call<number>('nowMs'),
      await agent.call<number>('nowMs'),
      (await uptimeMs()) + 10,
    ];
    expect(times).toEqual([...times].sort((one, other) => one - other));
  });

  // By the guest's clock on both sides: in real time it is about an eighth longer.
  test.each([1, 5, 20, 100])('runs %i ms later and not before', async (delayMs) => {
    const ranAfterMs = await Promise.all(
      Array.from({ length: 20 }, () => agent.call<number>('ranAfterMs', delayMs)),
    );
    for (const elapsedMs of ranAfterMs) expect(elapsedMs).toBeGreaterThanOrEqual(delayMs);
  });

  test('tells the wall time of the guest', async () => {
    const guestMs = async () => Number(await bmc.sh('date +%s%3N'));
    const fromMs = await guestMs();
    const toldMs = new Date(await agent.call<string>('wallTime')).getTime();
    expect(toldMs).toBeGreaterThanOrEqual(fromMs);
    expect(toldMs).toBeLessThanOrEqual(await guestMs());
  });
});
