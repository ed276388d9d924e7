/* Sections are those of the PMBus specification 1.3.1, part II. */

/** A quantity besides the output voltage that a device measures. */
export interface Sensor {
  readonly name: string;
  readonly command: number;
  readonly section: string;
  readonly unit: 'V' | 'A' | '°C' | 'W';
  /** What it is a quantity of: devices in direct format have coefficients for each (7.4). */
  readonly of: SensorClass;
}

export type SensorClass = 'inputVoltage' | 'inputCurrent' | 'outputCurrent' | 'temperature' | 'power';

export const READ_VIN: Sensor = {
  name: 'READ_VIN',
  command: 0x88,
  section: '18.1',
  unit: 'V',
  of: 'inputVoltage',
};
export const READ_IOUT: Sensor = {
  name: 'READ_IOUT',
  command: 0x8c,
  section: '18.5',
  unit: 'A',
  of: 'outputCurrent',
};
export const READ_TEMPERATURE_1: Sensor = {
  name: 'READ_TEMPERATURE_1',
  command: 0x8d,
  section: '18.6',
  unit: '°C',
  of: 'temperature',
};

/** Those that say more of a fault than its status bits do. Devices may lack any of them. */
export const SENSORS: readonly Sensor[] = [
  READ_VIN,
  { name: 'READ_IIN', command: 0x89, section: '18.2', unit: 'A', of: 'inputCurrent' },
  READ_IOUT,
  READ_TEMPERATURE_1,
  { name: 'READ_TEMPERATURE_2', command: 0x8e, section: '18.6', unit: '°C', of: 'temperature' },
  { name: 'READ_POUT', command: 0x96, section: '18.10', unit: 'W', of: 'power' },
  { name: 'READ_PIN', command: 0x97, section: '18.11', unit: 'W', of: 'power' },
];

/** The measurement that goes with what STATUS_WORD (17.2) speaks of, where it speaks of it. */
export function sensorsToldBy(statusWord: number): readonly Sensor[] {
  return SENSOR_OF_BITS.flatMap(({ bits, sensor }) => ((statusWord & bits) === 0 ? [] : [sensor]));
}

const SENSOR_OF_BITS: readonly { readonly bits: number; readonly sensor: Sensor }[] = [
  // INPUT, VIN_UV_FAULT.
  { bits: (1 << 13) | (1 << 3), sensor: READ_VIN },
  // IOUT/POUT, IOUT_OC_FAULT.
  { bits: (1 << 14) | (1 << 4), sensor: READ_IOUT },
  // TEMPERATURE.
  { bits: 1 << 2, sensor: READ_TEMPERATURE_1 },
];
