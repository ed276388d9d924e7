/* Sections are those of the PMBus specification 1.3.1, part II. */

/** What is named by one bit of a status register. */
export interface StatusBit {
  /** As the specification calls it. */
  readonly name: string;
  /** For people. */
  readonly means: string;
}

/** A status register. Its bits stay set until they are cleared, or the output is switched on again (10.2). */
export interface StatusRegister {
  readonly name: string;
  readonly command: number;
  readonly section: string;
  /** Bits of STATUS_WORD of which one at least is set when this register has something to tell; 0 for STATUS_WORD itself. */
  readonly toldBy: number;
  /** By number; a bit that is not here is reserved, or the manufacturer's own. */
  readonly bits: Readonly<Record<number, StatusBit>>;
}

/** A status register that was read. */
export interface StatusReading {
  readonly register: string;
  readonly value: number;
  /** Those that are set, highest first. */
  readonly bits: readonly StatusBit[];
}

/** Bits 7 to 0 are STATUS_BYTE (17.1). */
export const STATUS_WORD: StatusRegister = {
  name: 'STATUS_WORD',
  command: 0x79,
  section: '17.2',
  toldBy: 0,
  bits: {
    15: { name: 'VOUT', means: 'output voltage' },
    14: { name: 'IOUT/POUT', means: 'output current or power' },
    13: { name: 'INPUT', means: 'input' },
    12: { name: 'MFR_SPECIFIC', means: 'manufacturer specific' },
    11: { name: 'POWER_GOOD#', means: 'power not good' },
    10: { name: 'FANS', means: 'fans' },
    9: { name: 'OTHER', means: 'other' },
    8: { name: 'UNKNOWN', means: 'unknown' },
    7: { name: 'BUSY', means: 'busy' },
    6: { name: 'OFF', means: 'off' },
    5: { name: 'VOUT_OV_FAULT', means: 'output overvoltage fault' },
    4: { name: 'IOUT_OC_FAULT', means: 'output overcurrent fault' },
    3: { name: 'VIN_UV_FAULT', means: 'input undervoltage fault' },
    2: { name: 'TEMPERATURE', means: 'temperature' },
    1: { name: 'CML', means: 'communication, memory or logic' },
    0: { name: 'NONE OF THE ABOVE', means: 'something else' },
  },
};

/** The bit of STATUS_WORD that sums up STATUS_VOUT. */
export const VOUT_BIT = 1 << 15;
/** The bit of STATUS_WORD that is set while the output does not deliver, for whatever reason (17.2). */
export const OFF_BIT = 1 << 6;
/** The bit of STATUS_WORD that is set while the output is not good. */
export const NOT_GOOD_BIT = 1 << 11;

const STATUS_VOUT: StatusRegister = {
  name: 'STATUS_VOUT',
  command: 0x7a,
  section: '17.3',
  toldBy: (1 << 15) | (1 << 5),
  bits: {
    7: { name: 'VOUT_OV_FAULT', means: 'overvoltage fault' },
    6: { name: 'VOUT_OV_WARNING', means: 'overvoltage warning' },
    5: { name: 'VOUT_UV_WARNING', means: 'undervoltage warning' },
    4: { name: 'VOUT_UV_FAULT', means: 'undervoltage fault' },
    3: { name: 'VOUT_MAX_MIN_WARNING', means: 'told to leave its limits' },
    2: { name: 'TON_MAX_FAULT', means: 'did not come up in time' },
    1: { name: 'TOFF_MAX_WARNING', means: 'did not go down in time' },
    0: { name: 'VOUT_TRACKING_ERROR', means: 'tracking error' },
  },
};

