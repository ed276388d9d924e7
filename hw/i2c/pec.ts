/** x^8 + x^2 + x + 1 without its highest term (SMBus specification 3.1, section 6.4.1.1). */
const POLYNOMIAL = 0x07;

/** Rest of the division of a byte, for all bytes. */
const RESTS = Uint8Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit += 1) rest = ((rest << 1) ^ ((rest & 0x80) === 0 ? 0 : POLYNOMIAL)) & 0xff;
  return rest;
});

/** The packet error check of a message: all its bytes in their order, each address with its direction in bit 0 among them. */
export function packetErrorCode(bytes: Iterable<number>): number {
  let rest = 0;
  for (const byte of bytes) rest = RESTS[(rest ^ byte) & 0xff] ?? 0;
  return rest;
}

/** The bytes of a write to a device, without the check. */
export function writeMessage(address: number, command: number, data: readonly number[]): number[] {
  return [address << 1, command, ...data];
}

/** The bytes of a read of a register, without the check. */
export function readMessage(address: number, command: number, data: Iterable<number>): number[] {
  return [address << 1, command, (address << 1) | 1, ...data];
}
