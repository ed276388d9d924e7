import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PowerError } from '../../src/errors.ts';
import { installUnits } from '../../src/units/install/install.ts';
import { checkShippedUnits, checkUnits } from '../../src/units/lint/lint.ts';
import type { RuleId } from '../../src/units/lint/rules.ts';
import { parseUnitFile } from '../../src/units/unit-file.ts';

const SHIPPED = fileURLToPath(new URL('../../systemd', import.meta.url));
const OPENBMC = fileURLToPath(new URL('./units-lint-fixtures/openbmc', import.meta.url));

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-lint-'));
});

afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

/** Path → content of a file; `-> target` makes a link. */
type Files = Readonly<Record<string, string>>;

function write(files: Files): void {
  for (const [path, content] of Object.entries(files)) {
    const full = join(dir, path);
    mkdirSync(dirname(full), { recursive: true });
    if (content.startsWith('-> ')) symlinkSync(content.slice(3), full);
    else writeFileSync(full, content);
  }
}

/** `rule file:line` of every finding in a tree of these files; without a line for a link. */
async function found(files: Files): Promise<string[]> {
  write(files);
  return short(dir, (await checkUnits(dir)).findings);
}

function short(
  base: string,
  findings: readonly { rule: RuleId; file: string; line: number | null }[],
): string[] {
  return findings.map(
    ({ rule, file, line }) => `${rule} ${relative(base, file)}${line === null ? '' : `:${line}`}`,
  );
}

function service(settings: string, unit = ''): string {
  return `[Unit]\n${unit}\n[Service]\n${settings}\n`;
}

/** A service that no rule has anything against. */
const GOOD = 'Type=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=9\nExecStart=/usr/bin/work';
const DAEMON = 'ExecStart=/usr/bin/daemon';

/** A target that requires a service and routes its failure. */
const REQUIRING = '[Unit]\nRequires=s.service\nOnFailure=handler.target';
const WANTING = '[Unit]\nWants=s.service\nOnFailure=handler.target';

interface Case {
  readonly title: string;
  readonly files: Files;
  /** What is found; nothing for a case that must not trip the rule. */
  readonly findings?: readonly string[];
}

