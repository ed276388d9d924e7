import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeDurably } from '../../hw/files.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import { type Hint, railState, type SequenceState } from '../../src/sequence/state.ts';
import {
  createLastingFile,
  type LastingState,
  lastingPath,
  NOTHING_LASTING,
  RESTORE_POLICIES,
} from '../../src/store/lasting.ts';
import { clearOnMarker, forgetOnMarker, hasOnMarker, setOnMarker } from '../../src/store/on-marker.ts';
import { snapshotPath } from '../../src/store/paths.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { createBench } from './bench.ts';
import { createManualClock } from './manual-clock.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-store-'));
});
afterEach(() => {
  chmodSync(dir, 0o755);
  rmSync(dir, { recursive: true, force: true });
});

describe('a file that is written for good', () => {
  it('is there as a whole, in a folder that is made for it, for everybody to read', () => {
    const path = join(dir, 'made', 'file');
    writeDurably(path, 'first');
    writeDurably(path, 'second');
    expect(readFileSync(path, 'utf8')).toBe('second');
    expect(statSync(path).mode & 0o777).toBe(0o644 & ~process.umask());
    expect(readdirSync(join(dir, 'made'))).toEqual(['file']);
  });

  it('that cannot be put in its place leaves nothing beside it, and what was there', () => {
    mkdirSync(join(dir, 'taken', 'inside'), { recursive: true });
    expect(() => writeDurably(join(dir, 'taken'), 'text')).toThrow();
    expect(readdirSync(dir)).toEqual(['taken']);
    expect(readdirSync(join(dir, 'taken'))).toEqual(['inside']);
  });
});

describe('the marker of a chassis that is on', () => {
  it('is of its chassis alone, and is there from set to clear', () => {
    setOnMarker(dir, 0);
    setOnMarker(dir, 0);
    expect([hasOnMarker(dir, 0), hasOnMarker(dir, 1)]).toEqual([true, false]);
    // phosphor-state-manager's unit files look for it by this name.
    expect(readdirSync(dir)).toEqual(['chassis@0-on']);
    clearOnMarker(dir, 0);
    clearOnMarker(dir, 0);
    expect(hasOnMarker(dir, 0)).toBe(false);
  });

  it('is not made where an image has no folder for it', () => {
    setOnMarker(join(dir, 'nowhere'), 0);
    expect(readdirSync(dir)).toEqual([]);
  });

  it('that stays is told by who goes on without, and one that goes is not', () => {
    setOnMarker(dir, 0);
    expect(forgetOnMarker(dir, 0)).toBeNull();
    mkdirSync(join(dir, 'chassis@0-on', 'inside'), { recursive: true });
    expect(forgetOnMarker(dir, 0)).toMatch(/^the marker of chassis 0 stays \(.+\): remove it by hand$/);
  });
});

describe('the lasting state', () => {
  const rich: LastingState = {
    power: 'on',
    changedAtMs: 1_700_000_000_000,
    onMinutes: 17,
    requestedPower: 'PowerCycle',
    requestedHost: 'Reboot',
    lastAsked: 'on',
    restartCause: 'RemoteCommand',
    restore: { policy: 'AlwaysOn', delayUs: 2n ** 64n - 1n },
    restoreOnce: { policy: 'Restore', delayUs: 0n },
    cycle: { of: 'host', bootId: 'boot', askedAtMs: 12.5 },
    restoredInBoot: 'boot',
  };
  const store = () => createLastingFile(dir, 3);

  it('is what was saved, of its own chassis', () => {
    expect(store().load()).toEqual({ state: null, warning: null });
    expect(store().save(rich)).toBeNull();
    expect(store().load()).toEqual({ state: rich, warning: null });
    expect(readdirSync(dir)).toEqual(['chassis3-lasting.json']);
    expect(createLastingFile(dir, 4).load()).toEqual({ state: null, warning: null });
    for (const policy of RESTORE_POLICIES) {
      store().save({ ...NOTHING_LASTING, restore: { policy, delayUs: 1n } });
      expect(store().load().state?.restore.policy).toBe(policy);
    }
  });

  it.each<[string, object]>([
    ['another version', { schema: 2 }],
    ['a power that is none', { power: 'maybe' }],
    ['a time before 1970', { changedAtMs: -1 }],
    ['minutes that are not whole', { onMinutes: 1.5 }],
    ['a request that is none', { requestedPower: 'on' }],
    ['a request of the host that is none', { requestedHost: 'PowerCycle' }],
    ['nothing that was asked last', { lastAsked: null }],
    ['a cause that is none', { restartCause: 'Sunspots' }],
    ['a policy that is none', { restore: { policy: 'Sometimes', delayUs: '0' } }],
    ['a delay that is a number', { restore: { policy: 'None', delayUs: 0 } }],
    ['a delay that is no number', { restore: { policy: 'None', delayUs: '1s' } }],
    ['a delay that D-Bus has no bits for', { restore: { policy: 'None', delayUs: String(2n ** 64n) } }],
    ['a cycle of nothing', { cycle: { of: 'fan', bootId: 'boot', askedAtMs: 1 } }],
    ['a boot that is a number', { restoredInBoot: 7 }],
  ])('with %s is set aside, to be looked at, and said to be', (_, change) => {
    store().save(rich);
    const path = lastingPath(dir, 3);
    const text = JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change });
    writeFileSync(path, text);
    const { state, warning } = store().load();
    expect(state).toBeNull();
    expect(warning).toBe(`${path} is set aside as ${path}.unreadable: not the state of a chassis, version 1`);
    expect(readFileSync(`${path}.unreadable`, 'utf8')).toBe(text);
    expect(store().load()).toEqual({ state: null, warning: null });
  });

  it('that is no JSON is set aside too', () => {
    writeFileSync(lastingPath(dir, 3), '{"schema":');
    expect(store().load().warning).toMatch(/ is set aside as .*\.unreadable: not JSON \(.+\)$/);
  });

  it('that cannot be written is told with what holds instead', () => {
    store().save(rich);
    chmodSync(dir, 0o777);
    expect(store().save(NOTHING_LASTING)).toMatch(
      /^the state of chassis 3 could not be written to .*chassis3-lasting\.json \(.+\): after a restart the one from before holds$/,
    );
  });
});

