import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import { sendToJournal } from '../../src/system/output.ts';
import { createOutputQueue } from '../../src/system/output-queue.ts';

const HEADER = 'chassis-power\n\n6\n1\n0\n0\n0\n';

let dir = '';
let fd = 0;
let server: Server | undefined;
const peers = new Set<Socket>();

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-journal-'));
  // The stream that systemd gave us takes nothing any more.
  fd = openSync('/dev/full', 'w');
});
afterEach(async () => {
  await stopJournal();
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

/** Takes streams as journald does: it shuts its own side down at once, and reads. */
async function startJournal(): Promise<() => string> {
  let taken = '';
  server = createServer({ allowHalfOpen: true }, (peer) => {
    peers.add(peer);
    peer.end();
    peer.setEncoding('utf8').on('data', (text: string) => {
      taken += text;
    });
    peer.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => {
    server?.listen(join(dir, 'stdout'), resolve);
  });
  return () => taken;
}

async function stopJournal(): Promise<void> {
  for (const peer of peers) peer.destroy();
  peers.clear();
  const stopping = server;
  server = undefined;
  if (stopping === undefined) return;
  await new Promise((resolve) => {
    stopping.close(resolve);
  });
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await setImmediate();
}

function openOutput() {
  const send = sendToJournal(fd, 'chassis-power', join(dir, 'stdout'));
  return createOutputQueue(createSystemClock(), send, (lines, errno) => `(${lines} lost: ${errno})`);
}

it('the journal that is back gets all that is said from then on, in one stream, with what was dropped before', async () => {
  const output = openOutput();
  output.write('nobody\n');
  await output.drain(10_000);
  output.write('there\n');
  await output.drain(10_000);
  expect(output.unreported).toMatchObject({ lines: 2 });

  const taken = await startJournal();
  output.write('one\n');
  await until(() => taken().endsWith('one\n'));
  // Its own side is long shut down.
  for (let turn = 0; turn < 20; turn += 1) await setImmediate();
  output.write('two\n');
  output.write('three\n');
  await until(() => taken().endsWith('three\n'));
  expect(taken()).toMatch(/^[^(]*\(2 lost: \w+\)\none\ntwo\nthree\n$/);
  expect(taken().split(HEADER)).toHaveLength(2);
});

it('what a journal that was stopped again did not take goes to the next one', async () => {
  const first = await startJournal();
  const output = openOutput();
  output.write('one\n');
  await until(() => first().endsWith('one\n'));
  await stopJournal();
  const second = await startJournal();
  output.write('two\n');
  for (let turn = 0; turn < 20; turn += 1) await setImmediate();
  output.write('three\n');
  await output.drain(10_000);
  output.write('four\n');
  await until(() => second().endsWith('four\n'));
  const told = Number(/\((\d+) lost/.exec(second())?.[1] ?? 0);
  const lines = ['two\n', 'three\n', 'four\n'].filter((line) => second().includes(line));
  expect(lines.length + told).toBe(3);
  expect(lines).toContain('two\n');
});
