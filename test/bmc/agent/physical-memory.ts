/** Writes to the physical memory of the emulated BMC through QEMU's debugger port: its kernel lets nobody do so. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Qmp } from '../rig/qmp.ts';

const TIMEOUT_MS = 10_000;

/** Writes one 32-bit word, low byte first. The BMC stands still meanwhile. */
export async function writePhysicalWord(qmp: Qmp, address: number, value: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bmc-gdb-'));
  const path = join(folder, 'socket');
  const monitor = (line: string) => qmp.execute('human-monitor-command', { 'command-line': line });
  let socket: Socket | undefined;
  try {
    await monitor(`gdbserver unix:${path},server=on,wait=off`);
    socket = createConnection({ path });
    socket.setTimeout(TIMEOUT_MS, () =>
      socket?.destroy(new Error('the debugger port of QEMU does not answer')),
    );
    await once(socket, 'connect');
    await ask(socket, 'Qqemu.PhyMemMode:1');
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value >>> 0);
    await ask(socket, `M${address.toString(16)},4:${bytes.toString('hex')}`);
  } finally {
    socket?.destroy();
    await monitor('gdbserver none');
    await qmp.execute('cont');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One command of the GDB remote serial protocol, of which `OK` must be the answer. */
async function ask(socket: Socket, command: string): Promise<void> {
  const sum = [...command].reduce((total, char) => (total + char.charCodeAt(0)) & 0xff, 0);
  socket.write(`$${command}#${sum.toString(16).padStart(2, '0')}`);
  let text = '';
  let answer: string | undefined;
  while (answer === undefined) {
    const [data] = (await once(socket, 'data')) as [Buffer];
    text += data.toString('latin1');
    // A packet with T tells that the BMC was stopped; it comes unasked, after the port was opened.
    answer = [...text.matchAll(/\$([^#]*)#../g)]
      .map(([, packet]) => packet)
      .find((packet) => !packet?.startsWith('T'));
  }
  socket.write('+');
  if (answer !== 'OK') throw new Error(`the debugger port of QEMU answered ${answer} to ${command}`);
}
