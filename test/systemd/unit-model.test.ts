/**
 * The model of systemd's jobs that `units verify` explores, held against a real systemd: units, relations, requests and
 * ends of processes are drawn, both play them, and after each step the states of all units and all jobs are compared.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Manager, type ManagerState, NOTHING_RUNS } from '../../src/units/proof/manager.ts';
import { type JobMode, type Model, modelOf } from '../../src/units/proof/model.ts';
import { readUnitTree } from '../../src/units/unit-file.ts';
import { UnitGraph } from '../../src/units/unit-graph.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const CASES = Number(process.env.UNIT_MODEL_CASES ?? 60);
const SEED = Number(process.env.UNIT_MODEL_SEED ?? 1);
const UNIT_DIR = '/run/systemd/system';
const PIPES = '/run/unit-model';

/** A pair of units by index, the second one always further on. */
interface Pair {
  readonly relation: 'Requires' | 'Requisite' | 'Wants' | 'Conflicts' | 'After' | 'OnFailure';
  readonly from: number;
  readonly to: number;
}

interface Case {
  readonly services: number;
  readonly targets: number;
  readonly pairs: readonly Pair[];
  readonly remain: readonly boolean[];
  readonly unneeded: readonly boolean[];
  readonly modes: readonly JobMode[];
  /** What is done, by numbers that are taken modulo what can be done. */
  readonly steps: readonly number[];
}

const COUNT = 6;
const someCase: fc.Arbitrary<Case> = fc.record({
  services: fc.integer({ min: 1, max: 4 }),
  targets: fc.integer({ min: 0, max: 2 }),
  pairs: fc.array(
    fc.record({
      relation: fc.constantFrom(
        'Requires',
        'Requires',
        'Requisite',
        'Wants',
        'Conflicts',
        'After',
        'OnFailure',
      ),
      from: fc.nat(COUNT - 1),
      to: fc.nat(COUNT - 1),
    }),
    { minLength: 2, maxLength: 12 },
  ) as fc.Arbitrary<Pair[]>,
  remain: fc.array(fc.boolean(), { minLength: COUNT, maxLength: COUNT }),
  unneeded: fc.array(fc.boolean(), { minLength: COUNT, maxLength: COUNT }),
  modes: fc.array(fc.constantFrom<JobMode>('replace', 'replace', 'fail', 'flush'), {
    minLength: COUNT,
    maxLength: COUNT,
  }),
  steps: fc.array(fc.nat(999), { minLength: 3, maxLength: 8 }),
});

/** Services first: a target follows what it pulls in, and no order may be a circle. */
function namesOf({ services, targets }: Case, prefix: string): string[] {
  return [
    ...Array.from({ length: services }, (_, index) => `${prefix}s${index}.service`),
    ...Array.from({ length: targets }, (_, index) => `${prefix}t${index}.target`),
  ];
}

function filesOf(drawn: Case, prefix: string): Record<string, string> {
  const names = namesOf(drawn, prefix);
  const isTarget = (name: string) => name.endsWith('.target');
  return Object.fromEntries(
    names.map((name, index) => {
      const lines = drawn.pairs.flatMap(({ relation, from, to }) => {
        const [first, other] = [from % names.length, names[to % names.length] ?? ''];
        if (first !== index || other === name) return [];
        const later = names.indexOf(other) > index;
        // systemd asks whether a unit is active in the order of a hash table, where it is not told one.
        if (relation === 'Requisite') return later ? [] : [`Requisite=${other}`, `After=${other}`];
        // Two that start each other when they fail would keep systemd busy for ever.
        if (relation === 'OnFailure' && later) return [];
        if (relation === 'After') return [`${later ? 'Before' : 'After'}=${other}`];
        // A target that pulls a later one in would follow it.
        const pulls = relation === 'Requires' || relation === 'Wants';
        if (pulls && isTarget(name) && isTarget(other) && later) return [];
        return [`${relation}=${other}`];
      });
      const unit = ['[Unit]', ...lines, `OnFailureJobMode=${drawn.modes[index]}`, 'StartLimitIntervalSec=0'];
      if (drawn.unneeded[index]) unit.push('StopWhenUnneeded=yes');
      if (isTarget(name)) return [name, `${unit.join('\n')}\n`];
      const service = [
        ...['[Service]', 'Type=oneshot', `RemainAfterExit=${drawn.remain[index] ? 'yes' : 'no'}`],
        // It ends when it is told how, also after it was asked to end.
        `ExecStart=/bin/sh -c 'trap "" INT; read code < ${PIPES}/%n; exit $code'`,
        ...['KillSignal=SIGINT', 'TimeoutSec=infinity', ''],
      ];
      return [name, `${[...unit, ...service].join('\n')}`];
    }),
  );
}

interface Step {
  readonly command: string;
  readonly refused: boolean;
  readonly expected: string;
}

