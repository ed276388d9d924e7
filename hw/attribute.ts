import { closeSync, constants, openSync, read } from 'node:fs';

/** PAGE_SIZE, the most that a sysfs file has (Documentation/filesystems/sysfs.rst). */
const PAGE_BYTES = 4_096;

/**
 * Content of a file of sysfs that asks a device, in one read, as the kernel gives it.
 * @param mostBytes that it can have: of few, many files are read into the same page
 */
export function readAttribute(path: string, mostBytes = PAGE_BYTES): Promise<string> {
  return withFile(path, constants.O_RDONLY, (fd, done) => {
    const bytes = Buffer.allocUnsafe(mostBytes);
    read(fd, bytes, 0, mostBytes, 0, (error, count) => done(error, bytes.toString('utf8', 0, count)));
  });
}

/** Opening and closing ask no device, so only what is done between them is done beside the event loop. */
export function withFile<Result = void>(
  path: string,
  flags: number,
  use: (fd: number, done: (error: Error | null, result: Result) => void) => void,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const fd = openSync(path, flags);
    use(fd, (error, result) => {
      try {
        closeSync(fd);
      } catch {
        // Linux frees the number whatever close(2) says.
      }
      if (error) reject(error);
      else resolve(result);
    });
  });
}
