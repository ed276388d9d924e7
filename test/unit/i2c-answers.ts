import type { I2cBackend } from '../../hw/ports.ts';

/**
 * I2C whose devices answer as in `inner`, but for the registers that `answer` has a value for. It is asked before each read,
 * and may take its time or reject; undefined leaves the read to the device.
 */
export function answering(
  inner: I2cBackend,
  answer: (command: number) => Promise<number | undefined>,
): I2cBackend {
  return {
    openBus: async (bus) => {
      const opened = await inner.openBus(bus);
      return {
        ...opened,
        transaction: (address, steps, ...rest) =>
          opened.transaction(
            address,
            (device) =>
              steps({
                writeByte: (command, value) => device.writeByte(command, value),
                writeWord: (command, value) => device.writeWord(command, value),
                readByte: async (command) => (await answer(command)) ?? device.readByte(command),
                readWord: async (command) => (await answer(command)) ?? device.readWord(command),
                readBlock: (command, length) => device.readBlock(command, length),
              }),
            ...rest,
          ),
      };
    },
  };
}