/** All steps of a case as the model plays them. */
function play(drawn: Case, model: Model): Step[] {
  const names = [...model.keys()].sort();
  let state: ManagerState = NOTHING_RUNS;
  return drawn.steps.map((number) => {
    const manager = new Manager(model, state);
    const ends = manager.running().flatMap((unit) => [
      { command: `echo 0 > ${PIPES}/${unit}`, does: () => void manager.processEnds(unit, 'clean') },
      { command: `echo 1 > ${PIPES}/${unit}`, does: () => void manager.processEnds(unit, 'unclean') },
    ]);
    const requests = names.flatMap((unit) =>
      (['start', 'start', 'stop'] as const).map((type, index) => {
        const mode: JobMode = index === 1 && number % 7 === 0 ? 'fail' : 'replace';
        return {
          command: `systemctl ${type} --no-block --job-mode=${mode} ${unit}`,
          does: () => manager.request(type, unit, mode) ?? undefined,
        };
      }),
    );
    // Ends of processes as often as requests.
    const possible = number % 2 === 0 && ends.length > 0 ? ends : [...requests, ...ends];
    const chosen = possible[number % possible.length];
    const refused = chosen?.does() !== undefined;
    state = manager.state();
    return { command: chosen?.command ?? 'true', refused, expected: textOf(names, state) };
  });
}

function textOf(names: readonly string[], { active, jobs }: ManagerState): string {
  const units = names.map((name) => `${name} ${active[name] ?? 'inactive'}`);
  const queued = Object.entries(jobs).map(
    ([name, { type, isRunning }]) =>
      `job ${name} ${type === 'verify' ? 'verify-active' : type} ${isRunning ? 'running' : 'waiting'}`,
  );
  return [...units, ...queued].sort().join('\n');
}

/** Plays the steps and ends with the number of the first one after which systemd was not where the model is, and 0. */
function scriptOf(names: readonly string[], prefix: string, steps: readonly Step[]): string {
  const lines = steps.map(({ command, refused, expected }, index) =>
    [
      `if timeout 10 sh -c '${command}' >/dev/null 2>&1; then said=taken; else said=refused; fi`,
      `[ $said = ${refused ? 'refused' : 'taken'} ] || { echo "step ${index + 1} (${command}) was $said"; exit 1; }`,
      `await ${index + 1} "${command}" '${expected}'`,
    ].join('\n'),
  );
  return `
now() {
  {
    systemctl show --property=Id,ActiveState ${names.join(' ')} |
      awk -F= '/^Id=/ { id = $2 } /^ActiveState=/ { state = $2 } /^$/ { print id, state } END { print id, state }'
    systemctl list-jobs --no-legend --plain | awk '$2 ~ /^${prefix}/ { print "job", $2, $3, $4 }'
  } | LC_ALL=C sort -u
}
await() {
  tries=0 same=0
  while [ $same -lt 2 ]; do
    got=$(now)
    if [ "$got" = "$3" ]; then same=$((same + 1)); continue; fi
    same=0 tries=$((tries + 1))
    if [ $tries -gt 150 ]; then
      echo "step $1 ($2): the model says"; echo "$3"; echo "systemd says"; echo "$got"
      exit 1
    fi
    sleep 0.02
  done
}
${lines.join('\n')}
`;
}

describe.skipIf(skipped)(`the model of systemd's jobs${titleSuffix}`, () => {
  const drawn = fc.sample(someCase, { seed: SEED, numRuns: CASES });
  let machine: SystemdSandbox;
  let folder: string;

  beforeAll(async () => {
    machine = await bootMachine();
    folder = await mkdtemp(join(tmpdir(), 'unit-model-'));
    const files = Object.entries(
      Object.assign({}, ...drawn.map((each, index) => filesOf(each, `c${index}x`))),
    );
    const text = files
      .map(([name, content]) => `cat > ${UNIT_DIR}/${name} <<'END'\n${content}\nEND\nmkfifo ${PIPES}/${name}`)
      .join('\n');
    await machine.writeFile(
      '/run/put-units.sh',
      `mkdir -p ${PIPES} ${UNIT_DIR}\n${text}\nsystemctl daemon-reload\n`,
    );
    await machine.run(['/bin/sh', '/run/put-units.sh'], { timeoutMs: 120_000 });
  });
  afterAll(async () => {
    await machine?.stop();
    if (folder) await rm(folder, { recursive: true });
  });

  test(`${CASES} drawn trees of units go through the same states in the model and in systemd`, async () => {
    const wrong: string[] = [];
    let steps = 0;
    for (const [index, each] of drawn.entries()) {
      // Each step that differs is waited for to its end.
      if (wrong.length >= 3) break;
      const prefix = `c${index}x`;
      const files = filesOf(each, prefix);
      const dir = await mkdtemp(join(folder, 'case-'));
      for (const [name, content] of Object.entries(files)) await writeFile(join(dir, name), content);
      const names = Object.keys(files).sort();
      const played = play(each, modelOf(new UnitGraph(await readUnitTree(dir)), names));
      steps += played.length;
      await machine.writeFile('/run/case.sh', scriptOf(names, prefix, played));
      const { code, stdout } = await machine.exec(['/bin/sh', '/run/case.sh'], { timeoutMs: 120_000 });
      if (code !== 0) {
        const units = Object.entries(files).map(
          ([name, content]) => `# ${name}\n${content.replaceAll(/^ExecStart.*\n/gm, '')}`,
        );
        wrong.push(
          `case ${index}\n${units.join('\n')}\n${played.map(({ command }) => command).join('\n')}\n${stdout}`,
        );
      }
    }
    expect(wrong.join('\n\n'), `${steps} steps played`).toBe('');
  }, 600_000);
});
