import { accessSync, constants, readFileSync } from 'node:fs';
import fc from 'fast-check';

// The same cases in every run, so that a change is judged by what it changed. FAST_CHECK_SEED draws others; a failure
// prints the seed and the path that replay it.
fc.configureGlobal({ seed: Number(process.env.FAST_CHECK_SEED ?? 1) });

// What the program writes it writes for good, and a disk takes its time for that: the folders that tests make lie in memory.
if (isMemory('/dev/shm')) process.env.TMPDIR = '/dev/shm';

/** Whether a folder is a file system in memory that this user may write to, and that runs programs, as containers' do not. */
function isMemory(folder: string): boolean {
  const mount = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .find(([, at]) => at === folder);
  if (mount?.[2] !== 'tmpfs' || mount[3]?.split(',').includes('noexec')) return false;
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
