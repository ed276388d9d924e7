import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createBootId } from '../../src/system/boot.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'boot-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

it('the id of the boot is what the kernel says', () => {
  writeFileSync(join(dir, 'boot_id'), '5bd9-x\n');
  expect(createBootId(join(dir, 'boot_id'))()).toBe('5bd9-x');
});

it.each([
  ['there is none', () => undefined],
  ['it is empty', () => writeFileSync(join(dir, 'boot_id'), '\n')],
])('where %s a process has one of its own, which no other one has', (_, put) => {
  put();
  const [mine, other] = [createBootId(join(dir, 'boot_id')), createBootId(join(dir, 'boot_id'))];
  expect(mine()).toBe(mine());
  expect(mine()).not.toBe(other());
  expect(mine()).not.toBe('');
});
