import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Disk } from '../../hw/disk.ts';

export interface DiskSetup {
  readonly disk: Disk;
  /** Is there, and is empty. */
  readonly directory: string;
}

/** The contract of `Disk`, for the file systems of this machine and for the one in memory. */
export function describeDisk(name: string, setUp: () => Promise<DiskSetup>): void {
  describe(`${name}: a disk`, () => {
    it('has the text of a file that was created, in a directory that was made for it', async () => {
      const { disk, directory } = await setUp();
      const folder = join(directory, 'made', 'for it');
      await disk.makeDirectory(folder);
      await disk.makeDirectory(folder);
      await disk.create(join(folder, 'file'), 'grün\n');
      expect(await disk.read(join(folder, 'file'), 100)).toBe('grün\n');
      expect(await disk.list(folder)).toEqual(['file']);
      await disk.syncDirectory(folder);
    });

    it('creates no file where one is, and leaves that as it is', async () => {
      const { disk, directory } = await setUp();
      const path = join(directory, 'file');
      await disk.makeDirectory(directory);
      await disk.create(path, 'first');
      await expect(disk.create(path, 'second')).rejects.toMatchObject({ code: 'EEXIST' });
      expect(await disk.read(path, 100)).toBe('first');
    });

    it('creates no directory by the way', async () => {
      const { disk, directory } = await setUp();
      await expect(disk.create(join(directory, 'none', 'file'), '')).rejects.toMatchObject({
        code: 'ENOENT',
      });
    });

    it('renames over what is there', async () => {
      const { disk, directory } = await setUp();
      await disk.makeDirectory(directory);
      await disk.create(join(directory, 'old'), 'old');
      await disk.create(join(directory, 'new'), 'new');
      await disk.rename(join(directory, 'new'), join(directory, 'old'));
      expect(await disk.list(directory)).toEqual(['old']);
      expect(await disk.read(join(directory, 'old'), 100)).toBe('new');
      await expect(disk.rename(join(directory, 'new'), join(directory, 'x'))).rejects.toMatchObject({
        code: 'ENOENT',
      });
    });

    it('removes a file, and one that is not there', async () => {
      const { disk, directory } = await setUp();
      await disk.makeDirectory(directory);
      await disk.create(join(directory, 'file'), '');
      await disk.remove(join(directory, 'file'));
      await disk.remove(join(directory, 'file'));
      expect(await disk.list(directory)).toEqual([]);
      await expect(disk.read(join(directory, 'file'), 100)).rejects.toMatchObject({ code: 'ENOENT' });
    });

    it('has nothing in a directory that is not there', async () => {
      const { disk, directory } = await setUp();
      expect(await disk.list(join(directory, 'none'))).toEqual([]);
    });

    it('refuses a file that is longer than it may be', async () => {
      const { disk, directory } = await setUp();
      await disk.makeDirectory(directory);
      await disk.create(join(directory, 'file'), 'ü'.repeat(8));
      expect(await disk.read(join(directory, 'file'), 16)).toHaveLength(8);
      await expect(disk.read(join(directory, 'file'), 15)).rejects.toMatchObject({ code: 'FILE_STRANGE' });
    });
  });
}
