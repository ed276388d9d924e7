import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { readAttribute } from '../attribute.ts';

/**
 * The file operations of the sensor driver. What the kernel answers from its memory is answered at once; a voltage is promised,
 * for its chip may be behind a bus that hangs.
 */
export interface SensorFiles {
  /** Names in a folder. */
  list(folder: string): string[];
  /** The path without links in it. */
  realPath(path: string): string;
  /** Content of a file that the kernel has in its memory: the name of a chip, the label of an input. */
  readKnown(path: string): string;
  /** Content of a file that asks a chip, in one read of at most a page, as the kernel gives it. */
  readAttribute(path: string): Promise<string>;
}

/** The files of the machine. Errors are Node's system errors. */
export const sensorFiles: SensorFiles = {
  list: (folder) => readdirSync(folder),
  realPath: (path) => realpathSync(path),
  readKnown: (path) => readFileSync(path, 'utf8'),
  readAttribute,
};