const CASES: Readonly<Record<Exclude<RuleId, 'unknown-unit'>, readonly Case[]>> = {
  'target-without-onfailure': [
    {
      title: 'requires a service',
      files: { 'a.target': '# a comment\n[Unit]\nRequires=s.service', 's.service': service(GOOD) },
      findings: ['target-without-onfailure a.target:2'],
    },
    {
      title: 'requires by a link, by BindsTo=, by RequiredBy=, or a service that is not in the tree',
      files: {
        'a.target': '[Unit]',
        'a.target.requires/s.service': '-> ../s.service',
        'b.target': '[Unit]\nBindsTo=s.service',
        'c.target': '[Unit]',
        'd.target': '[Unit]\nRequires=elsewhere.service',
        's.service': `${service(GOOD)}[Install]\nRequiredBy=c.target`,
      },
      findings: ['a', 'b', 'c', 'd'].map((name) => `target-without-onfailure ${name}.target:1`),
    },
    {
      title: 'requires a target that can fail',
      files: {
        'a.target': '[Unit]\nRequires=b.target',
        'b.target': '[Unit]\nRequires=s.service\nOnFailure=c.target',
        's.service': service(GOOD),
      },
      findings: ['target-without-onfailure a.target:1'],
    },
    { title: 'requires a service and says what follows', files: { 'a.target': REQUIRING } },
    {
      title: 'says it in a drop-in',
      files: { 'a.target': '[Unit]\nRequires=s.service', 'a.target.d/x.conf': '[Unit]\nOnFailure=b.target' },
    },
    {
      title: 'requires only targets that cannot fail: a synchronisation point',
      files: {
        'a.target': '[Unit]\nRequires=b.target\nAfter=b.target',
        'b.target': '[Unit]\nDescription=sync',
      },
    },
    {
      title: 'only wants: the end of the line',
      files: { 'quiesce.target': '[Unit]\nWants=s.service', 's.service': service(GOOD) },
    },
  ],

  'needed-but-only-wanted': [
    {
      title: 'runs a stage of this program',
      files: {
        'a.target': '[Unit]\nWants=s.service',
        's.service': service(GOOD.replace('work', 'chassis-power --board x wait-on')),
      },
      findings: ['needed-but-only-wanted a.target:2'],
    },
    {
      title: "makes OpenBMC's calls, by a link",
      files: {
        'a.target.wants/s.service': '-> ../s.service',
        'a.target': '[Unit]',
        's.service': service(
          GOOD.replace('/usr/bin/work', '/bin/sh -c "busctl call x y z setPowerState i 1"'),
        ),
      },
      findings: ['needed-but-only-wanted a.target.wants/s.service'],
    },
    {
      title: 'hands a stage to the resident service',
      files: {
        'a.target': '[Unit]\nWants=s.service',
        's.service': service(
          GOOD.replace('/usr/bin/work', '/usr/bin/busctl call x /power0 chassis_power.Sequence1 WaitOn'),
        ),
      },
      findings: ['needed-but-only-wanted a.target:2'],
    },
    {
      title: 'says Before= of a target that routes failures, by WantedBy=',
      files: {
        'a.target': '[Unit]\nOnFailure=handler.target',
        's.service': `${service(GOOD, 'Before=a.target')}[Install]\nWantedBy=a.target`,
      },
      findings: ['needed-but-only-wanted s.service:9'],
    },
    {
      title: 'is required as well, through another service',
      files: {
        'a.target': '[Unit]\nWants=s.service\nRequires=t.service\nOnFailure=handler.target',
        's.service': service(GOOD.replace('work', 'chassis-power start'), 'Before=a.target'),
        't.service': service(GOOD, 'Requires=s.service'),
      },
    },
    {
      title: 'is optional: no power step, no Before=, whatever else comes after it',
      files: {
        'a.target': '[Unit]\nWants=s.service\nAfter=s.service\nRequires=t.service\nOnFailure=handler.target',
        's.service': service(GOOD, 'Before=t.service'),
        't.service': service(GOOD),
      },
    },
    {
      title: 'says Before= of a target that routes no failures',
      files: { 'a.target': '[Unit]\nWants=s.service', 's.service': service(GOOD, 'Before=a.target') },
    },
    {
      title: 'runs chassis-power, but no stage',
      files: { 'a.target': WANTING, 's.service': service(GOOD.replace('work', 'chassis-power status')) },
    },
  ],

  'could-be-oneshot': [
    {
      title: 'no Type=, but remains after its exit',
      files: { 'a.target': REQUIRING, 's.service': service('RemainAfterExit=yes\nExecStart=/usr/bin/x') },
      findings: ['could-be-oneshot s.service:3'],
    },
    {
      title: 'Type=simple and a command that ends, in a shell or not',
      files: {
        'a.target': '[Unit]\nWants=s.service t.service u.service',
        's.service': service('ExecStart=-/usr/bin/busctl call a b c d\nType=simple'),
        't.service': service(
          'Type=exec\nExecStart=/bin/sh -ec "mkdir -p /x && busctl call `mapper get a` b"',
        ),
        'u.service': service(
          'ExecStart=/usr/bin/daemon\nExecStart=\nExecStart=/bin/systemctl start b.target',
        ),
      },
      findings: [
        'could-be-oneshot s.service:5',
        'could-be-oneshot t.service:4',
        'could-be-oneshot u.service:3',
      ],
    },
    {
      title: 'a daemon, a shell that does not end, a monitor',
      files: {
        'a.target': '[Unit]\nWants=s.service t.service u.service v.service',
        's.service': service(DAEMON),
        't.service': service('ExecStart=/bin/sh -c "mkdir -p /x; /usr/bin/daemon"'),
        'u.service': service('ExecStart=/usr/bin/busctl monitor'),
        'v.service': service('ExecStart=/bin/sh -c "busctl call a b c d & wait"'),
      },
    },
    {
      title: 'restarted for ever, which a oneshot cannot be',
      files: { 'a.target': WANTING, 's.service': service('Restart=always\nExecStart=/bin/true') },
    },
    {
      title: 'tells itself when it is started',
      files: {
        'a.target': '[Unit]\nWants=s.service t.service',
        's.service': service('Type=notify\nRemainAfterExit=yes\nExecStart=/usr/bin/x'),
        't.service': service('BusName=org.x\nRemainAfterExit=yes\nExecStart=/usr/bin/x'),
      },
    },
    { title: 'nobody counts on it', files: { 's.service': service('ExecStart=/bin/true') } },
  ],

  'onfailure-too-late': [
    {
      title: 'not a oneshot, by name or by default',
      files: {
        's.service': service('Type=forking\nRemainAfterExit=yes\nExecStart=/usr/bin/x', 'OnFailure=h.target'),
        't.service': service('RemainAfterExit=true\nExecStart=/usr/bin/x', 'OnFailure=h.target'),
        't.service.d/x.conf': '[Service]\nType=bogus\nType=',
      },
      findings: ['onfailure-too-late s.service:2', 'onfailure-too-late t.service:2'],
    },
    { title: 'a oneshot', files: { 's.service': service(GOOD, 'OnFailure=h.target') } },
    {
      title: 'a oneshot by default: it has no ExecStart=',
      files: { 's.service': service('RemainAfterExit=yes\nExecStop=/usr/bin/x', 'OnFailure=h.target') },
    },
    { title: 'does not remain', files: { 's.service': service(DAEMON, 'OnFailure=h.target') } },
    {
      title: 'remains, but routes nothing',
      files: { 's.service': service(`RemainAfterExit=yes\n${DAEMON}`) },
    },
  ],

  'oneshot-without-remain': [
    {
      title: 'required by a target',
      files: { 'a.target': REQUIRING, 's.service': service(GOOD.replace('RemainAfterExit=yes\n', '')) },
      findings: ['oneshot-without-remain s.service:3'],
    },
    {
      title: 'wanted by a target, and taken back by a drop-in',
      files: {
        'a.target': WANTING,
        's.service': service(GOOD),
        's.service.d/x.conf': '[Service]\nRemainAfterExit=no',
      },
      findings: ['oneshot-without-remain s.service.d/x.conf:2'],
    },
    { title: 'remains', files: { 'a.target': REQUIRING, 's.service': service(GOOD) } },
    {
      title: 'an assignment that systemd does not understand changes nothing',
      files: {
        'a.target': REQUIRING,
        's.service': service(`${GOOD}\nRemainAfterExit=\nRemainAfterExit=maybe`),
      },
    },
    {
      title: 'no target has it: a timer starts it',
      files: { 's.service': service(GOOD.replace('RemainAfterExit=yes\n', '')) },
    },
    { title: 'a daemon', files: { 'a.target': REQUIRING, 's.service': service(DAEMON) } },
  ],

  'wait-without-timeout': [
    {
      title: 'a oneshot has no limit of its own',
      files: {
        's.service': service('RemainAfterExit=yes\nType=oneshot\nExecStart=/usr/bin/pgood_wait x off'),
      },
      findings: ['wait-without-timeout s.service:3'],
    },
    {
      title: 'limits that are none',
      files: {
        's.service': service(`${GOOD}\nTimeoutStartSec=infinity`),
        't.service': service(`${GOOD}\nTimeoutSec=0`),
        'u.service': service('Type=notify\nExecStart=/usr/bin/x\nTimeoutStartSec=0s'),
      },
      findings: ['s.service:8', 't.service:8', 'u.service:6'].map((at) => `wait-without-timeout ${at}`),
    },
    { title: 'TimeoutStartSec=', files: { 's.service': service(GOOD) } },
    {
      title: 'TimeoutSec=, and nonsense after it',
      files: {
        's.service': service(
          'Type=oneshot\nTimeoutSec=1min 30s\nTimeoutStartSec=soon\nTimeoutStartSec=\nExecStart=/usr/bin/x',
        ),
      },
    },
    {
      title: 'in a drop-in',
      files: {
        's@.service': service('Type=oneshot\nExecStart=/usr/bin/x'),
        's@.service.d/limit.conf': '[Service]\nTimeoutStartSec=500ms',
      },
    },
    { title: 'types that wait for nothing, or have a limit', files: { 's.service': service(DAEMON) } },
    { title: 'a notify service', files: { 's.service': service(`Type=notify\n${DAEMON}`) } },
    {
      title: 'a oneshot that runs nothing but true',
      files: { 's.service': service('Type=oneshot\nExecStart=/bin/true') },
    },
  ],

  'conflict-without-order': [
    {
      title: 'neither of the two says which comes first; told once',
      files: { 'a.target': '[Unit]\nConflicts=b.target', 'b.target': '[Unit]\nConflicts=a.target' },
      findings: ['conflict-without-order a.target:2'],
    },
    {
      title: 'ordered with something else, in a list over several lines',
      files: {
        's@.service': service(
          GOOD,
          'Conflicts=x@%i.target \\\n# not this one\n  b@%i.target\nAfter=x@%i.target',
        ),
        'x@.target': '[Unit]',
        'b@.target': '[Unit]\nAfter=x@%i.target',
      },
      findings: ['conflict-without-order s@.service:2'],
    },
    {
      title: 'ordered by the other one, or by a drop-in',
      files: {
        'a.target': '[Unit]\nConflicts=b.target c.target',
        'b.target': '[Unit]\nBefore=a.target',
        'c.target': '[Unit]',
        'a.target.d/order.conf': '[Unit]\nAfter=c.target',
      },
    },
    { title: 'the other one is not in the tree', files: { 'a.target': '[Unit]\nConflicts=b.target' } },
    {
      title: 'shutdown, which comes with its ordering',
      files: { 'a.target': '[Unit]\nConflicts=shutdown.target', 'shutdown.target': '[Unit]' },
    },
    {
      title: 'under its other name',
      files: {
        'a.target': '[Unit]\nConflicts=alias.target\nAfter=b.target',
        'b.target': '[Unit]',
        'alias.target': '-> b.target',
      },
    },
  ],

  'opposites-together': [
    {
      title: 'one start pulls in both; told for the innermost',
      files: {
        'a.target': '[Unit]\nWants=b.target c.target',
        'outer.target': '[Unit]\nWants=a.target',
        'b.target': '[Unit]\nConflicts=d.target\nAfter=d.target',
        'c.target': '[Unit]\nRequires=d.target',
        'd.target': '[Unit]',
      },
      findings: ['opposites-together b.target:2'],
    },
    {
      title: 'it conflicts with what it pulls in',
      files: {
        'a.target': '[Unit]\nWants=b.target\nConflicts=c.target\nAfter=c.target',
        'b.target': '[Unit]\nWants=c.target',
        'c.target': '[Unit]',
      },
      findings: ['opposites-together a.target:3'],
    },
    {
      title: 'one failure starts both',
      files: {
        'host.target': '[Unit]\nRequires=on.target\nOnFailure=quiesce.target',
        'on.target': '[Unit]\nRequires=s.service\nOnFailure=off.target',
        'off.target': '[Unit]',
        'quiesce.target': '[Unit]\nConflicts=off.target\nAfter=off.target',
        's.service': service(GOOD),
      },
      findings: ['opposites-together quiesce.target:2'],
    },
    {
      title: 'one OnFailure= names both, or what they pull in',
      files: {
        'on.target': '[Unit]\nRequires=s.service\nOnFailure=off.target quiesce.target',
        'off.target': '[Unit]\nWants=t.service',
        'quiesce.target': '[Unit]',
        't.service': service(GOOD, 'Conflicts=quiesce.target\nAfter=quiesce.target'),
      },
      findings: ['opposites-together t.service:2'],
    },
    {
      title: 'OnFailure= of the opposite is the way it should be',
      files: {
        'on.target':
          '[Unit]\nRequires=s.service\nOnFailure=off.target\nConflicts=off.target\nAfter=off.target',
        'off.target': '[Unit]\nConflicts=on.target',
        's.service': service(GOOD),
      },
    },
    {
      title: 'opposites that no request and no failure brings together',
      files: {
        'one.target': '[Unit]\nRequires=s.service\nOnFailure=off.target',
        'other.target': '[Unit]\nRequires=t.service\nOnFailure=quiesce.target',
        'all.target': '[Unit]\nWants=one.target other.target',
        'off.target': '[Unit]',
        'quiesce.target': '[Unit]\nConflicts=off.target\nAfter=off.target',
      },
    },
    {
      title: 'two requests that share a stage, but never run at once',
      files: {
        'one.target': '[Unit]\nRequires=s.service\nOnFailure=off.target',
        'other.target': '[Unit]\nRequires=s.service\nOnFailure=quiesce.target',
        'off.target': '[Unit]',
        'quiesce.target': '[Unit]\nConflicts=off.target\nAfter=off.target',
      },
    },
  ],

  'without-sandbox': [
    {
      title: 'a unit of ours that was copied and not installed',
      files: { 's.service': service(`${GOOD}\nX-Sandbox=sandbox.conf`) },
      findings: ['without-sandbox s.service:8'],
    },
    {
      title: 'settings of others that systemd passes over',
      files: { 's.service': service(`${GOOD}\nX-Vendor=sandbox.conf\nProtectSystem=strict`) },
    },
  ],
};

