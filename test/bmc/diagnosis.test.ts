import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import { createPmbusPage } from '../../hw/pmbus/pmbus.ts';
import type { PortClient } from '../../mocks/wire/client.ts';
import { diagnose, type LevelsAtFault } from '../../src/run/diagnosis.ts';
import { type ChassisHardware, openChassis } from '../../src/run/hardware.ts';
import { planOf } from '../../src/sequence/plan.ts';
import type { Fault } from '../../src/sequence/state.ts';
import { checkBoard } from '../check-board.ts';
import { installAgent, startAgent } from './rig/agent.ts';
import { attachBmc, type Bmc } from './rig/guest.ts';

/** A rail for each device, with what QEMU calls its voltage and how that is written as a limit of the device. */
const RAILS = [
  {
    rail: 'VCORE',
    bus: 3,
    address: '0x60',
    page: 1,
    path: 'vr0',
    property: 'vout[1]',
  },
  {
    rail: 'P3V3',
    bus: 5,
    address: '0x74',
    page: 2,
    path: 'psm0',
    property: 'vout[2]',
  },
] as const;
/** In its 100 V range, in which QEMU starts it (drivers/hwmon/pmbus/adm1275.c): 500 mV are 20. */
const HOT_SWAP = { bus: 4, address: '0x10', vout: { m: 4062, r: -2 }, rawOfHalfVolt: 20 };

const BOARD = {
  name: 'diagnosis',
  devices: {
    ...Object.fromEntries(
      RAILS.map(({ bus, address, path }) => [path, { bus, address, vout: { m: 1, r: 3 } }]),
    ),
    hsc0: { bus: HOT_SWAP.bus, address: HOT_SWAP.address, vout: HOT_SWAP.vout },
  },
  chassis: {
    0: {
      rails: Object.fromEntries(
        // In this order, and each needs the one before it.
        RAILS.toReversed().map(({ rail, path, page }, index, all) => {
          const before = all[index - 1]?.rail;
          const at = { pmbus: path, page };
          return [rail, { enable: at, good: { ...at, minVolts: 0.1 }, needs: before ? [before] : [] }];
        }),
      ),
      pgood: { chip: '1e780000.gpio', line: 'B7' },
    },
    1: {
      rails: { P12V: { enable: { pmbus: 'hsc0' }, good: { pmbus: 'hsc0', minVolts: 0.1 } } },
      pgood: { chip: '1e780000.gpio', line: 'B6' },
    },
  },
};

let bmc: Bmc;
let agent: PortClient;
let hardware: ChassisHardware;
let hotSwapped: ChassisHardware;
const { board, problems } = checkBoard(BOARD);
if (!board) throw new TypeError(JSON.stringify(problems));
const chassis = board.chassis['0'];
if (!chassis) throw new RangeError('no chassis');
const plan = planOf(chassis, board.devices);

beforeAll(async () => {
  bmc = await attachBmc(inject('bmc'));
  await bmc.freeLines();
  await installAgent(bmc);
  agent = await startAgent(bmc, 'diagnosis');
  // Each transfer goes from here to the guest and back, which no board does: its time does not count.
  const system = createSystemClock();
  const clock = { ...system, nowMs: () => system.nowMs() / 1_000 };
  const ports = { gpio: async () => agent.gpio, i2c: async () => agent.i2c, clock };
  hardware = await openChassis(board, 0, ports);
  hotSwapped = await openChassis(board, 1, ports);
  for (const of of RAILS) {
    await millivolts(of, 1_000);
    await setLimits(of, 500, 20_000);
  }
});

afterAll(async () => {
  await hardware?.close();
  await hotSwapped?.close();
  await agent?.close();
  await bmc?.freeLines();
  bmc?.close();
});

const millivolts = (of: (typeof RAILS)[number], mv: number) =>
  bmc.qmp.qomSet(`/machine/peripheral/${of.path}`, of.property, mv);
/**
 * Devices of QEMU start with limits of 0, which everything passes: those of current, input, temperature and power are out
 * of reach from here on (IOUT_OC_, OT_, VIN_OV_, IIN_OC_ and POUT_OP_FAULT_LIMIT).
 */
