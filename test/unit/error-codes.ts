/** The error codes of the program, as its sources list them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');

/** Of lines, I2C buses and PMBus devices. */
export const HARDWARE_CODES = codesOf('hw/errors.ts', 'HardwareErrorCode');
/** Of D-Bus and of the services on it. */
export const SYSTEM_CODES = codesOf('src/system/errors.ts', 'SystemErrorCode');
/** Of what the program itself cannot or will not do. */
export const POWER_CODES = codesOf('src/errors.ts', 'PowerErrorCode');

/** The texts of a union, by the name of its type. */
function codesOf(file: string, type: string): readonly string[] {
  const source = readFileSync(join(ROOT, file), 'utf8');
  const union = new RegExp(`type ${type} =([^;]*);`).exec(source)?.[1];
  if (union === undefined) throw new Error(`${file} has no type ${type}`);
  return [...union.matchAll(/^ *\| '(\w+)'/gm)].map(([, code = '']) => code);
}
