import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { installUnits } from '../../src/units/install/install.ts';
import { proveUnits, type Rule } from '../../src/units/proof/prove.ts';
import { verifyUnits } from '../../src/units/proof/verify.ts';
import { readUnitTree } from '../../src/units/unit-file.ts';
import { UnitGraph } from '../../src/units/unit-graph.ts';

const SHIPPED = fileURLToPath(new URL('../../systemd', import.meta.url));
/** phosphor-state-manager's units of the power path, written from what is known of them. */
const OPENBMC = fileURLToPath(new URL('../unit/units-lint-fixtures/openbmc', import.meta.url));
/** Ours take the place of some of them, and the others are of other projects and switch nothing. */
const LEFT_OUT =
  /phosphor-(wait-power|power-control|regulators|create-chassis|clear-one|discover)|control\.Power@/;
const UNITS = 'usr/lib/systemd/system';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'chassis-power-proof-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

async function install(flavour: 'legacy' | 'current'): Promise<void> {
  if (flavour === 'current') {
    mkdirSync(join(root, UNITS), { recursive: true });
    cpSync(OPENBMC, join(root, UNITS), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !LEFT_OUT.test(path),
    });
  }
  await installUnits({ root, chassis: [0], sourceDir: SHIPPED, flavour });
}

const prove = async (requests: number, failures: number) => {
  const proof = proveUnits(new UnitGraph(await readUnitTree(root)), 0, { requests, failures });
  if (!proof) throw new Error('no power-on target');
  return proof;
};

describe('what the units can come to, with every stage ending in every way at any point', () => {
  test.each(['legacy', 'current'] as const)(
    'flavour %s: no rest in which units and power do not agree, or a failure reached nobody',
    async (flavour) => {
      await install(flavour);
      const proof = await prove(3, 1);
      expect(proof.violations).toEqual([]);
      expect(proof.isComplete).toBe(true);
      // Something was looked at: three requests in any order lead to more than a hundred situations.
      expect(proof.states).toBeGreaterThan(100);
    },
  );

  test('flavour legacy: nor with two failures', async () => {
    await install('legacy');
    expect((await prove(2, 2)).violations).toEqual([]);
  });

  test('the units that ship are proved with both kinds of stages, without a tree being named', async () => {
    const { proofs, isClean } = await verifyUnits(null, SHIPPED);
    expect(isClean).toBe(true);
    expect(proofs.map(({ name }) => name)).toEqual([
      'legacy units, program stages',
      'legacy units, resident stages',
    ]);
  });

  test('a tree without a power-on target is refused', async () => {
    mkdirSync(join(root, UNITS), { recursive: true });
    writeFileSync(join(root, UNITS, 'other.service'), '[Service]\nExecStart=/bin/true\n');
    await expect(verifyUnits(root, SHIPPED)).rejects.toMatchObject({ code: 'USAGE' });
  });
});

/** A line of a unit is taken away or changed. */
interface Defect {
  readonly flavour: 'legacy' | 'current';
  readonly what: string;
  readonly edits: readonly (readonly [unit: string, from: string, to: string])[];
  readonly links?: readonly string[];
  readonly rule: Rule;
}

const ON_STAGES = ['op-power-start@.service', 'op-wait-power-on@.service'];
const STAGES = [...ON_STAGES, 'op-power-stop@.service', 'op-wait-power-off@.service'];
const TARGETS = ['obmc-power-chassis-on@.target', 'obmc-power-chassis-off@.target'];
const DEFECTS: readonly Defect[] = [
  {
    flavour: 'current',
    what: 'the wedge of OnFailureJobMode=fail, with what mends it taken out',
    edits: [['phosphor-wait-power-on@.service', 'Requires=obmc-chassis-poweron@', 'X-Requires=']],
    rule: 'onWithoutPower',
  },
  {
    flavour: 'current',
    what: "jobs of a power-on that failed are dropped, and phosphor-state-manager's start runs alone",
    edits: [],
    links: ['obmc-power-start@0.service.requires'],
    rule: 'offWithPower',
  },
  {
    flavour: 'current',
    what: 'the power is switched on while the power-off that was asked for before is still at it',
    edits: [['phosphor-wait-power-off@.service', ' obmc-power-start@%i.service', '']],
    rule: 'onWithoutPower',
  },
  {
    flavour: 'current',
    what: 'a power-on request leaves the power-off stage active',
    edits: [['phosphor-wait-power-off@.service', 'Conflicts=', 'X-Conflicts=']],
    rule: 'offDoesNotUnpower',
  },
  {
    flavour: 'legacy',
    what: 'the power-on target fails in mode fail',
    edits: [['obmc-power-chassis-on@.target', 'OnFailureJobMode=replace', 'OnFailureJobMode=fail']],
    rule: 'failureNotRouted',
  },
  {
    flavour: 'legacy',
    what: 'the power-on target routes its failure nowhere',
    edits: [['obmc-power-chassis-on@.target', 'OnFailure=', 'X-OnFailure=']],
    rule: 'failureNotRouted',
  },
  {
    flavour: 'legacy',
    what: 'the power-off target routes its failure nowhere',
    edits: [['obmc-power-chassis-off@.target', 'OnFailure=', 'X-OnFailure=']],
    rule: 'failureNotRouted',
  },
  {
    flavour: 'legacy',
    what: 'on and off do not stop each other',
    edits: [...STAGES, ...TARGETS].map((unit) => [unit, 'Conflicts=', 'X-Conflicts='] as const),
    rule: 'onWithoutPower',
  },
  {
    flavour: 'legacy',
    what: 'a stage counts as done when its process has begun',
    edits: [['op-power-start@.service', 'Type=oneshot', 'Type=simple']],
    rule: 'onDoesNotPower',
  },
  {
    flavour: 'legacy',
    what: 'the wait begins before the enables are asserted',
    edits: [['op-wait-power-on@.service', 'After=op-power-start@%i.service', '']],
    rule: 'onDoesNotPower',
  },
  {
    flavour: 'legacy',
    what: 'the power-off stage is not remembered, so that its target outlives the next power-on',
    edits: [['op-power-stop@.service', 'RemainAfterExit=yes', '']],
    rule: 'offWithPower',
  },
  {
    flavour: 'legacy',
    what: 'the wait for power off only wants the stage before it',
    edits: [['op-wait-power-off@.service', 'Requires=', 'Wants=']],
    rule: 'failureNotRouted',
  },
];

describe('a defect of the units breaks a rule, and the story says how', () => {
  test.each(DEFECTS)('$flavour: $what', async ({ flavour, edits, links = [], rule }) => {
    await install(flavour);
    for (const [unit, from, to] of edits) {
      const path = join(root, UNITS, unit);
      const lines = readFileSync(path, 'utf8').split('\n');
      const changed = lines.map((line) => (line.startsWith('#') ? line : line.replace(from, to)));
      expect(changed, unit).not.toEqual(lines);
      writeFileSync(path, changed.join('\n'));
    }
    for (const link of links) rmSync(join(root, UNITS, link), { recursive: true });
    const { violations } = await prove(2, 1);
    expect(violations.map((each) => each.rule)).toContain(rule);
    for (const { story } of violations) expect(story[0]).toMatch(/^the BMC starts/);
  });
});
