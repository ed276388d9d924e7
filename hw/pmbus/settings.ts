/* Sections are those of the PMBus specification 1.3.1, part II. */

/** A voltage that an output is told before it is switched on. */
export interface VoutSetting {
  readonly name: string;
  readonly command: number;
  readonly section: string;
  /** Whether the relative bit of VOUT_MODE is about it (8.5). */
  readonly mayBeRelative: boolean;
}

/**
 * Voltages in the format of VOUT_MODE. None of them switches an output, and all of them can be read back. What is not here a
 * board file cannot name: OPERATION and ON_OFF_CONFIG switch an output, and the STORE commands outlive the power.
 */
export const VOUT_SETTINGS = [
  { name: 'VOUT_COMMAND', command: 0x21, section: '13.2', mayBeRelative: false },
  { name: 'VOUT_MAX', command: 0x24, section: '13.5', mayBeRelative: false },
  { name: 'VOUT_OV_FAULT_LIMIT', command: 0x40, section: '15.2', mayBeRelative: true },
  { name: 'VOUT_OV_WARN_LIMIT', command: 0x42, section: '15.4', mayBeRelative: true },
  { name: 'VOUT_UV_WARN_LIMIT', command: 0x43, section: '15.5', mayBeRelative: true },
  { name: 'VOUT_UV_FAULT_LIMIT', command: 0x44, section: '15.6', mayBeRelative: true },
  { name: 'POWER_GOOD_ON', command: 0x5e, section: '15.32', mayBeRelative: false },
  { name: 'POWER_GOOD_OFF', command: 0x5f, section: '15.32', mayBeRelative: false },
] as const satisfies readonly VoutSetting[];

export type VoutSettingName = (typeof VOUT_SETTINGS)[number]['name'];
