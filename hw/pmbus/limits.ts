/* Sections are those of the PMBus specification 1.3.1, part II. */

/** A limit of the output voltage that a device has of its own. */
export interface VoutLimit {
  readonly name: string;
  readonly command: number;
  readonly section: string;
  /** On which side of it the voltage is wrong. */
  readonly wrong: 'above' | 'below';
  /** Whether the relative bit of VOUT_MODE is about it (8.5). */
  readonly mayBeRelative: boolean;
}

/** Below it the device takes its output for undervolted, and above the other for overvolted. */
export const VOUT_UV_FAULT_LIMIT: VoutLimit = {
  name: 'VOUT_UV_FAULT_LIMIT',
  command: 0x44,
  section: '15.6',
  wrong: 'below',
  mayBeRelative: true,
};
export const VOUT_OV_FAULT_LIMIT: VoutLimit = {
  name: 'VOUT_OV_FAULT_LIMIT',
  command: 0x40,
  section: '15.2',
  wrong: 'above',
  mayBeRelative: true,
};

export const VOUT_LIMITS: readonly VoutLimit[] = [
  VOUT_UV_FAULT_LIMIT,
  { name: 'VOUT_UV_WARN_LIMIT', command: 0x43, section: '15.5', wrong: 'below', mayBeRelative: true },
  VOUT_OV_FAULT_LIMIT,
  { name: 'VOUT_OV_WARN_LIMIT', command: 0x42, section: '15.4', wrong: 'above', mayBeRelative: true },
  { name: 'POWER_GOOD_ON', command: 0x5e, section: '15.32', wrong: 'below', mayBeRelative: false },
  { name: 'POWER_GOOD_OFF', command: 0x5f, section: '15.32', wrong: 'below', mayBeRelative: false },
];

/** What a device that lacks a command leaves on the bus, where it does not refuse it. */
export const NO_ANSWER = 0xffff;

export function isPassed({ wrong }: Pick<VoutLimit, 'wrong'>, limitVolts: number, volts: number): boolean {
  return wrong === 'below' ? volts < limitVolts : volts > limitVolts;
}
