import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { watchFile } from '../../src/store/watch-file.ts';
import { createManualClock } from './manual-clock.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-watch-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Watches a file, and counts how often it is said to have changed. */
function setUp(path = join(dir, 'run', 'state.json')) {
  const clock = createManualClock();
  const warnings: string[] = [];
  let changes = 0;
  const end = watchFile(path, {
    clock,
    changed: () => {
      changes += 1;
    },
    warn: (message) => warnings.push(message),
  });
  return {
    path,
    folder: join(path, '..'),
    clock,
    warnings,
    end,
    changes: () => changes,
    /** Whether a change becomes known within a second. What the kernel told before counts too. */
    async changesSeen(): Promise<boolean> {
      const before = changes;
      await clock.advance(1_000);
      return changes > before;
    },
  };
}

function setUpWithFile() {
  mkdirSync(join(dir, 'run'));
  writeFileSync(join(dir, 'run', 'state.json'), 'first');
  return setUp();
}

describe('a watched file', () => {
  it('is told of when it comes, is written and goes, and of nothing else, to the end', async () => {
    const watch = setUp();
    expect(await watch.changesSeen()).toBe(false);
    writeFileSync(watch.path, 'first');
    expect(await watch.changesSeen()).toBe(true);
    expect(await watch.changesSeen()).toBe(false);
    writeFileSync(join(watch.folder, 'other'), 'other');
    expect(await watch.changesSeen()).toBe(false);
    writeFileSync(watch.path, 'second one');
    expect(await watch.changesSeen()).toBe(true);
    rmSync(watch.path);
    expect(await watch.changesSeen()).toBe(true);
    expect(watch.warnings).toEqual([]);
    watch.end();
    writeFileSync(watch.path, 'third');
    expect(await watch.changesSeen()).toBe(false);
    expect(watch.clock.pendingCount).toBe(0);
  });

  it('in a folder that cannot be watched is looked at all the same, and that is told once', async () => {
    writeFileSync(join(dir, 'run'), 'a file in its place');
    const watch = setUp();
    await watch.clock.advance(5_000);
    expect(watch.warnings).toEqual([
      expect.stringMatching(/^.*\/run cannot be watched \(.+\): it is looked at once a second$/),
    ]);
    watch.end();
    expect(watch.clock.pendingCount).toBe(0);
  });

  it.each([
    ['replaced by another folder', (folder: string) => renameSync(folder, `${folder}.old`)],
    ['removed and made again', (folder: string) => rmSync(folder, { recursive: true })],
  ])('in a folder that is %s is seen all the same, again and again', async (_, put) => {
    const watch = setUpWithFile();
    for (const content of ['second', 'third']) {
      put(watch.folder);
      mkdirSync(watch.folder);
      writeFileSync(watch.path, content);
      expect(await watch.changesSeen()).toBe(true);
      // What is written there later as well.
      writeFileSync(`${watch.path}.new`, `${content} later`);
      renameSync(`${watch.path}.new`, watch.path);
      expect(await watch.changesSeen()).toBe(true);
      rmSync(`${watch.folder}.old`, { recursive: true, force: true });
    }
    expect(watch.warnings).toMatchObject([expect.stringMatching(/was replaced/)]);
    watch.end();
    expect(watch.clock.pendingCount).toBe(0);
  });

  it('in a folder whose place another one takes, of which the kernel tells nothing, is looked at once a second', async () => {
    // The kernel tells of what happens to the folder and in it, not of what happens to the one above.
    const above = join(dir, 'above');
    const path = join(above, 'run', 'state.json');
    const put = (content: string) => {
      mkdirSync(join(above, 'run'), { recursive: true });
      writeFileSync(path, content);
    };
    put('first');
    const watch = setUp(path);
    for (let round = 1; round <= 3; round += 1) {
      renameSync(above, `${above}.${round}`);
      put(`${round}`);
      await watch.clock.advance(999);
      expect(watch.changes()).toBe(round - 1);
      await watch.clock.advance(1);
      expect(watch.changes()).toBe(round);
    }
    watch.end();
    put('nobody looks any more');
    await watch.clock.advance(10_000);
    expect(watch.changes()).toBe(3);
    expect(watch.clock.pendingCount).toBe(0);
  });

  it('whose folder goes away is gone, and the folder is made again', async () => {
    const watch = setUpWithFile();
    rmSync(watch.folder, { recursive: true });
    expect(await watch.changesSeen()).toBe(true);
    expect(existsSync(watch.folder)).toBe(true);
    expect(await watch.changesSeen()).toBe(false);
    watch.end();
  });
});
