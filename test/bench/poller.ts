/** The peers' way: look at pgood every so often, and switch everything off when it is gone. */
import { createSystemClock } from '../../hw/clock.ts';
import { connectPlant } from '../../mocks/plant-server.ts';
import { chassisOf, loadBoard } from '../../src/board/load.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { planOf } from '../../src/sequence/plan.ts';

const [socket = '', boardPath = '', chassisText = '', intervalText = ''] = process.argv.slice(2);
const loaded = await loadBoard(boardPath);
const chassis = chassisOf(loaded, Number(chassisText));
const { gpio, i2c } = await connectPlant(socket);
const hardware = await openChassis(loaded.board, Number(chassisText), {
  gpio: async () => gpio,
  i2c: async () => i2c,
  clock: createSystemClock(),
});
const rails = planOf(chassis, loaded.board.devices).rails.map(({ name }) => name);

const poll = setInterval(async () => {
  if (await hardware.readGood(null)) return;
  clearInterval(poll);
  for (const rail of [...rails].reverse()) await hardware.driveEnable(rail, false);
}, Number(intervalText));
process.send?.('watching');
