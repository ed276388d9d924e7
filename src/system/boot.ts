import { readFileSync } from 'node:fs';
import { randomMark } from '../../hw/files.ts';

/** random(4): an id of this boot of the kernel, which all of its containers share. */
const BOOT_ID = '/proc/sys/kernel/random/boot_id';

/**
 * The id of this boot. Where the process is not shown it, as with `ProcSubset=pid` of systemd, it is one of this process alone: what
 * another process kept counts as of another boot then, and the lines are believed without it.
 */
export function createBootId(path = BOOT_ID): () => string {
  const own = `unknown-${randomMark()}${randomMark()}`;
  return () => {
    try {
      return readFileSync(path, 'utf8').trim() || own;
    } catch {
      return own;
    }
  };
}