const STATUS_IOUT: StatusRegister = {
  name: 'STATUS_IOUT',
  command: 0x7b,
  section: '17.4',
  toldBy: (1 << 14) | (1 << 4),
  bits: {
    7: { name: 'IOUT_OC_FAULT', means: 'overcurrent fault' },
    6: { name: 'IOUT_OC_LV_FAULT', means: 'overcurrent and low voltage fault' },
    5: { name: 'IOUT_OC_WARNING', means: 'overcurrent warning' },
    4: { name: 'IOUT_UC_FAULT', means: 'undercurrent fault' },
    3: { name: 'CURRENT_SHARE_FAULT', means: 'current share fault' },
    2: { name: 'IN_POWER_LIMITING_MODE', means: 'limits its power' },
    1: { name: 'POUT_OP_FAULT', means: 'overpower fault' },
    0: { name: 'POUT_OP_WARNING', means: 'overpower warning' },
  },
};

const STATUS_INPUT: StatusRegister = {
  name: 'STATUS_INPUT',
  command: 0x7c,
  section: '17.5',
  toldBy: (1 << 13) | (1 << 3),
  bits: {
    7: { name: 'VIN_OV_FAULT', means: 'input overvoltage fault' },
    6: { name: 'VIN_OV_WARNING', means: 'input overvoltage warning' },
    5: { name: 'VIN_UV_WARNING', means: 'input undervoltage warning' },
    4: { name: 'VIN_UV_FAULT', means: 'input undervoltage fault' },
    3: { name: 'OFF_FOR_LOW_VIN', means: 'off because its input is too low' },
    2: { name: 'IIN_OC_FAULT', means: 'input overcurrent fault' },
    1: { name: 'IIN_OC_WARNING', means: 'input overcurrent warning' },
    0: { name: 'PIN_OP_WARNING', means: 'input overpower warning' },
  },
};

const STATUS_TEMPERATURE: StatusRegister = {
  name: 'STATUS_TEMPERATURE',
  command: 0x7d,
  section: '17.6',
  toldBy: 1 << 2,
  bits: {
    7: { name: 'OT_FAULT', means: 'overtemperature fault' },
    6: { name: 'OT_WARNING', means: 'overtemperature warning' },
    5: { name: 'UT_WARNING', means: 'undertemperature warning' },
    4: { name: 'UT_FAULT', means: 'undertemperature fault' },
  },
};

const STATUS_CML: StatusRegister = {
  name: 'STATUS_CML',
  command: 0x7e,
  section: '17.7',
  toldBy: 1 << 1,
  bits: {
    7: { name: 'INVALID_COMMAND', means: 'got a command that it does not have' },
    6: { name: 'INVALID_DATA', means: 'got data that it does not take' },
    5: { name: 'PACKET_ERROR', means: 'got a packet error check that was wrong' },
    4: { name: 'MEMORY_FAULT', means: 'memory fault' },
    3: { name: 'PROCESSOR_FAULT', means: 'processor fault' },
    1: { name: 'OTHER_COMMUNICATION_FAULT', means: 'other communication fault' },
    0: { name: 'OTHER_MEMORY_OR_LOGIC_FAULT', means: 'other memory or logic fault' },
  },
};

const STATUS_MFR_SPECIFIC: StatusRegister = {
  name: 'STATUS_MFR_SPECIFIC',
  command: 0x80,
  section: '17.9',
  toldBy: 1 << 12,
  bits: {},
};

/** What STATUS_WORD sums up, one byte each. */
export const STATUS_REGISTERS: readonly StatusRegister[] = [
  STATUS_VOUT,
  STATUS_IOUT,
  STATUS_INPUT,
  STATUS_TEMPERATURE,
  STATUS_CML,
  STATUS_MFR_SPECIFIC,
];

/** The registers that have something to tell by this STATUS_WORD. Others are not asked for: a device may lack them. */
export function registersToldBy(statusWord: number): readonly StatusRegister[] {
  return STATUS_REGISTERS.filter(({ toldBy }) => (statusWord & toldBy) !== 0);
}

export function statusReading({ name, bits }: StatusRegister, value: number): StatusReading {
  const set: StatusBit[] = [];
  for (let bit = 15; bit >= 0; bit -= 1) {
    if ((value & (1 << bit)) !== 0) set.push(bits[bit] ?? { name: `bit ${bit}`, means: `bit ${bit}` });
  }
  return { register: name, value, bits: set };
}
