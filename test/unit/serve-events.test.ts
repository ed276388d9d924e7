import { describe, expect, it } from 'vitest';
import { createResidentEvents } from '../../src/cli/verbs/serve-events.ts';
import type { World } from '../../src/cli/world.ts';
import { PowerError } from '../../src/errors.ts';
import { createManualClock } from './manual-clock.ts';

/** A world whose journal answers when the returned function is called. */
function slowJournal() {
  const output = { write: () => undefined, columns: null, journal: true };
  const sent: string[] = [];
  let answer: (isTaken: boolean) => void = () => undefined;
  const journal = async () => ({
    send: (fields: Readonly<Record<string, string>>) => {
      sent.push(fields.MESSAGE ?? '');
      return new Promise<boolean>((resolve) => {
        answer = resolve;
      });
    },
  });
  const world = { clock: createManualClock(), stdout: output, stderr: output, journal } as unknown as World;
  return { world, sent, answer: (isTaken: boolean) => answer(isTaken) };
}

describe('the service, when it ends,', () => {
  it('waits until the journal has answered for what failed last', async () => {
    const { world, sent, answer } = slowJournal();
    const events = createResidentEvents(0, world);
    events.failed(3, new PowerError('PGOOD_LOST', 'chassis 0: pgood was lost', { chassis: 0 }));
    let isSettled = false;
    const settled = events.settled().then(() => {
      isSettled = true;
    });
    await expect.poll(() => sent).toEqual(['chassis 0: pgood was lost']);
    expect(isSettled).toBe(false);
    answer(true);
    await settled;
    expect(isSettled).toBe(true);
  });

  it('waits for nothing where nothing is told', async () => {
    await createResidentEvents(0, slowJournal().world).settled();
  });
});

describe('the service tells of a host that switched itself off', () => {
  it('once, as what it is, and of the next power-off as that', async () => {
    const { world, sent, answer } = slowJournal();
    const events = createResidentEvents(0, world);
    events.record({ type: 'hostOff', rail: 'HOST', atMs: 0 });
    events.record({ type: 'state', from: 'opWaitPowerOff', to: 'off', atMs: 5 });
    await expect.poll(() => sent.length).toBe(1);
    answer(true);
    events.record({ type: 'request', request: 'POWER_OFF', outcome: 'changed', reason: '', atMs: 9 });
    events.record({ type: 'state', from: 'opWaitPowerOff', to: 'off', atMs: 10 });
    await expect.poll(() => sent.length).toBe(2);
    answer(true);
    await events.settled();
    expect(sent).toEqual([
      expect.stringMatching(/^chassis 0 is off: its host switched itself off, which took \d+ ms$/),
      expect.stringMatching(/^chassis 0 is off: power off took \d+ ms$/),
    ]);
  });
});

describe('the service tells of a rail that the chassis does without', () => {
  it('with an event where it writes to the journal', async () => {
    const { world, sent, answer } = slowJournal();
    const events = createResidentEvents(0, world);
    const reason = 'rail AUX dropped while it was enabled';
    events.record({ type: 'missed', rail: 'AUX', miss: 'lost', reason, atMs: 0 });
    await expect.poll(() => sent).toEqual([`chassis 0 does without rail AUX: ${reason}`]);
    answer(true);
    await events.settled();
  });
});
