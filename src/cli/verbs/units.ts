import { CodedError } from '../../../hw/errors.ts';
import { fileProblem } from '../../../hw/files.ts';
import { loadBoard } from '../../board/load.ts';
import { PowerError } from '../../errors.ts';
import { WARNING, writeLine } from '../../system/severity.ts';
import { installUnits, type UnitsReport, uninstallUnits, updateUnits } from '../../units/install/install.ts';
import { CATALOGUE_PATH } from '../../units/install/items.ts';
import { checkShippedUnits, checkUnits, type LintReport } from '../../units/lint/lint.ts';
import type { NamedProof } from '../../units/proof/verify.ts';
import { EXIT } from '../exit.ts';
import type { Invocation, Verb } from '../verb.ts';
import type { World } from '../world.ts';

const ACTIONS = ['install', 'update', 'uninstall', 'check', 'verify'];
const STAGES = ['program', 'resident'] as const;
const FLAVOURS = ['legacy', 'current'] as const;

/**
 * Puts the units of every chassis of the board in place, brings those that are there to this version, or takes away what was
 * put; on the running machine (no --root) systemd then reads its unit files again. `check` applies the rules of the power path to
 * a tree of units, the ones that ship when none is named, and `verify` explores what such a tree can come to; both return
 * `EXIT.findings` when they have any.
 */
export const units: Verb = {
  async run(invocation, world) {
    const { operands, option, json } = invocation;
    const [action = '', dir] = operands;
    if (!ACTIONS.includes(action)) {
      throw new PowerError('USAGE', `units takes ${listed(ACTIONS)}, not "${action}"`);
    }
    if (action === 'check' || action === 'verify') {
      if (option('root') !== undefined) {
        throw new PowerError('USAGE', `units ${action} takes the root without --root: units ${action} DIR`);
      }
      if (action === 'verify') {
        const { proofs, isClean } = await (await import('../../units/proof/verify.ts')).verifyUnits(
          dir ?? null,
          world.unitSourceDir,
        );
        printProofs(proofs, json, world);
        return isClean ? EXIT.ok : EXIT.findings;
      }
      const report = await (dir === undefined ? checkShippedUnits(world.unitSourceDir) : checkUnits(dir));
      printFindings(report, json, world);
      return report.findings.length === 0 ? EXIT.ok : EXIT.findings;
    }
    if (dir !== undefined) {
      throw new PowerError('USAGE', `units ${action} does not take "${dir}": name a root with --root`);
    }
    const root = option('root') ?? '/';
    if (action !== 'install' && (option('stages') ?? option('flavour')) !== undefined) {
      const why = action === 'update' ? 'keeps those of the last install' : 'takes away whatever was put';
      throw new PowerError('USAGE', `units ${action} ${why}: without --stages and --flavour`);
    }
    const report = await changeUnits(action, root, invocation, world);
    print(report, json, world);
    const changed = root === '/' ? [...report.written, ...report.removed] : [];
    if (action !== 'uninstall' && root === '/') await makeStateDirectory(world);
    if (changed.includes(CATALOGUE_PATH)) await updateCatalogue(world);
    if (changed.length > 0) await reload(world);
    if (action === 'uninstall' && root === '/') {
      await (await import('./release.ts')).releaseUninstalled(invocation, world);
    }
    return EXIT.ok;
  },
};

async function changeUnits(
  action: string,
  root: string,
  { option, boardPath }: Invocation,
  { unitSourceDir }: World,
): Promise<UnitsReport> {
  if (action === 'uninstall') return uninstallUnits({ root });
  if (action === 'update') return updateUnits({ root, sourceDir: unitSourceDir });
  const stages = oneOf('stages', STAGES, option('stages'));
  const flavour = oneOf('flavour', FLAVOURS, option('flavour'));
  const chassis = Object.keys((await loadBoard(boardPath)).board.chassis).map(Number);
  return installUnits({ root, chassis, sourceDir: unitSourceDir, stages, flavour });
}

/** @throws PowerError USAGE for a value that is none of these; the first one where none is given */
function oneOf<const Names extends readonly [string, ...string[]]>(
  name: string,
  names: Names,
  value: string | undefined,
): Names[number] {
  const found = names.find((each) => each === (value ?? names[0]));
  if (found === undefined)
    throw new PowerError('USAGE', `--${name} takes ${names.join(' or ')}, not "${value}"`);
  return found;
}

function listed(names: readonly string[]): string {
  return `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
}

function printFindings({ dir, checked, findings }: LintReport, json: boolean, world: World): void {
  if (json) {
    world.stdout.write(`${JSON.stringify({ dir, checked, findings }, null, 2)}\n`);
    return;
  }
  for (const { rule, file, line, message, suggestion } of findings) {
    const where = line === null ? file : `${file}:${line}`;
    world.stdout.write(`${where}: ${rule}: ${message}\n    ${suggestion}\n`);
  }
  const count = `${findings.length || 'no'} ${findings.length === 1 ? 'finding' : 'findings'}`;
  world.stdout.write(`${dir}: ${checked} unit files checked: ${count}\n`);
}

function printProofs(proofs: readonly NamedProof[], json: boolean, world: World): void {
  if (json) {
    world.stdout.write(`${JSON.stringify(proofs, null, 2)}\n`);
    return;
  }
  for (const { name, proof } of proofs) {
    for (const { rule, sentence, what, story } of proof.violations) {
      const steps = story.map((step, index) => `    ${index + 1}. ${step}\n`).join('');
      world.stdout.write(
        `${name}, chassis ${proof.chassis}: ${rule}: ${sentence} Not so for ${what}:\n${steps}`,
      );
    }
    const found =
      proof.violations.length === 0
        ? 'no rule can be broken'
        : `rules that can be broken: ${proof.violations.length}`;
    const result = proof.isComplete ? found : `NOT FINISHED, ${found} so far`;
    world.stdout.write(
      `${name}, chassis ${proof.chassis}: ${proof.units} units, ${proof.states} states, ${proof.steps} steps, ` +
        `requests: ${proof.limits.requests}, failures: ${proof.limits.failures}, at any point: ${result}\n`,
    );
  }
}

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

/** As systemd-tmpfiles does at the next start: the units may write there, and do not make it. They work without it. */
async function makeStateDirectory(world: World): Promise<void> {
  try {
    await (await world.disk()).makeDirectory(world.stateDir);
  } catch (error) {
    const text = `${world.stateDir} could not be made (${fileProblem(error)}): nothing is kept beyond the boot until it is there`;
    writeLine(world.stderr, WARNING, `${world.programName}: ${text}`);
  }
}

/** Without it the units work all the same, and `journalctl` shows their messages without an explanation. */
async function updateCatalogue(world: World): Promise<void> {
  try {
    await world.updateCatalogue();
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    const text = `journalctl -x does not explain the messages of the units yet: ${error.message}`;
    writeLine(world.stderr, WARNING, `${world.programName}: ${text}`);
  }
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
