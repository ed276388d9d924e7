import { HardwareError } from '../errors.ts';
import type { I2cDevice } from '../ports.ts';

/* Sections are those of the PMBus specification 1.3.1, part II. */

/** What a device says of itself. */
export const IDENTITY_REGISTERS = [
  { name: 'MFR_ID', command: 0x99, section: '22.2.1' },
  { name: 'MFR_MODEL', command: 0x9a, section: '22.2.2' },
  { name: 'MFR_REVISION', command: 0x9b, section: '22.2.3' },
  { name: 'IC_DEVICE_ID', command: 0xad, section: '22.2.7' },
  { name: 'IC_DEVICE_REV', command: 0xae, section: '22.2.8' },
] as const;

/**
 * What a device has to say, by the names of registers: `0x` and two digits for each byte in the order in which the device sends
 * them, or else text. Of text the spaces and zeros that fill a register up do not count.
 */
export type Identity = {
  readonly [Name in (typeof IDENTITY_REGISTERS)[number]['name']]?: string | undefined;
};

/** The bytes that are meant by `0x` and their digits; null for text. */
export function bytesOf(expected: string): number[] | null {
  if (!expected.startsWith('0x')) return null;
  return (expected.slice(2).match(/../g) ?? []).map((digits) => Number.parseInt(digits, 16));
}

/**
 * Rejects `PMBUS_IDENTITY` where the device says something else, and as `I2cBus.transaction` where it says nothing.
 * @param where for the message, with what it is told of the device
 */
export async function expectIdentity(
  device: I2cDevice,
  { where, details }: { readonly where: string; readonly details: Record<string, unknown> },
  identity: Identity,
): Promise<void> {
  for (const { name, command } of IDENTITY_REGISTERS) {
    const expected = identity[name];
    if (expected === undefined) continue;
    const found = await read(device, command, expected);
    if (isSame(found, expected)) continue;
    const says = bytesOf(expected) === null ? JSON.stringify(textOf(found)) : hexOf(found);
    throw new HardwareError(
      'PMBUS_IDENTITY',
      `${where} is not the device of the board file: its ${name} is ${says}, and ${bytesOf(expected) === null ? JSON.stringify(expected) : expected} is expected: it is told nothing but to switch off`,
      { ...details, register: name, found: says, expected },
    );
  }
}

/** Some devices, as the MAX34451, have a register of one byte where the specification has a block. */
async function read(device: I2cDevice, command: number, expected: string): Promise<readonly number[]> {
  const bytes = bytesOf(expected) ?? [...Buffer.from(expected, 'latin1')];
  if (bytes.length === 1) {
    const byte = await device.readByte(command);
    if (byte === bytes[0]) return bytes;
  }
  return device.readBlock(command, bytes.length);
}

function isSame(found: readonly number[], expected: string): boolean {
  const bytes = bytesOf(expected);
  if (bytes === null) return textOf(found) === expected;
  return bytes.length === found.length && bytes.every((byte, index) => byte === found[index]);
}

function textOf(found: readonly number[]): string {
  return Buffer.from(found)
    .toString('latin1')
    .replace(/[\0 ]+$/, '');
}

function hexOf(found: readonly number[]): string {
  return `0x${Buffer.from(found).toString('hex')}`;
}
