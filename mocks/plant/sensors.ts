import type { Clock, SensorRef } from '../../hw/ports.ts';
import { chipKey, sensorKey } from '../../hw/sensor-labels.ts';
import { sourcesOf } from '../../src/board/pgood-sources.ts';
import type { Board } from '../../src/board/schema.ts';
import type { SensorPart } from '../../src/board/sensor.ts';
import { isSensor, sensorRef } from '../../src/board/sensor-ref.ts';
import { type Circuit, type Rail, voltsAt, withFaults } from './circuit.ts';
import { nominalVoltsOf } from './pgood.ts';

/** What a reading that starts now comes to. `gone`: the driver of the chip is. */
export type SensorAnswer = { readonly volts: number } | 'fails' | 'hangs' | 'gone';

/** An input of a chip that a kernel driver reads. */
export interface PlantSensor {
  readonly ref: SensorRef;
  /** At the pin, behind the divider, in the whole millivolts that the kernel gives. */
  answer(): SensorAnswer;
}

/** The inputs that the board names, by `sensorKey`. One that shows several rails shows the first. */
export function createSensors(
  board: Board,
  circuit: Circuit,
  clock: Pick<Clock, 'nowMs'>,
): ReadonlyMap<string, PlantSensor> {
  const sensors = new Map<string, PlantSensor>();
  const rails = circuit.chassis.flatMap((chassis) => chassis.rails);
  const add = (part: SensorPart, volts: () => number, rail: Rail | null): void => {
    const ref = sensorRef(part);
    const key = sensorKey(ref);
    if (sensors.has(key)) return;
    const isOfChip = ({ board: { good } }: Rail) =>
      good !== undefined && isSensor(good) && chipKey(sensorRef(good)) === chipKey(ref);
    const does = (among: readonly Rail[]) =>
      among.flatMap(({ sensorFaults }) => sensorFaults.map(({ fault }) => fault.effect.does));
    const answer = (): SensorAnswer => {
      if (does(rails.filter(isOfChip)).includes('gone')) return 'gone';
      const own = does(rail === null ? [] : [rail]);
      if (own.includes('hangs')) return 'hangs';
      if (own.includes('fails')) return 'fails';
      return { volts: measured(volts(), part.multiply, rail) };
    };
    sensors.set(key, { ref, answer });
  };
  for (const rail of rails) {
    const { good } = rail.board;
    if (good !== undefined && isSensor(good)) add(good, () => seenVolts(rail, clock.nowMs()), rail);
  }
  for (const { number, pgoodSources } of circuit.chassis) {
    const { pgood } = board.chassis[number] ?? {};
    for (const [index, { source }] of (pgood === undefined ? [] : sourcesOf(pgood)).entries()) {
      if (!isSensor(source)) continue;
      add(source, () => (pgoodSources[index]?.says() ? nominalVoltsOf(source) : 0), null);
    }
  }
  return sensors;
}

/** What the converter makes of a voltage. At the limit it agrees with what the rail is, which changes at one moment. */
function measured(volts: number, multiply: number, rail: Rail | null): number {
  const counts = Math.round((volts / multiply) * 1000);
  if (rail === null || rail.goodFaults.length > 0) return counts / 1000;
  const isAbove = (counts / 1000) * multiply >= rail.goodVolts;
  if (isAbove === rail.good) return counts / 1000;
  return (counts + (rail.good ? 1 : -1)) / 1000;
}

/** The voltage of the rail, or what a fault makes of it. */
export function seenVolts(rail: Rail, nowMs: number): number {
  if (rail.goodFaults.length === 0) return voltsAt(rail, nowMs);
  return withFaults(rail.goodFaults, rail.good) ? rail.nominalVolts : 0;
}
