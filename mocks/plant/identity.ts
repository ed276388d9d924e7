import type { DeviceBoard } from '../../src/board/schema.ts';

/** PMBus specification 1.3.1 part II, table 31. */
const COMMANDS = {
  MFR_ID: 0x99,
  MFR_MODEL: 0x9a,
  MFR_REVISION: 0x9b,
  IC_DEVICE_ID: 0xad,
  IC_DEVICE_REV: 0xae,
} as const;

/** Text is a register of so many characters at least, filled up with spaces, as that of the MAX15303. */
const TEXT_BYTES = 6;
/** What the device says that has taken its place. */
const OTHER = Buffer.from('OTHER ');

/** What the device reads in a register that says what it is; undefined where the board does not say. */
export function identityOf(
  identity: DeviceBoard['identity'],
  command: number,
  isReplaced: boolean,
): readonly number[] | undefined {
  for (const name of Object.keys(COMMANDS) as (keyof typeof COMMANDS)[]) {
    const said = identity?.[name];
    if (said === undefined || COMMANDS[name] !== command) continue;
    if (isReplaced) return [...OTHER];
    return [
      ...(said.startsWith('0x') ? Buffer.from(said.slice(2), 'hex') : Buffer.from(said.padEnd(TEXT_BYTES))),
    ];
  }
  return undefined;
}
