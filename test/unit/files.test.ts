import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { loadBoard } from '../../src/board/load.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { holdUntilMs, nextDeadlineMs } from '../../src/sequence/deadlines.ts';
import { type SequenceState, STATES } from '../../src/sequence/state.ts';
import { sequenceSchema } from '../../src/sequence/state-schema.ts';
import { createLastingFile, lastingPath, NOTHING_LASTING } from '../../src/store/lasting.ts';
import { lockChassis } from '../../src/store/lock.ts';
import { clearOnMarker, hasOnMarker, setOnMarker } from '../../src/store/on-marker.ts';
import { snapshotPath } from '../../src/store/paths.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { MANIFEST_PATH, readManifest } from '../../src/units/install/manifest.ts';
import { createBench } from './bench.ts';
import { flock } from './flock.ts';
import { createManualClock } from './manual-clock.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-files-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const SECRET = 'not ours to write';
const victim = () => join(dir, 'victim');
const isRoot = process.geteuid?.() === 0 || process.env.CI === 'true';

/** What may stand in the place of a file; `path` is free, `victim` has the secret. */
const STRANGE: Readonly<Record<string, (path: string) => void>> = {
  'a link to a file': (path) => symlinkSync(victim(), path),
  'a link to a directory': (path) => symlinkSync(dir, path),
  'a link to nothing': (path) => symlinkSync(join(dir, 'created-by-a-link'), path),
  'a link to itself': (path) => symlinkSync(path, path),
  'a pipe': (path) => void spawnSync('mkfifo', [path]),
  'a directory': (path) => mkdirSync(path),
  'an empty file': (path) => writeFileSync(path, ''),
  'a file of NUL bytes': (path) => writeFileSync(path, Buffer.alloc(100)),
  'a file of no text': (path) => writeFileSync(path, Buffer.from([0x7b, 0xff, 0xfe, 0x80, 0x7d])),
  'a file of a terabyte': (path) => {
    writeFileSync(path, '{');
    truncateSync(path, 2 ** 40);
  },
  'a file that anybody may write': (path) => {
    writeFileSync(path, '{}');
    chmodSync(path, 0o666);
  },
  ...(isRoot && {
    'a device without end': (path: string) => void spawnSync('mknod', [path, 'c', '1', '5']),
    'a device that is always full': (path: string) => void spawnSync('mknod', [path, 'c', '1', '7']),
    "another user's file": (path: string) => {
      writeFileSync(path, '{}');
      chownSync(path, 65_534, 65_534);
    },
  }),
};