const OTHER_LIMITS = ['0x46', '0x4f', '0x55', '0x5b', '0x68'];
/** STATUS_VOUT to STATUS_TEMPERATURE. CLEAR_FAULTS does nothing in QEMU, but they can be written. */
const STATUS_BYTES = ['0x7a', '0x7b', '0x7c', '0x7d'];
/** Writes limits to a page, those of the voltage as the device has them, and takes away what was latched before. */
const setLimits = (
  { bus, address, page }: { readonly bus: number; readonly address: string; readonly page: number },
  leastVout: number,
  mostVout: number,
) => {
  const at = `i2cset -y ${bus} ${address}`;
  const others = OTHER_LIMITS.map((command) => `${at} ${command} 0x7fff w`).join('; ');
  const clear = STATUS_BYTES.map((command) => `${at} ${command} 0`).join('; ');
  return bmc.sh(
    `${at} 0x00 ${page}; ${others}; ${at} 0x40 ${mostVout} w; ${at} 0x44 ${leastVout} w; ${clear}; ${at} 0x79 0 w`,
  );
};
const levels = (lost: string): LevelsAtFault => ({
  rails: Object.fromEntries(
    plan.rails.map(({ name }) => [
      name,
      { enabled: true, good: name !== lost, wasUp: true, wasMissed: false, isFresh: true },
    ]),
  ),
  pgood: false,
  pgoodLacks: [],
});
const lost = (rail: string | null): Fault => ({
  kind: rail === null ? 'pgoodLost' : 'railLost',
  rail,
  state: 'pgood',
  atMs: 0,
  reason: 'it was lost',
  errorCode: null,
});

describe('a voltage that is pushed under the limit of its device', () => {
  test('is none as long as nobody pushes it', async () => {
    const quiet = await hardware.evidence(null);
    expect(quiet.map(({ error }) => error)).toEqual([null, null]);
    expect(diagnose(plan, { fault: lost(null), evidence: quiet, levels: levels('') })).toMatchObject({
      rail: null,
      cause: 'unknown',
    });
  });

  test.each(RAILS)('is undervoltage of $rail, behind $path', async (pushed) => {
    await millivolts(pushed, 400);
    const evidence = await hardware.evidence(pushed.rail);
    const said = evidence.find(({ device }) => device === pushed.path);
    expect(said?.voutVolts).toBeCloseTo(0.4, 1);
    expect(said?.limits.find(({ limit: name }) => name === 'VOUT_UV_FAULT_LIMIT')?.volts).toBeCloseTo(0.5, 1);
    for (const fault of [lost(pushed.rail), lost(null)])
      expect(diagnose(plan, { fault, evidence, levels: levels(pushed.rail) })).toMatchObject({
        rail: pushed.rail,
        cause: 'undervoltage',
        because: `STATUS_VOUT of ${pushed.path} page ${pushed.page} says undervoltage fault`,
        unread: [],
      });
    await millivolts(pushed, 1_000);
    await setLimits(pushed, 500, 20_000);
  });

  test('an ADM1272 that is not the one of the board file is neither believed nor told anything', async () => {
    const { bus: number, address: text } = HOT_SWAP;
    const bus = await agent.i2c.openBus(number);
    const address = Number(text);
    const pageOf = (MFR_MODEL: string) =>
      createPmbusPage({ bus, address, page: 0, identity: { MFR_ID: 'ADI', MFR_MODEL } });
    const before = await pageOf('ADM1272-A1').readEnabled();
    const other = pageOf('ADM1278-A1');
    for (const asked of [() => other.statusWord(), () => other.operation(true)]) {
      await expect(asked()).rejects.toMatchObject({
        code: 'PMBUS_IDENTITY',
        details: { register: 'MFR_MODEL', found: '"ADM1272-A1"' },
      });
    }
    expect(await pageOf('ADM1272-A1').readEnabled()).toBe(before);
    await bus.close();
  });

  test('is that of an ADM1272 as well, in its own coefficients', async () => {
    // QEMU's takes any voltage but 0 for too high, whatever limit it is given.
    await bmc.qmp.qomSet('/machine/peripheral/hsc0', 'vout', 0);
    await setLimits({ ...HOT_SWAP, page: 0 }, HOT_SWAP.rawOfHalfVolt, 0x7fff);
    const [said] = await hotSwapped.evidence('P12V');
    expect(said?.limits.find(({ limit: name }) => name === 'VOUT_UV_FAULT_LIMIT')?.volts).toBeCloseTo(
      0.49,
      2,
    );
    const planOfOne = planOf(board.chassis['1'] ?? chassis, board.devices);
    const facts = { fault: lost('P12V'), evidence: said ? [said] : [], levels: null };
    expect(diagnose(planOfOne, facts)).toMatchObject({ rail: 'P12V', cause: 'undervoltage' });
  });
});
