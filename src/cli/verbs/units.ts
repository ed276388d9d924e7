import { CodedError } from '../../../hw/errors.ts';
import { loadBoard } from '../../board/load.ts';
import { PowerError } from '../../errors.ts';
import { installUnits, type UnitsReport, uninstallUnits } from '../../units/install.ts';
import { EXIT } from '../exit.ts';
import type { Verb } from '../main.ts';
import type { World } from '../world.ts';

const ACTIONS = ['install', 'uninstall'];

/**
 * Puts the units of every chassis of the board in place, or takes away what was put. On the running
 * machine (no --root) systemd then reads its unit files again.
 */
export const units: Verb = {
  options: ['root'],
  operands: [1, 1],
  async run({ operands, boardPath, option, json }, world) {
    const action = operands[0] ?? '';
    if (!ACTIONS.includes(action)) {
      throw new PowerError('USAGE', `units takes ${ACTIONS.join(' or ')}, not "${action}"`);
    }
    const root = option('root') ?? '/';
    const report =
      action === 'install'
        ? await installUnits({
            root,
            chassis: Object.keys(loadBoard(boardPath).board.chassis).map(Number),
            sourceDir: world.unitSourceDir,
          })
        : await uninstallUnits({ root });
    print(report, json, world);
    if (root === '/' && report.written.length + report.removed.length > 0) await reload(world);
    return EXIT.ok;
  },
};

function print(report: UnitsReport, json: boolean, world: World): void {
  if (json) {
    world.stdout.write(`${JSON.stringify(report)}\n`);
    return;
  }
  const lines = [
    ...report.written.map((path) => `written    ${path}`),
    ...report.removed.map((path) => `removed    ${path}`),
    ...report.kept.map(({ path, reason }) => `kept       ${path}: ${reason}`),
    ...(report.unchanged.length > 0 ? [`unchanged  ${report.unchanged.length} files and links`] : []),
  ];
  world.stdout.write(`${lines.join('\n')}\n`);
}

/** The files are in place either way; only the running systemd does not know of them yet. */
async function reload(world: World): Promise<void> {
  try {
    const manager = await world.units();
    try {
      await manager.reload();
    } finally {
      await manager.close();
    }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    throw new PowerError(
      'SYSTEMD_NOT_TOLD',
      `the unit files are in place, but systemd does not know of them yet (${error.message}): run systemctl daemon-reload`,
      {},
      { cause: error },
    );
  }
}