describe.each(Object.entries(CASES))('%s', (rule, cases) => {
  test('has cases on both sides', () => {
    expect(cases.some(({ findings }) => findings !== undefined)).toBe(true);
    expect(cases.some(({ findings }) => findings === undefined)).toBe(true);
  });

  test.each(cases)('$title', async ({ files, findings = [] }) => {
    // A case may be wrong by other rules as well; it is about this one.
    expect((await found(files)).filter((text) => text.startsWith(`${rule} `))).toEqual(findings);
  });
});

describe('the units that ship', () => {
  test('have no findings, as each kind of install links them', async () => {
    expect(await checkShippedUnits(SHIPPED)).toEqual({ dir: SHIPPED, checked: 16, findings: [] });
  });

  test.each([
    ['legacy', 'program', 13],
    ['legacy', 'resident', 13],
    // The two waits; the service is no power path of its own.
    ['current', 'program', 2],
  ] as const)('and none installed in a root for two chassis: %s, %s', async (flavour, stages, checked) => {
    await installUnits({ root: dir, chassis: [0, 1], sourceDir: SHIPPED, flavour, stages });
    expect(await checkUnits(dir)).toEqual({ dir, checked, findings: [] });
  });

  test.each([
    ['obmc-power-chassis-on@.target', /^OnFailure=.*$/m, '', 'target-without-onfailure'],
    ['op-wait-power-on@.service', /^TimeoutStartSec=.*$/m, '', 'wait-without-timeout'],
    ['op-power-stop@.service', /^RemainAfterExit=.*$/m, '', 'oneshot-without-remain'],
    ['op-power-stop@.service', /^Type=.*$/m, '', 'could-be-oneshot'],
    ['obmc-start-host@.service', /^Type=.*$/m, 'Type=simple', 'onfailure-too-late'],
    [
      'obmc-quiesce-host@.target',
      /^Conflicts=.*$/m,
      'Conflicts=obmc-power-chassis-off@%i.target',
      'opposites-together',
    ],
    [
      'obmc-standby.target',
      /^Wants=.*$/m,
      'Wants=op-power-start@0.service op-power-stop@0.service',
      'opposites-together',
    ],
    ['op-power-stop@.service', /^Conflicts=op-power-start@/m, 'Conflicts=op-power-strat@', 'unknown-unit'],
    ['resident/op-power-stop@.service.conf', /^ExecStart=$/m, 'TimeoutStartSec=0', 'wait-without-timeout'],
    ['resident/op-wait-power-on@.service.conf', /^After=.*$/m, 'After=chassis-powre.service', 'unknown-unit'],
    ['current/phosphor-wait-power-off@.service', /^TimeoutStartSec=.*$/m, '', 'wait-without-timeout'],
    // Known by the link into phosphor-state-manager's target alone.
    ['current/phosphor-wait-power-on@.service', /^RemainAfterExit=.*$/m, '', 'oneshot-without-remain'],
    ['current/phosphor-wait-power-on@.service', /^Type=.*$/m, 'Type=exec', 'could-be-oneshot'],
    [
      'current/phosphor-wait-power-on@.service',
      /^Wants=obmc-power-start@/m,
      'Wants=obmc-power-strat@',
      'unknown-unit',
    ],
    [
      'current/chassis-power.service.conf',
      /^\[Service\]$/m,
      '[Service]\nTimeoutStartSec=0',
      'wait-without-timeout',
    ],
  ])('%s with %s changed would be found', async (name, pattern, replacement, rule) => {
    const copy = join(dir, 'source');
    cpSync(SHIPPED, copy, { recursive: true });
    const text = readFileSync(join(copy, name), 'utf8');
    expect(text).toMatch(pattern);
    writeFileSync(join(copy, name), text.replace(pattern, replacement));
    const findings = (await checkShippedUnits(copy)).findings.filter((finding) => finding.rule === rule);
    expect(findings).not.toEqual([]);
    if (rule === 'unknown-unit')
      expect(short(copy, findings)[0]).toMatch(new RegExp(`^${rule} ${name}:\\d+$`));
  });

  test('know the targets of phosphor-state-manager beside the current flavour, and nothing of them', async () => {
    const copy = join(dir, 'source');
    cpSync(SHIPPED, copy, { recursive: true });
    const wait = join(copy, 'current/phosphor-wait-power-on@.service');
    // Ordered in the other project's file, or not: that is not in these.
    const text = readFileSync(wait, 'utf8');
    writeFileSync(wait, text.replace('[Unit]', '[Unit]\nConflicts=obmc-host-quiesce@%i.target'));
    expect((await checkShippedUnits(copy)).findings).toEqual([]);
    // They are not beside the legacy flavour.
    const stage = join(copy, 'op-power-stop@.service');
    const legacy = readFileSync(stage, 'utf8');
    writeFileSync(stage, legacy.replace('[Unit]', '[Unit]\nAfter=obmc-power-stop@%i.target'));
    expect(short(copy, (await checkShippedUnits(copy)).findings)).toEqual([
      expect.stringMatching(/^unknown-unit op-power-stop@\.service:\d+$/),
    ]);
  });
});

