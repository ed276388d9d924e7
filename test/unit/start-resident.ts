import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant, type Plant } from '../../mocks/plant/plant.ts';
import { createVirtualClock, type VirtualClock } from '../../mocks/virtual-clock.ts';
import { createAlarm } from '../../src/run/alarm.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { createResident, type ResidentOptions } from '../../src/service/resident.ts';
import { shippedBoard } from './bench.ts';
import { flock } from './flock.ts';

export interface ResidentSetUp
  extends Partial<
    Pick<
      ResidentOptions,
      'flock' | 'identity' | 'record' | 'onChange' | 'onLoss' | 'onHostOff' | 'onRunOver' | 'inspect'
    >
  > {
  readonly runDir: string;
  readonly clock?: VirtualClock;
  readonly initially?: 'off' | 'on';
  readonly board?: ReturnType<typeof shippedBoard>;
  readonly faults?: readonly string[];
  /** In the place of a new one. */
  readonly plant?: Plant;
}

/** The resident of chassis 0 on a plant, in virtual time. By default of the reference board, which is off. */
export async function startResident(setUp: ResidentSetUp) {
  const {
    clock = createVirtualClock(),
    initially = 'off',
    board = shippedBoard('reference'),
    faults = [],
    plant: given,
    ...options
  } = setUp;
  const chassis = board.chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  const plant =
    given ?? createPlant({ board, clock, initially, faults: faults.map((text) => parseFault(text, board)) });
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const resident = await clock.runUntil(
    (async () =>
      createResident({
        chassis: 0,
        alarm: createAlarm(clock),
        plan: planOf(chassis, board.devices),
        hardware: await openChassis(board, 0, ports),
        clock,
        flock,
        identity: { bootId: 'boot', boardHash: 'hash' },
        record: () => undefined,
        supplyError: () => '',
        onChange: () => undefined,
        onLoss: async () => undefined,
        onHostOff: async () => undefined,
        onRequestFailed: async () => undefined,
        onRunOver: () => undefined,
        ...options,
      }))(),
  );
  return { board, clock, plant, resident };
}
