import { noBlock, type TransferPlace, wrongPec } from './errors.ts';
import { packetErrorCode, readMessage, writeMessage } from './pec.ts';
import type { I2cBusObject } from './transfers.ts';

/** How the SMBus transfers of a device are made with i2c-bus. */
export interface SmbusTransfers {
  /** Read Byte or Read Word, low byte first. */
  read(object: I2cBusObject, place: TransferPlace, length: 1 | 2): Promise<number>;
  /** Block Read. */
  readBlock(object: I2cBusObject, place: TransferPlace, length: number): Promise<readonly number[]>;
  /** Write Byte or Write Word, low byte first. */
  write(object: I2cBusObject, place: TransferPlace, value: number, length: 1 | 2): Promise<unknown>;
}

/**
 * Most bytes that i2c-bus reads at once (`I2C_SMBUS_BLOCK_MAX` of the kernel's `linux/i2c.h`). A block begins with the number of
 * its bytes, and ends with its check.
 */
const MOST_BYTES = 32;

/**
 * The bytes of a block, as many as it says, and its check. What is read beyond them the device may take for a fault of the host
 * (10.8 of the PMBus specification 1.3.1, part II; MAX34451 data sheet, "Host Reads Too Many Bytes or Bits"), and what is left of
 * them none does; but the devices of QEMU send that with the next read. So it is read by the length that is expected, and by
 * another one only where the device says so.
 * @param endBytes that come after the block
 */
async function readBlock(
  object: I2cBusObject,
  place: TransferPlace,
  expected: number,
  endBytes: 0 | 1,
): Promise<{ readonly data: readonly number[]; readonly sent: number | undefined }> {
  const most = MOST_BYTES - 1 - endBytes;
  const readAs = async (length: number) => {
    const buffer = Buffer.alloc(1 + length + endBytes);
    const { bytesRead } = await object.readI2cBlock(place.address, place.command, buffer.length, buffer);
    const count = buffer.readUInt8();
    if (bytesRead !== buffer.length || count < 1 || count > most) throw noBlock(place, count, most);
    return { count, data: [...buffer.subarray(1, 1 + length)], sent: buffer[1 + length] };
  };
  const first = await readAs(expected);
  if (first.count === expected) return first;
  const { count, data, sent } = await readAs(first.count);
  if (count !== first.count) throw noBlock(place, count, most);
  return { data, sent };
}

export const PLAIN: SmbusTransfers = {
  read: (object, { address, command }, length) =>
    length === 1 ? object.readByte(address, command) : object.readWord(address, command),
  readBlock: async (object, place, length) => (await readBlock(object, place, length, 0)).data,
  write: (object, { address, command }, value, length) =>
    length === 1 ? object.writeByte(address, command, value) : object.writeWord(address, command, value),
};

/**
 * With a packet error check. i2c-bus has none for its SMBus calls. A block of plain I2C has the same bytes on the wire, and
 * the check is the last of them.
 */
export const CHECKED: SmbusTransfers = {
  async read(object, place, length) {
    const { address, command } = place;
    const buffer = Buffer.alloc(length + 1);
    const { bytesRead } = await object.readI2cBlock(address, command, buffer.length, buffer);
    const data = buffer.subarray(0, length);
    const sent = buffer[length];
    const expected = packetErrorCode(readMessage(address, command, data));
    if (bytesRead !== buffer.length || sent !== expected) throw wrongPec(place, { sent, expected });
    return data.readUIntLE(0, length);
  },
  async readBlock(object, place, length) {
    const { address, command } = place;
    const { data, sent } = await readBlock(object, place, length, 1);
    const expected = packetErrorCode(readMessage(address, command, [data.length, ...data]));
    if (sent !== expected) throw wrongPec(place, { sent, expected });
    return data;
  },
  write(object, { address, command }, value, length) {
    const data = length === 1 ? [value] : [value & 0xff, value >> 8];
    const buffer = Buffer.of(...data, packetErrorCode(writeMessage(address, command, data)));
    return object.writeI2cBlock(address, command, buffer.length, buffer);
  },
};