test('as OpenBMC ships', async () => {
  const { findings, checked } = await checkUnits(OPENBMC);
  expect(checked).toBe(40);
  expect(short(OPENBMC, findings)).toEqual([
    'target-without-onfailure obmc-chassis-hard-poweroff@.target:1',
    'target-without-onfailure obmc-chassis-poweroff@.target:1',
    'target-without-onfailure obmc-chassis-powerreset@.target:1',
    // A failed power on leads to poweroff@ and, one level up, to host-quiesce@, which excludes it.
    'opposites-together obmc-host-quiesce@.target:4',
    'opposites-together obmc-host-quiesce@.target:6',
    'wait-without-timeout obmc-power-start@.service:14',
    // No Type=: a failing call cannot fail the poweroff target.
    'could-be-oneshot obmc-power-stop@.service:12',
    'could-be-oneshot obmc-powered-off@.service:6',
    'oneshot-without-remain phosphor-clear-one-time@.service:6',
    'wait-without-timeout phosphor-clear-one-time@.service:6',
    'wait-without-timeout phosphor-create-chassis-poweron-log@.service:10',
    'could-be-oneshot phosphor-discover-system-state@.service:7',
    'conflict-without-order phosphor-regulators-config.service:6',
    'wait-without-timeout phosphor-regulators-config.service:9',
    'could-be-oneshot phosphor-reset-chassis-on@.service:9',
    'wait-without-timeout phosphor-reset-chassis-running@.service:10',
    'oneshot-without-remain phosphor-reset-chassis-running@.service:12',
    'wait-without-timeout phosphor-set-chassis-transition-to-off@.service:9',
    'wait-without-timeout phosphor-set-chassis-transition-to-on@.service:10',
    'conflict-without-order phosphor-wait-power-off@.service:10',
    'wait-without-timeout phosphor-wait-power-off@.service:12',
    'conflict-without-order phosphor-wait-power-on@.service:10',
  ]);
});

