import { type ChassisState, createChassisState } from '../../src/service/host-state.ts';
import { stateObjects } from '../../src/service/state-objects.ts';
import { createLastingFile } from '../../src/store/lasting.ts';
import { shippedBoard } from './bench.ts';
import { startResident } from './start-resident.ts';
import { createVirtualUnits } from './virtual-units.ts';

/** The service for a host, by default that of the x86 board that ships, with all that a client sees of it. */
export async function createHostService(
  runDir: string,
  endings: (() => Promise<void> | void)[],
  initially: 'on' | 'off',
  board = shippedBoard('x86-button'),
) {
  let state: ChassisState | undefined;
  const losses: unknown[] = [];
  const { clock, plant, resident } = await startResident({
    ...{ runDir, initially, board },
    onChange: () => state?.powerChanged(),
    onLoss: async (loss) => void losses.push(loss),
  });
  endings.push(() => resident.stop('end of the test'));
  const units = createVirtualUnits(clock, (wanted) => resident.request(wanted).done);
  if (initially === 'on') units.change('obmc-start-host@0.service', 'active');
  const journal: string[] = [];
  const log = (severity: number, text: string) => void journal.push(`<${severity}>${text}`);
  const { hostReset, hostSignals } = board.chassis['0'] ?? {};
  const created = await createChassisState({
    ...{ chassis: 0, resident, units, clock, bootId: 'boot', isAdopted: () => false, log },
    hasReset: hostReset !== undefined,
    showsPost: hostSignals?.postComplete !== undefined,
    store: createLastingFile(runDir, 0),
    onChange: () => undefined,
  });
  state = created;
  endings.push(() => created.stop());
  const interfaces = stateObjects(0, created).flatMap((object) => object.interfaces);
  const property = (of: string, name: string) =>
    interfaces.find((each) => each.name === of)?.properties[name];
  return { board, clock, plant, resident, state: created, journal, losses, property, log };
}