describe('the state file of a chassis', () => {
  const { plan } = createBench('reference');
  const identity = { bootId: 'boot', boardHash: 'hash', plan };
  const store = (change: object = {}) => {
    const clock = createManualClock();
    return createSnapshotFile(dir, 0, { ...identity, clock, ...change });
  };
  const path = () => snapshotPath(dir, 0);
  const nowMs = createManualClock().nowMs();
  const on = (): SequenceState => {
    const rails = plan.rails.map(({ name }) => [name, { enabled: true, good: true }]);
    const observation = { rails: Object.fromEntries(rails), pgood: true, resetsAsserted: { CPU: false } };
    return reconcile(plan, observation, null, nowMs).sequence;
  };
  const rewrite = (change: (written: { sequence: SequenceState } & Record<string, unknown>) => object) =>
    writeFileSync(path(), JSON.stringify(change(JSON.parse(readFileSync(path(), 'utf8')))));

  it('is what another process of this boot left for this board', () => {
    const sequence = on();
    expect(store().save('pgood', sequence)).toBeNull();
    const left: Hint = { state: 'pgood', sequence };
    expect(store().load()).toEqual({ hint: left, warning: null });
    expect(readdirSync(dir)).toEqual(['chassis0.json']);
  });

  it('is what was saved last, whichever rails changed, were absent or came back between', () => {
    const one = store();
    const whole = on();
    const [first = '', second = ''] = plan.rails.map(({ name }) => name);
    const others = Object.fromEntries(Object.entries(whole.rails).filter(([name]) => name !== second));
    const sequences: SequenceState[] = [
      whole,
      { ...whole, rails: { ...whole.rails, [first]: { ...railState(whole, first), good: false } } },
      { ...whole, rails: others, absent: [second] },
      whole,
      { ...whole, rails: Object.fromEntries(Object.entries(whole.rails).reverse()) },
      { ...whole, rails: { ...whole.rails, [first]: { ...railState(whole, second), phase: 'stuck' } } },
    ];
    for (const sequence of sequences) {
      one.save('pgood', sequence);
      expect(store().load().hint).toEqual({ state: 'pgood', sequence });
    }
  });

  it.each<[string, object, string]>([
    ['another boot', { bootId: 'next' }, 'it is of another boot'],
    ['another board file', { boardHash: 'edited' }, 'the board file changed since'],
    [
      'fewer rails',
      { plan: { ...plan, rails: plan.rails.slice(1) } },
      'it names other rails than the board file',
    ],
    [
      'other rails',
      { plan: { ...plan, rails: plan.rails.map((rail) => ({ ...rail, name: `${rail.name}2` })) } },
      'it names other rails than the board file',
    ],
  ])('is not believed in %s', (_, change, why) => {
    store().save('pgood', on());
    expect(store(change).load()).toEqual({ hint: null, warning: `${path()} is set aside: ${why}` });
  });

  it.each<[string, (sequence: SequenceState) => object]>([
    ['a state that is none', () => ({ state: 'asleep' })],
    ['another version', () => ({ schema: 1 })],
    ['no boot', () => ({ bootId: undefined })],
    ['no board', () => ({ boardHash: 7 })],
    ['a phase that is none', (was) => ({ sequence: changed(was, { phase: 'sideways' }) })],
    ['an enable that is no level', (was) => ({ sequence: changed(was, { enabled: 1 }) })],
    ['a doubt that is none', (was) => ({ sequence: changed(was, { enableDoubt: 'maybe' }) })],
    ['a time that is none', (was) => ({ sequence: changed(was, { sinceMs: null }) })],
    ['a pgood without a level', (was) => ({ sequence: { ...was, pgood: { ...was.pgood, level: null } } })],
    ['a reset that is no level', (was) => ({ sequence: { ...was, resetsAsserted: { CPU: 0 } } })],
    ['a fault of no kind', (was) => ({ sequence: { ...was, fault: { ...FAULT, kind: 'bad luck' } } })],
    ['a fault without a reason', (was) => ({ sequence: { ...was, fault: { ...FAULT, reason: null } } })],
    ['a latch in no state', (was) => ({ sequence: { ...was, latchPending: null } })],
  ])('is not believed with %s', (_, change) => {
    store().save('pgood', on());
    rewrite((written) => ({ ...written, ...change(written.sequence) }));
    expect(store().load()).toEqual({
      hint: null,
      warning: `${path()} is set aside: not a snapshot of version 2`,
    });
  });

  const FAULT = {
    kind: 'railTimeout',
    rail: 'P5V',
    state: 'opPowerStart',
    atMs: nowMs,
    reason: 'late',
    errorCode: null,
  } as const;
  const changed = (was: SequenceState, change: object) => ({
    ...was,
    rails: { ...was.rails, P12V: { ...was.rails.P12V, ...change } },
  });

  it.each([
    'railTimeout',
    'railLost',
    'railStray',
    'pgoodTimeout',
    'pgoodLost',
    'powerOffTimeout',
    'hardware',
  ] as const)('keeps a fault: %s', (kind) => {
    const sequence = { ...on(), fault: { ...FAULT, kind } };
    store().save('failed', sequence);
    expect(store().load().hint?.sequence.fault).toEqual({ ...FAULT, kind });
  });

  it.each(['down', 'rising', 'up', 'falling', 'stuck'] as const)('keeps a rail that is %s', (phase) => {
    const was = on();
    const rails = Object.fromEntries(
      Object.entries(was.rails).map(([name, rail]) => [
        name,
        { ...rail, phase, enableDoubt: phase === 'stuck' ? ('undriven' as const) : null },
      ]),
    );
    store().save('fault', { ...was, rails });
    expect(store().load().hint?.sequence.rails).toEqual(rails);
  });

  it('takes what was written of later for now, with no more left than the board gives, and says so', () => {
    const was = on();
    const laterMs = nowMs + 1_000_000;
    const rails = Object.fromEntries(
      Object.entries(was.rails).map(([name, rail]) => [
        name,
        { ...rail, sinceMs: laterMs, deadlineMs: laterMs },
      ]),
    );
    const later = {
      ...was,
      rails,
      nowMs: laterMs,
      pgood: { ...was.pgood, sinceMs: laterMs },
      ...{ stageDeadlineMs: laterMs, readyMs: laterMs, offSinceMs: laterMs },
      fault: { ...FAULT, atMs: laterMs },
    };
    store().save('fault', later);
    const { hint, warning } = store().load();
    expect(warning).toBe(`${path()} tells of times that have not come yet: taken for now`);
    expect(hint?.sequence).toMatchObject({
      nowMs,
      pgood: { sinceMs: nowMs },
      stageDeadlineMs: nowMs + Math.max(plan.pgood.onTimeoutMs, plan.pgood.offTimeoutMs),
      ...{ readyMs: nowMs, offSinceMs: nowMs },
      fault: { atMs: nowMs },
    });
    for (const { name, onTimeoutMs, offTimeoutMs } of plan.rails) {
      expect(hint?.sequence.rails[name]).toMatchObject({
        sinceMs: nowMs,
        deadlineMs: nowMs + Math.max(onTimeoutMs, offTimeoutMs),
      });
    }
  });

  it('takes nothing away from what was before now', () => {
    const was = { ...on(), offSinceMs: nowMs - 7, readyMs: nowMs - 5, stageDeadlineMs: nowMs + 3 };
    const earlier = { ...was, nowMs: nowMs - 2, fault: { ...FAULT, atMs: nowMs - 9 } };
    store().save('failed', earlier);
    expect(store().load()).toEqual({ hint: { state: 'failed', sequence: earlier }, warning: null });
  });

  it('that cannot be written is told, known to its process until it can, and gone for all others', () => {
    const own = store();
    own.save('opPowerStart', on());
    chmodSync(dir, 0o777);
    expect(own.save('opWaitPowerOn', on())).toMatch(
      /^the state could not be written to .*chassis0\.json \(.+\): the next command goes by the lines alone$/,
    );
    expect(own.load().hint?.state).toBe('opWaitPowerOn');
    expect(store().load()).toEqual({ hint: null, warning: null });
    chmodSync(dir, 0o755);
    expect(own.save('pgood', on())).toBeNull();
    store().save('off', on());
    expect(own.load().hint?.state).toBe('off');
  });
});