describe('an install on a machine leaves nothing of ours to find', () => {
  const LIB = 'usr/lib/systemd/system';
  /** What ours take the place of. */
  const REPLACED = /(phosphor-wait-power-(on|off)@\d*|phosphor-power-control)\.service$/;
  const kinds = [
    { flavour: 'legacy', stages: 'program' },
    { flavour: 'legacy', stages: 'resident' },
    { flavour: 'current', stages: 'program' },
  ] as const;

  test.each(kinds)('$flavour names, stages of the $stages', async ({ flavour, stages }) => {
    if (flavour === 'current') {
      cpSync(OPENBMC, join(dir, LIB), { recursive: true, filter: (path) => !REPLACED.test(path) });
    }
    const before = flavour === 'current' ? (await checkUnits(dir)).findings : [];
    await installUnits({ root: dir, chassis: [0, 1], sourceDir: SHIPPED, flavour, stages });
    const { findings, checked } = await checkUnits(dir);
    expect(checked).toBeGreaterThan(flavour === 'current' ? 30 : 10);
    // Of phosphor-state-manager's own units there is something to say, with ours or without.
    const said = new Set(before.map(({ rule, file, line }) => `${rule} ${file} ${line}`));
    expect(findings.filter(({ rule, file, line }) => !said.has(`${rule} ${file} ${line}`))).toEqual([]);
  });
});

