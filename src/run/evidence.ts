import { errorText, HardwareError } from '../../hw/errors.ts';
import type { PmbusPage } from '../../hw/pmbus/pmbus.ts';
import { registersToldBy, STATUS_WORD, type StatusReading, statusReading } from '../../hw/pmbus/status.ts';
import type { ChassisBoard } from '../board/schema.ts';

/** What a PMBus device said after a fault. */
export interface Evidence {
  readonly device: string;
  readonly page: number;
  readonly statusWord: number | null;
  /** STATUS_WORD with the names of its bits, and each register that it says has something to tell. */
  readonly status: readonly StatusReading[];
  readonly voutVolts: number | null;
  /** Why a register could not be read, null when all were. */
  readonly error: string | null;
}

/** Every PMBus page of the chassis, and the first one of its evidence devices; never rejects. */
export async function readEvidence(
  { rails, evidence }: ChassisBoard,
  openPage: (device: string, page: number) => Promise<PmbusPage>,
): Promise<Evidence[]> {
  const pages = new Map<string, [device: string, page: number]>();
  const add = (device: string, page: number) => pages.set(`${device}/${page}`, [device, page]);
  for (const { enable, good } of Object.values(rails)) {
    for (const part of [enable, good]) if (part && 'pmbus' in part) add(part.pmbus, part.page);
  }
  for (const device of evidence) add(device, 0);
  const found: Evidence[] = [];
  for (const [device, page] of pages.values()) {
    found.push(await readPage(device, page, () => openPage(device, page)));
  }
  return found;
}

async function readPage(device: string, page: number, open: () => Promise<PmbusPage>): Promise<Evidence> {
  const errors: string[] = [];
  let hangs = false;
  // A register that cannot be read is itself evidence, and must not hide the others.
  const tryRead = async (read: (from: PmbusPage) => Promise<number>): Promise<number | null> => {
    // A device that hangs is waited for once.
    if (hangs) return null;
    try {
      return await read(await open());
    } catch (error) {
      errors.push(errorText(error));
      hangs = error instanceof HardwareError && error.code === 'I2C_TIMEOUT';
      return null;
    }
  };
  const end = (statusWord: number | null, status: readonly StatusReading[], voutVolts: number | null) => {
    const error = errors.length === 0 ? null : errors.join('; ');
    return { device, page, statusWord, status, voutVolts, error };
  };
  const statusWord = await tryRead((from) => from.statusWord());
  // A device that does not even answer STATUS_WORD is asked for nothing else.
  if (statusWord === null) return end(null, [], null);
  const status = [statusReading(STATUS_WORD, statusWord)];
  for (const register of registersToldBy(statusWord)) {
    const value = await tryRead((from) => from.readStatus(register));
    if (value !== null) status.push(statusReading(register, value));
  }
  return end(statusWord, status, await tryRead((from) => from.readVoutVolts()));
}
