/**
 * An I2C expander of the emulated BMC: QEMU's MAX7310, 8 lines, under the kernel's gpio-pca953x, which drives it as it
 * drives a PCA9539. No interrupt of it is wired, so its lines tell of no change.
 *
 * QEMU drops a level that is written while the line is an input, as on the chip's own lines: `echo high >direction`
 * gives an output that is low until a level is written again. The kernel makes a line that is taken by the character
 * device for reading an input.
 */
import { createConnection, type Socket } from 'node:net';
import type { Bmc } from './guest.ts';
import type { Level } from './qmp.ts';

const BUS = 6;
const ADDRESS = '0x18';
const PATH = '/machine/peripheral/exp0';
const TIMEOUT_MS = 10_000;

export interface Expander {
  /** Label of its chip in the guest. */
  readonly chip: string;
  /** Puts a level on a line that is an input of the guest. */
  drive(line: number, level: Level): Promise<void>;
  /** Takes the device away from the guest's kernel. */
  close(): Promise<void>;
}

/** Gives the guest's kernel the expander, and takes hold of its pins by QEMU's qtest socket (docs/devel/qtest.rst). */
export async function startExpander(bmc: Bmc): Promise<Expander> {
  await bmc.sh(
    `modprobe gpio-pca953x; echo max7310 ${ADDRESS} >/sys/bus/i2c/devices/i2c-${BUS}/new_device; ` +
      'for look in 1 2 3 4 5 6 7 8 9 10; do gpiodetect | grep -q 6-0018 && exit 0; sleep 1; done; exit 1',
  );
  const qtest = connectQtest(bmc.handle.qtestSocket);
  return {
    chip: '6-0018',
    drive: (line, level) => qtest.ask(`set_irq_in ${PATH} unnamed-gpio-in ${line} ${level}`),
    close: async () => {
      qtest.close();
      await bmc.sh(`echo ${ADDRESS} >/sys/bus/i2c/devices/i2c-${BUS}/delete_device`);
    },
  };
}

/** One command after the other, each answered with a line that begins with `OK`. */
function connectQtest(path: string): { ask(command: string): Promise<void>; close(): void } {
  const socket: Socket = createConnection({ path });
  const waiting: { resolve(): void; reject(error: Error): void }[] = [];
  let text = '';
  let lost: Error | undefined;
  const lose = (error: Error) => {
    lost ??= error;
    for (const { reject } of waiting.splice(0)) reject(lost);
  };
  socket.setEncoding('utf8');
  socket.on('data', (data: string) => {
    const lines = (text + data).split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) {
      if (line.startsWith('OK')) waiting.shift()?.resolve();
      else waiting.shift()?.reject(new Error(`qtest: ${line}`));
    }
  });
  socket.on('error', lose);
  socket.on('close', () => lose(new Error('the qtest socket of QEMU was closed')));
  return {
    ask: (command) =>
      new Promise((resolve, reject) => {
        if (lost !== undefined) throw lost;
        const timer = setTimeout(() => reject(new Error(`qtest: no answer to ${command}`)), TIMEOUT_MS);
        waiting.push({
          resolve: () => {
            clearTimeout(timer);
            resolve();
          },
          reject: (error) => {
            clearTimeout(timer);
            reject(error);
          },
        });
        socket.write(`${command}\n`);
      }),
    close: () => socket.destroy(),
  };
}