test('every finding says what is wrong, with which unit, and what to do', async () => {
  for (const finding of (await checkUnits(OPENBMC)).findings) {
    expect(finding.message).toMatch(/\S/);
    expect(finding.suggestion).toMatch(/^(set|add|name|take|let|make) /);
    expect(finding.unit).toMatch(/\.(service|target)$/);
  }
});

describe('the syntax', () => {
  const pairs = (text: string) =>
    parseUnitFile(text, 'x').settings.map(({ section, key, value, line }) => [section, key, value, line]);

  test('comments, space, sections, keys given twice', () => {
    expect(
      pairs('\uFEFF# c\n\n[Unit]\r\n; c\n After = a.target \nAfter=\nnonsense\n=x\n[X]\nA==b # c\n'),
    ).toEqual([
      ['Unit', 'After', 'a.target', 5],
      ['Unit', 'After', '', 6],
      ['X', 'A', '=b # c', 10],
    ]);
  });

  test('continued lines, also over comments; an empty line ends them', () => {
    expect(pairs('[S]\nA=1 \\\n# c\n  ; c\n 2\\\n\nB=3\\\\\nC=4\\')).toEqual([
      ['S', 'A', '1   2', 2],
      ['S', 'B', '3\\\\', 7],
      ['S', 'C', '4', 8],
    ]);
  });
});

