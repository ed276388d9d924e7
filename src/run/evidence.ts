import { errorText } from '../../hw/errors.ts';
import type { PmbusPage } from '../../hw/pmbus/pmbus.ts';
import type { ChassisBoard } from '../board/schema.ts';

/** What a PMBus device said after a fault. */
export interface Evidence {
  readonly device: string;
  readonly page: number;
  readonly statusWord: number | null;
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
  // A register that cannot be read is itself evidence, and must not hide the others.
  const tryRead = async (read: () => Promise<number>): Promise<number | null> => {
    try {
      return await read();
    } catch (error) {
      errors.push(errorText(error));
      return null;
    }
  };
  const statusWord = await tryRead(async () => (await open()).statusWord());
  // A device that does not even answer STATUS_WORD costs no second deadline.
  const voutVolts = statusWord === null ? null : await tryRead(async () => (await open()).readVoutVolts());
  return { device, page, statusWord, voutVolts, error: errors.length === 0 ? null : errors.join('; ') };
}
