/** The writer of journal entries on real datagram sockets: one that takes, one that is gone, full, or hangs. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import { updateCatalogue } from '../../src/system/catalogue.ts';
import { createJournal } from '../../src/system/journal.ts';

const clock = createSystemClock();
/** After this long the writer gives up; a machine with other work to do is later by some seconds. */
const GIVES_UP_MS = 1_000;
const LATE_MS = 10_000;

/** Node has no unix datagram sockets, perl has. `$ARGV[0]` is the path. */
const BOUND =
  'use Socket; $| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die; bind(S, sockaddr_un($ARGV[0])) or die "$!";';
const TAKES = `${BOUND} print "bound\\n"; while (defined recv(S, $d, 1 << 20, 0)) { print unpack("H*", $d), "\\n"; }`;
const FULL = `${BOUND} socket(C, AF_UNIX, SOCK_DGRAM, 0) or die;
  1 while send(C, "X=1\\n", 0x40, sockaddr_un($ARGV[0])); print "bound\\n"; sleep 600;`;
const LEAVES = `${BOUND} print "bound\\n";`;

const missing = ['perl', 'systemd-notify'].filter((name) => spawnSync(name, ['--version']).status !== 0);
const skipped = missing.length > 0 && process.env.CI !== 'true';

describe.skipIf(skipped)(`an entry of the journal (needs perl and systemd-notify)`, () => {
  let dir = '';
  let socket = '';
  let other: ChildProcess | undefined;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'chassis-power-journal-'));
    socket = join(dir, 'socket');
  });
  afterEach(() => {
    other?.kill('SIGKILL');
    other = undefined;
    rmSync(dir, { recursive: true });
  });

  /** Starts the other side; resolves when its socket is there. What it prints then goes line by line to `heard`. */
  const startOther = (
    program: string,
    heard: (line: string) => void = () => undefined,
  ): Promise<ChildProcess> =>
    new Promise((resolve, reject) => {
      const child = spawn('perl', ['-e', program, socket], { stdio: ['ignore', 'pipe', 'pipe'] });
      other = child;
      let rest = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines)
          if (line === 'bound') resolve(child);
          else heard(line);
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => reject(new Error(text)));
    });
  const send = async (fields: Record<string, string>, command?: string) => {
    const beganMs = clock.nowMs();
    const isTaken = await createJournal({ clock, socket, ...(command && { command }) }).send(fields);
    return { isTaken, tookMs: clock.nowMs() - beganMs };
  };

  it('arrives as journald reads it, whatever the values', async () => {
    const datagrams: string[] = [];
    let next = (): void => undefined;
    await startOther(TAKES, (line) => {
      datagrams.push(Buffer.from(line, 'hex').toString());
      next();
    });
    const value = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('a\nPRIORITY=0', '', '=', ' ; ', '--help', 'x'.repeat(20_000), '\u0000', '@0'),
    );
    await fc.assert(
      fc.asyncProperty(value, value, async (message, reason) => {
        const arrived = new Promise<void>((resolve) => {
          next = resolve;
        });
        expect((await send({ MESSAGE: message, REASON: reason })).isTaken).toBe(true);
        await arrived;
        const oneLine = (text: string) => text.replaceAll(/\p{Cc}+/gu, ' ');
        expect(datagrams.at(-1)).toBe(
          `MESSAGE=${oneLine(message)}\nREASON=${oneLine(reason)}\nOBJECT_PID=${process.pid}\n`,
        );
      }),
      { numRuns: 20 },
    );
    expect(datagrams.filter((text) => text.includes('BARRIER'))).toEqual([]);
  });

  it('is not taken where there is no socket, or nobody behind it', async () => {
    expect((await send({ MESSAGE: 'x' })).isTaken).toBe(false);
    const child = await startOther(LEAVES);
    if (child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve));
    expect(existsSync(socket)).toBe(true);
    expect((await send({ MESSAGE: 'x' })).isTaken).toBe(false);
  });

  it('is given up after a second where the socket is full', async () => {
    await startOther(FULL);
    const { isTaken, tookMs } = await send({ MESSAGE: 'x' });
    expect(isTaken).toBe(false);
    expect(tookMs).toBeGreaterThanOrEqual(GIVES_UP_MS);
    expect(tookMs).toBeLessThan(GIVES_UP_MS + LATE_MS);
  });

  it('is given up after a second where what sends it hangs, which is ended then', async () => {
    const hangs = join(dir, 'hangs');
    writeFileSync(hangs, `#!/bin/sh\necho $$ > ${dir}/pid\nexec sleep 600\n`, { mode: 0o755 });
    const { isTaken, tookMs } = await send({ MESSAGE: 'x' }, hangs);
    expect(isTaken).toBe(false);
    expect(tookMs).toBeLessThan(GIVES_UP_MS + LATE_MS);
    if (!existsSync(join(dir, 'pid'))) return;
    const pid = readFileSync(join(dir, 'pid'), 'utf8').trim();
    await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: LATE_MS }).toBe(false);
  });

  it('is not taken where nothing can send it: no program, one that fails, or an entry that is too long', async () => {
    expect((await send({ MESSAGE: 'x' }, join(dir, 'none'))).isTaken).toBe(false);
    expect((await send({ MESSAGE: 'x' }, 'false')).isTaken).toBe(false);
    await startOther(TAKES);
    expect((await send({ MESSAGE: 'x'.repeat(10_000_000) })).isTaken).toBe(false);
  });
});

describe('a catalogue that cannot be compiled', () => {
  /** Its seconds are tens of milliseconds. */
  const hasty = { ...clock, after: (ms: number, run: () => void) => clock.after(ms / 100, run) };
  const update = (program: string, within = clock) => {
    const dir = mkdtempSync(join(tmpdir(), 'chassis-power-catalogue-'));
    const command = join(dir, 'journalctl');
    writeFileSync(command, `#!/bin/sh\n${program}\n`, { mode: 0o755 });
    return updateCatalogue({ clock: within, command }).finally(() => rmSync(dir, { recursive: true }));
  };

  it('is an error with the words of journalctl', async () => {
    await expect(update('echo "no room" >&2; exit 1')).rejects.toMatchObject({
      code: 'SYSTEMD_FAILED',
      message: expect.stringMatching(/journalctl --update-catalog failed \(no room\)$/),
    });
    await expect(updateCatalogue({ clock, command: '/nowhere/journalctl' })).rejects.toMatchObject({
      code: 'SYSTEMD_FAILED',
    });
  });

  it('is given up where journalctl hangs', async () => {
    await expect(update('exec sleep 600', hasty)).rejects.toMatchObject({
      code: 'SYSTEMD_FAILED',
      message: expect.stringMatching(/no end within 20 s/),
    });
  });

  it('and one that can is compiled with the option for it', async () => {
    await expect(update('test "$*" = --update-catalog')).resolves.toBeUndefined();
  });
});
