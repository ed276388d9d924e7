import { closeSync, constants, openSync, read } from 'node:fs';

/** PAGE_SIZE, the most that a sysfs file has (Documentation/filesystems/sysfs.rst). */
const PAGE_BYTES = 4_096;

/** Content of a file of sysfs that asks a device, in one read of at most a page, as the kernel gives it. */
export function readAttribute(path: string): Promise<string> {
  return withFile(path, constants.O_RDONLY, (fd, done) => {
    const page = Buffer.allocUnsafe(PAGE_BYTES);
    read(fd, page, 0, PAGE_BYTES, 0, (error, bytes) => done(error, page.toString('utf8', 0, bytes)));
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