/** A file that the program opens, given what stands in its place. Throws what must not be. */
const FILES: Readonly<Record<string, (put: (path: string) => void, thing: string) => Promise<void>>> = {
  'the board file': async (put) => {
    const path = join(dir, 'board.json');
    put(path);
    await expect(loadBoard(path)).rejects.toMatchObject({ code: expect.stringMatching(/^BOARD_/) });
  },
  'the state file': async (put, thing) => {
    const bench = createBench('reference', { initially: 'on' });
    const open = () =>
      createSnapshotFile(dir, 0, { bootId: 'boot', boardHash: 'hash', plan: bench.plan, clock: bench.clock });
    put(snapshotPath(dir, 0));
    expect(open().load()).toMatchObject({ hint: null, warning: expect.stringMatching(/set aside/) });
    // And off still switches off.
    expect(await bench.run(JOBS.off, { store: open() })).toMatchObject({ state: 'off' });
    expect(bench.enabled()).toEqual([]);
    expect(open().load().hint?.state ?? null).toBe(thing === 'a directory' ? null : 'off');
  },
  'the lasting state': async (put, thing) => {
    const store = createLastingFile(dir, 0);
    put(lastingPath(dir, 0));
    expect(store.load()).toMatchObject({ state: null, warning: expect.any(String) });
    expect(store.save(NOTHING_LASTING), thing).toBeNull();
    expect(store.load()).toEqual({ state: NOTHING_LASTING, warning: null });
  },
  'the marker of other units': async (put) => {
    const path = join(dir, 'chassis@0-on');
    put(path);
    const before = readdirSync(dir);
    setOnMarker(dir, 0);
    expect(readdirSync(dir)).toEqual(before);
    try {
      clearOnMarker(dir, 0);
      expect(hasOnMarker(dir, 0)).toBe(false);
    } catch (error) {
      // A directory is not ours to remove: that is said, and nothing waits for it.
      expect(error).toMatchObject({ code: 'ERR_FS_EISDIR' });
      expect(statSync(path).isDirectory()).toBe(true);
    }
  },
  'the list of installed units': async (put) => {
    const path = join(dir, MANIFEST_PATH);
    mkdirSync(dirname(path), { recursive: true });
    put(path);
    await expect(readManifest(dir)).rejects.toMatchObject({ code: expect.stringMatching(/^UNITS_/) });
  },
  'the name of who has the lock': async (put) => {
    mkdirSync(join(dir, 'chassis0.lock'), { mode: 0o700 });
    put(join(dir, 'chassis0.lock', 'holder'));
    const lock = () =>
      lockChassis(dir, 0, 'on', {
        clock: createVirtualClock(),
        flock,
        waitMs: 0,
        signal: new AbortController().signal,
        onWait: () => undefined,
      });
    const held = await lock();
    await expect(lock()).rejects.toMatchObject({ code: 'CHASSIS_LOCKED' });
    held.release();
  },
};

describe.each(Object.keys(FILES))('%s never hangs and is never written through:', (name) => {
  it.each(Object.keys(STRANGE))('%s', { timeout: 10_000 }, async (thing) => {
    writeFileSync(victim(), SECRET);
    await FILES[name]?.((path) => STRANGE[thing]?.(path), thing);
    expect(readFileSync(victim(), 'utf8')).toBe(SECRET);
    expect(existsSync(join(dir, 'created-by-a-link'))).toBe(false);
  });

  it('a socket', { timeout: 10_000 }, async () => {
    let path = '';
    const server = createServer();
    await FILES[name]?.((at) => {
      path = at;
      server.listen(path);
    }, 'a socket').finally(() => server.close());
    expect(path).not.toBe('');
  });
});

/** Anything that a schema of valibot takes, with times until `nowMs`. */
function arbitraryOf(schema: unknown, nowMs: number): fc.Arbitrary<unknown> {
  const { type, entries, options, wrapped, item } = schema as {
    type: string;
    entries: Record<string, unknown>;
    options: readonly string[];
    wrapped: unknown;
    item: unknown;
  };
  switch (type) {
    case 'object': {
      const isRequired = (key: string) => (entries[key] as { type: string }).type !== 'optional';
      return fc.record(
        Object.fromEntries(Object.entries(entries).map(([key, each]) => [key, arbitraryOf(each, nowMs)])),
        { requiredKeys: Object.keys(entries).filter(isRequired) },
      );
    }
    case 'optional':
      return arbitraryOf(wrapped, nowMs);
    case 'nullable':
      return fc.option(arbitraryOf(wrapped, nowMs));
    case 'array':
      return fc.array(arbitraryOf(item, nowMs), { maxLength: 3 });
    case 'picklist':
      return fc.constantFrom(...options);
    case 'number':
      return fc.integer({ min: 0, max: nowMs });
    case 'boolean':
      return fc.boolean();
    case 'string':
      return fc.string();
    default:
      throw new TypeError(`no arbitrary for ${type}`);
  }
}

