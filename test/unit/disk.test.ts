import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createDisk } from '../../hw/disk.ts';
import { createMemoryDisk } from '../../mocks/disk.ts';
import { describeDisk } from '../contract/disk-contract.ts';

const dir = mkdtempSync(join(tmpdir(), 'disk-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let made = 0;

describeDisk('the file system of this machine', async () => {
  made += 1;
  return { disk: createDisk(), directory: join(dir, String(made)) };
});
describeDisk('in memory', async () => ({ disk: createMemoryDisk(), directory: '/state' }));

it('a file system that takes no directory says so', async () => {
  // procfs says of a new directory that there is none, as a directory does that was removed under its mount.
  const made = createDisk().makeDirectory('/proc/chassis-power/runs');
  await expect(made).rejects.toMatchObject({ code: 'ENOENT' });
});

describe('a disk in memory that loses its power', () => {
  it('has what was synced with its name, and of the rest what the cut leaves', async () => {
    const disk = createMemoryDisk();
    await disk.makeDirectory('/d');
    await disk.create('/d/whole', 'whole');
    await disk.syncDirectory('/d');
    await disk.create('/d/named', 'named');
    expect(disk.afterCut(() => 0).files()).toEqual({ '/d/whole': 'whole' });
    expect(disk.afterCut((most) => most).files()).toEqual({ '/d/whole': 'whole', '/d/named': 'named' });
  });

  it('leaves a file torn that was cut while it was written, or with zeros, and is dead after that', async () => {
    const cutAt = (step: string) => {
      const disk = createMemoryDisk();
      disk.trouble = (each) => (each === step ? 'cut' : null);
      return disk;
    };
    const disk = cutAt('write');
    await disk.makeDirectory('/d');
    let isOver = false;
    void disk.create('/d/file', 'text').finally(() => {
      isOver = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(isOver).toBe(false);
    const answers = [1, 2, 1];
    expect(disk.afterCut(() => answers.shift() ?? 0).files()).toEqual({ '/d/file': 'te' });
    const zeros = [1, 2, 0];
    expect(disk.afterCut(() => zeros.shift() ?? 0).files()).toEqual({ '/d/file': '\0\0' });
  });
});