describe('the tree', () => {
  const BAD = service('Type=oneshot\nExecStart=/usr/bin/x');
  const UNTIMED = 'wait-without-timeout';

  test('a root: the units of the power path, and nothing of the rest', async () => {
    const lib = 'usr/lib/systemd/system';
    const files = {
      [`${lib}/obmc-on@.target`]: '[Unit]\nWants=multi-user.target',
      [`${lib}/obmc-on@0.target.requires/stage@0.service`]: '-> ../stage@.service',
      [`${lib}/obmc-on@0.target.d/x.conf`]: '[Unit]\nOnFailure=x.target',
      [`${lib}/stage@.service`]: BAD,
      [`${lib}/around.service`]: service('Type=oneshot\nExecStart=/usr/bin/x', 'Before=obmc-on@0.target'),
      [`${lib}/multi-user.target`]: '[Unit]\nWants=rest.service',
      [`${lib}/rest.service`]: BAD,
      // Not enabled, so without effect.
      [`${lib}/idle.service`]: `${BAD}[Install]\nRequiredBy=obmc-on@0.target`,
      lib: '-> usr/lib',
    };
    const all = await found(files);
    expect(all).toEqual([
      `${UNTIMED} ${lib}/around.service:3`,
      `oneshot-without-remain ${lib}/stage@.service:3`,
      `${UNTIMED} ${lib}/stage@.service:3`,
    ]);
  });

  test('a root: /etc wins, masks and replaces drop-ins by name; absolute links stay inside', async () => {
    const [lib, etc] = ['usr/lib/systemd/system', 'etc/systemd/system'];
    const files = {
      [`${lib}/obmc-on.target`]: '[Unit]\nWants=a.service b.service c.service d.service e.service f.service',
      [`${lib}/a.service`]: BAD,
      [`${etc}/a.service`]: '-> /opt/a.service',
      'opt/a.service': service(GOOD),
      [`${lib}/b.service`]: BAD,
      [`${etc}/b.service`]: '-> /dev/null',
      [`${lib}/c.service`]: service(GOOD),
      [`${lib}/c.service.d/10.conf`]: '[Service]\nTimeoutStartSec=infinity',
      [`${etc}/c.service.d/10.conf`]: '-> /dev/null',
      [`${lib}/d.service`]: BAD,
      [`${etc}/d.service`]: '',
      [`${etc}/e.service`]: '-> /usr/lib/systemd/system/e-real.service',
      [`${lib}/e-real.service`]: service(`${GOOD}\nTimeoutStartSec=infinity`),
      [`${etc}/f.service`]: '-> /nowhere/f.service',
    };
    expect(await found(files)).toEqual([`${UNTIMED} ${lib}/e-real.service:8`]);
  });

  test('drop-ins: of the instance, of the template, of a prefix, of the type, by name', async () => {
    const untimed = service('Type=oneshot\nExecStart=/usr/bin/x');
    const files = {
      'p-a@.service': untimed,
      'p-b.service': untimed,
      'x.target': '[Unit]\nAfter=p-a@0.service p-a@1.service',
      'p-a@0.service.d/20.conf': '[Service]\nTimeoutStartSec=infinity',
      'p-a@.service.d/10.conf': '[Service]\nTimeoutStartSec=1',
      'p-.service.d/05.conf': '[Service]\nTimeoutStartSec=2',
      'service.d/01.conf': '[Service]\nTimeoutStartSec=0',
      'p-b.service.d/readme.txt': '[Service]\nTimeoutStartSec=0',
    };
    expect(await found(files)).toEqual([`${UNTIMED} p-a@0.service.d/20.conf:2`]);
  });

  test('templates: told for one instance, found by any', async () => {
    const files = {
      's@.service': BAD,
      'a@.target': '[Unit]\nOnFailure=x.target',
      'a@.target.requires/s@.service': '-> ../s@.service',
      'u.target': '[Unit]\nWants=a@7.target a@8.target',
    };
    expect(await found(files)).toEqual(['oneshot-without-remain s@.service:3', `${UNTIMED} s@.service:3`]);
    const { findings } = await checkUnits(dir);
    expect(findings.map(({ unit }) => unit)).toEqual(['s@7.service', 's@7.service']);
  });

  test('a dependency cannot be taken back by an empty assignment', async () => {
    const files = { 'a.target': REQUIRING, 'a.target.d/x.conf': '[Unit]\nRequires=\nOnFailure=' };
    expect(await found(files)).toEqual([]);
  });

  test('a pipe is not read, a circle of links leads nowhere', async () => {
    write({ 'a.target': '[Unit]', 'b.target': '-> c.target', 'c.target': '-> b.target' });
    execFileSync('mkfifo', [join(dir, 'd.service')]);
    expect(await found({})).toEqual([]);
  });
});

