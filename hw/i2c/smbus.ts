import { type TransferPlace, wrongPec } from './errors.ts';
import { packetErrorCode, readMessage, writeMessage } from './pec.ts';
import type { I2cBusObject } from './transfers.ts';

/** How the SMBus transfers of a device are made with i2c-bus. */
export interface SmbusTransfers {
  /** Read Byte or Read Word, low byte first. */
  read(object: I2cBusObject, place: TransferPlace, length: 1 | 2): Promise<number>;
  /** Write Byte or Write Word, low byte first. */
  write(object: I2cBusObject, place: TransferPlace, value: number, length: 1 | 2): Promise<unknown>;
}

export const PLAIN: SmbusTransfers = {
  read: (object, { address, command }, length) =>
    length === 1 ? object.readByte(address, command) : object.readWord(address, command),
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
  write(object, { address, command }, value, length) {
    const data = length === 1 ? [value] : [value & 0xff, value >> 8];
    const buffer = Buffer.of(...data, packetErrorCode(writeMessage(address, command, data)));
    return object.writeI2cBlock(address, command, buffer.length, buffer);
  },
};
