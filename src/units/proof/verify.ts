import { PowerError } from '../../errors.ts';
import { CURRENT, instanceOf, LEGACY, templateOf } from '../names.ts';
import { shippedUnits } from '../shipped.ts';
import { readUnitTree } from '../unit-file.ts';
import { UnitGraph } from '../unit-graph.ts';
import { proveUnits, type UnitProof } from './prove.ts';

/** Two requests meet in every way that three do, but for a chain of them; one failure each. A second or two on a PC. */
const LIMITS = { requests: 2, failures: 1 };

/** A proof and the units it is about. */
export interface NamedProof {
  readonly name: string;
  readonly proof: UnitProof;
}

/**
 * Proves the units of every chassis in a folder of units or a root file system, or those that ship when `dir` is null. Of
 * these the ones for today's names are left out: they are half of a tree whose other half is phosphor-state-manager's.
 *
 * `USAGE` when `dir` cannot be read or has no power-on target; `UNITS_SOURCE_MISSING` as `shippedUnits`.
 */
export async function verifyUnits(
  dir: string | null,
  sourceDir: string,
): Promise<{ readonly proofs: readonly NamedProof[]; readonly isClean: boolean }> {
  const trees =
    dir === null
      ? (await shippedUnits(sourceDir)).map(({ name, graph }) => ({ name, graph }))
      : [{ name: dir, graph: new UnitGraph(await readUnitTree(dir)) }];
  const proofs = trees.flatMap(({ name, graph }) =>
    chassisOf(graph).flatMap((chassis): NamedProof[] => {
      const proof = proveUnits(graph, chassis, LIMITS);
      return proof === null ? [] : [{ name, proof }];
    }),
  );
  if (proofs.length === 0) {
    throw new PowerError(
      'USAGE',
      `${dir} has no power-on target (${LEGACY.on}, ${CURRENT.on}): name a root file system or a folder of units that has`,
      { dir },
    );
  }
  return {
    proofs,
    isClean: proofs.every(({ proof }) => proof.isComplete && proof.violations.length === 0),
  };
}

/** Chassis of which there is a power-on target. */
function chassisOf(graph: UnitGraph): number[] {
  const isPowerOn = (name: string) =>
    [LEGACY.on, CURRENT.on].some((template) => templateOf(name) === template);
  const found = [...graph.units.keys()].filter(isPowerOn).map((name) => Number(instanceOf(name)));
  return [...new Set(found)].sort((a, b) => a - b);
}