describe('what cannot be read is one line', () => {
  async function refusal(attempt: Promise<unknown>): Promise<PowerError> {
    const error = await attempt.then(
      () => new Error('was not refused'),
      (thrown: unknown) => thrown,
    );
    if (error instanceof PowerError) return error;
    throw error;
  }

  test.each<[string, Files, string]>([
    ['nothing there', {}, 'nowhere'],
    ['a file', { file: '' }, 'file'],
    ['no units in it', { 'x/readme.txt': '' }, 'x'],
    ['a root without units of the power path', { 'usr/lib/systemd/system/a.service': service(DAEMON) }, '.'],
  ])('%s', async (_, files, name) => {
    write(files);
    const error = await refusal(checkUnits(join(dir, name)));
    expect(error.code).toBe('USAGE');
    expect(error.message).toContain(name);
    expect(error.message).not.toContain('\n');
  });

  test('a folder that the kernel refuses', async () => {
    const error = await refusal(checkUnits(join(dir, 'x'.repeat(300))));
    expect(error.code).toBe('USAGE');
    expect(error.message).toMatch(/^cannot read the units in .*ENAMETOOLONG/);
  });

  test('the units that ship are not there', async () => {
    expect((await refusal(checkShippedUnits(join(dir, 'nowhere')))).code).toBe('UNITS_SOURCE_MISSING');
  });
});