describe('a state file', () => {
  it('of every state, rail phase, doubt and kind of fault that there is, is believed as it was written', async () => {
    const { plan } = createBench('reference');
    const clock = createVirtualClock();
    await clock.advance(1_000_000);
    const nowMs = clock.nowMs();
    const store = createSnapshotFile(dir, 0, { bootId: 'boot', boardHash: 'hash', plan, clock });
    const { rails, absent: _, resetsAsserted, ...entries } = sequenceSchema.entries;
    const named = (value: unknown, names: readonly { readonly name: string }[]) =>
      fc.record(Object.fromEntries(names.map(({ name }) => [name, arbitraryOf(value, nowMs)])));
    const sequences = fc.record({
      ...Object.fromEntries(Object.entries(entries).map(([key, each]) => [key, arbitraryOf(each, nowMs)])),
      rails: named(rails.value, plan.rails),
      resetsAsserted: named(resetsAsserted.value, plan.resets),
    }) as fc.Arbitrary<unknown> as fc.Arbitrary<SequenceState>;
    const faults = new Set<string>();
    fc.assert(
      fc.property(fc.constantFrom(...STATES), sequences, (state, sequence) => {
        expect(store.save(state, sequence)).toBeNull();
        expect(store.load()).toEqual({ hint: { state, sequence }, warning: null });
        if (sequence.fault !== null) faults.add(sequence.fault.kind);
      }),
      { numRuns: 300 },
    );
    expect(faults.size).toBe(sequenceSchema.entries.fault.wrapped.entries.kind.options.length);
  });

  it('of any bytes is set aside or believed, and never an error', () => {
    const { plan } = createBench('reference');
    const clock = createManualClock();
    const store = createSnapshotFile(dir, 0, { bootId: 'boot', boardHash: 'hash', plan, clock });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.json().map(Buffer.from)), (bytes) => {
        writeFileSync(snapshotPath(dir, 0), bytes);
        expect(store.load().hint).toBeNull();
      }),
    );
  });

  it('with times that have not come yet holds nothing longer than the board does: minOffMs and its deadlines', async () => {
    const bench = createBench('reference');
    const open = () =>
      createSnapshotFile(dir, 0, { bootId: 'boot', boardHash: 'hash', plan: bench.plan, clock: bench.clock });
    await bench.run(JOBS.on, { store: open() });
    await bench.run(JOBS.off, { store: open() });
    const written = readFileSync(snapshotPath(dir, 0), 'utf8');
    const plan = { ...bench.plan, minOffMs: 1_000 };
    const longestMs = Math.max(
      plan.minOffMs,
      plan.pgood.deglitchMs,
      plan.pgood.onTimeoutMs,
      plan.pgood.offTimeoutMs,
      ...plan.rails.flatMap(({ settleMs, onTimeoutMs, offTimeoutMs }) => [
        settleMs,
        onTimeoutMs,
        offTimeoutMs,
      ]),
      ...plan.resets.map(({ releaseDelayMs }) => releaseDelayMs),
    );
    const nowMs = bench.clock.nowMs();
    let ahead = 0;
    fc.assert(
      fc.property(
        fc.double({ noNaN: true, min: -1e15, max: 1e15 }),
        fc.constantFrom('opPowerStart', 'opWaitPowerOn', 'opWaitPowerOff', 'off'),
        fc.nat(),
        (timeMs, state, seed) => {
          let place = seed;
          const text = JSON.stringify({ ...JSON.parse(written), state }, (key, value) => {
            if (!/Ms$/.test(key)) return value;
            place += 1;
            return place % 3 === 0 ? value : timeMs;
          });
          writeFileSync(snapshotPath(dir, 0), text);
          const { hint, warning } = open().load();
          if (hint === null) throw new TypeError(`set aside: ${warning}`);
          if (warning !== null) ahead += 1;
          const sequence = { ...hint.sequence, nowMs };
          expect(holdUntilMs(plan, sequence)).toBeLessThanOrEqual(nowMs + plan.minOffMs);
          expect(nextDeadlineMs(plan, hint.state, sequence) ?? nowMs).toBeLessThanOrEqual(nowMs + longestMs);
        },
      ),
    );
    expect(ahead).toBeGreaterThan(0);
  });
});
