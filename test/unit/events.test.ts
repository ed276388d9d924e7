import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CodedError } from '../../hw/errors.ts';
import { VERBS } from '../../src/cli/verbs.ts';
import { PowerError } from '../../src/errors.ts';
import {
  type EventKind,
  type EventSource,
  endFields,
  type Fields,
  failureFields,
  MESSAGE_IDS,
  missFields,
} from '../../src/report/events.ts';
import { faultError } from '../../src/run/outcome.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import { type Fault, type FaultKind, STATES } from '../../src/sequence/state.ts';
import { fewer } from '../draws.ts';
import { shippedBoard } from './bench.ts';
import { HARDWARE_CODES, POWER_CODES, SYSTEM_CODES } from './error-codes.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const page = (path: string) => readFileSync(join(ROOT, path), 'utf8');

interface CatalogueEntry {
  readonly id: string;
  readonly header: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The format of message catalogues: an ID, a header of `Name: value`, an empty line, a text. */
function catalogueEntries(text: string): CatalogueEntry[] {
  const [, ...parts] = text.replaceAll(/^#.*\n/gm, '').split(/^-- /m);
  return parts.map((part) => {
    const [id = '', head = '', body = ''] = /^([^\n]*)\n((?:[^\n]+\n)*)\n(.*)$/s.exec(part)?.slice(1) ?? [];
    const header = Object.fromEntries([...head.matchAll(/^([\w-]+): (.*)$/gm)].map(([, k, v]) => [k, v]));
    return { id, header, body: body.trim() };
  });
}

const CATALOGUE = catalogueEntries(page('systemd/chassis-power.catalog'));
const CODES = [...HARDWARE_CODES, ...SYSTEM_CODES, ...POWER_CODES];
const FAULT_KINDS: readonly FaultKind[] = [
  ...(['railTimeout', 'railLost', 'railStray', 'pgoodTimeout', 'pgoodLost', 'powerOffTimeout'] as const),
  'hardware',
];
const RAIL_KINDS: readonly FaultKind[] = ['railTimeout', 'railLost', 'railStray'];

class Thrown extends CodedError {}

const plan = planOf(shippedBoard('reference').chassis['0'] ?? expect.fail('no chassis 0'), {});
const rails = plan.rails.map(({ name }) => name);

/** A fault as the sequence raises it: those of a rail name it. */
const fault = fc.record({
  kind: fc.constantFrom(...FAULT_KINDS),
  rail: fc.constantFrom(...rails),
  named: fc.boolean(),
  state: fc.constantFrom(...STATES),
  errorCode: fc.constantFrom(...HARDWARE_CODES),
});
/** What the evidence said of it, where any was read. */
const diagnosis = fc.option(
  fc.record({
    rail: fc.option(fc.constantFrom(...rails)),
    cause: fc.constantFrom('undervoltage', 'unknown'),
    because: fc.constantFrom('it went wrong', 'its device says so'),
    unread: fc.subarray(['vr_ddr page 0', 'hsc page 1']),
  }),
  { nil: undefined },
);
const faulted = fc
  .tuple(fault, fc.subarray(rails), fc.boolean(), diagnosis)
  .map(([drawn, on, pgood, said]) => {
    const { kind, named, state } = drawn;
    const of: Fault = {
      kind,
      rail: RAIL_KINDS.includes(kind) || named ? drawn.rail : null,
      state,
      atMs: 5,
      reason: 'it went wrong',
      errorCode: kind === 'hardware' ? drawn.errorCode : null,
      ...(said && { diagnosis: said }),
    };
    const seen = Object.fromEntries(rails.map((name) => [name, { enabled: on.includes(name), good: false }]));
    const { sequence } = reconcile(plan, { rails: seen, pgood, resetsAsserted: {} }, null, 5);
    return faultError(0, { ...sequence, fault: of });
  });
/** An error without a fault, with the codes that come with none. */
const withoutFault = fc
  .constantFrom(...CODES.filter((code) => !['RAIL_FAULT', 'HARDWARE_FAULT'].includes(code)))
  .map((code) => new Thrown(code, 'chassis 0: it went wrong'));
const ofOneChassis = fc.record({
  chassis: fc.constant(0),
  verb: fc.constantFrom('start', 'wait-on', 'stop', 'wait-off', 'on', 'off', 'cycle', 'adopt', null),
  elapsedMs: fc.option(fc.double({ min: 0, max: 1e6, noNaN: true })),
});

const kindOf = (fields: Fields): EventKind =>
  (Object.keys(MESSAGE_IDS) as EventKind[]).find((kind) => MESSAGE_IDS[kind] === fields.MESSAGE_ID) ??
  expect.fail(`no kind has ${fields.MESSAGE_ID}`);

describe('every MESSAGE_ID has its catalogue entry', () => {
  it('and the catalogue has no other, and none twice', () => {
    expect(CATALOGUE.map(({ id }) => id).sort()).toEqual(Object.values(MESSAGE_IDS).sort());
    expect(new Set(CATALOGUE.map(({ id }) => id)).size).toBe(CATALOGUE.length);
  });

  it('and is 128 bits that no other kind has', () => {
    const ids = Object.values(MESSAGE_IDS);
    expect(ids.filter((id) => !/^[0-9a-f]{32}$/.test(id))).toEqual([]);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it.each(CATALOGUE.map(({ id, header, body }) => [header.Subject, id, header, body] as const))(
    '"%s" says what happened and what to check',
    (subject, id, header, body) => {
      expect(subject).toMatch(/^[A-Z].+[^.]$/);
      expect(header['Defined-By']).toBe('chassis-power');
      expect(body.split('\n').filter((line) => line.length > 80)).toEqual([]);
      const isGood = id === MESSAGE_IDS.poweredOn || id === MESSAGE_IDS.poweredOff;
      if (!isGood) expect(body).toMatch(/^What to check:\n- /m);
    },
  );

  it('and names only verbs that there are, and keys of the board file', () => {
    const texts = CATALOGUE.map(({ body }) => body).join('\n');
    const verbs = [...texts.matchAll(/\bchassis-power ([a-z-]+)/g)].map(([, verb = '']) => verb);
    expect(verbs.length).toBeGreaterThan(5);
    expect(verbs.filter((verb) => VERBS[verb] === undefined)).toEqual([]);
    const schema = page('hw/boards/board.schema.json');
    const keys = [...texts.matchAll(/\b\w+Ms\b/g)].map(([key]) => key);
    expect(keys.length).toBeGreaterThan(3);
    expect(keys.filter((key) => !schema.includes(`"${key}"`))).toEqual([]);
  });
});

describe('the fields of an event', () => {
  it('include those that its catalogue entry shows, whatever the error', () => {
    const shown = new Map(
      CATALOGUE.map(({ id, header, body }) => [
        id,
        [...`${header.Subject}\n${body}`.matchAll(/@([A-Z_]+)@/g)].map(([, name = '']) => name),
      ]),
    );
    const kinds = new Set<EventKind>();
    fc.assert(
      fc.property(fc.oneof(faulted, withoutFault), ofOneChassis, (error, source) => {
        const fields = failureFields(error, source);
        if (fields === null) return;
        kinds.add(kindOf(fields));
        expect(Object.keys(fields)).toEqual(
          expect.arrayContaining(shown.get(fields.MESSAGE_ID ?? '') ?? ['an entry']),
        );
      }),
      { numRuns: fewer(3_000, 600), seed: 1 },
    );
    const others = (['poweredOn', 'poweredOff', 'hostOff', 'railMissed'] as const).map(
      (kind) => MESSAGE_IDS[kind],
    );
    expect([...kinds].map((kind) => MESSAGE_IDS[kind]).sort()).toEqual(
      Object.values(MESSAGE_IDS)
        .filter((id) => !others.some((other) => other === id))
        .sort(),
    );
  });

  it('have names that journald takes from a client, and one line each', () => {
    fc.assert(
      fc.property(fc.oneof(faulted, withoutFault), ofOneChassis, (error, source) => {
        const names = Object.keys(failureFields(error, source) ?? {});
        expect(names.filter((name) => !/^[A-Z][A-Z0-9_]{0,63}$/.test(name))).toEqual([]);
      }),
    );
  });

  it('of a rail that failed are its chassis, stage, rail, reason and time', () => {
    const error = new PowerError(
      'RAIL_FAULT',
      'chassis 1: rail P1V8 was not good within 100 ms; POWER IS STILL APPLIED',
      {
        chassis: 1,
        powerStillApplied: true,
        stillOn: [
          { rail: 'P5V', because: 'good' },
          { rail: null, because: 'good' },
        ],
        fault: {
          kind: 'railTimeout',
          rail: 'P1V8',
          state: 'opPowerStart',
          atMs: 1,
          reason: 'rail P1V8 was not good within 100 ms',
          errorCode: null,
        } satisfies Fault,
      },
    );
    const source: EventSource = { chassis: 1, verb: 'start', elapsedMs: 312.4 };
    expect(failureFields(error, source)).toEqual({
      MESSAGE_ID: MESSAGE_IDS.railTimeout,
      CHASSIS: '1',
      STAGE: 'op-power-start',
      RAIL: 'P1V8',
      REASON: 'rail P1V8 was not good within 100 ms',
      ERROR_CODE: 'RAIL_FAULT',
      POWER_STILL_APPLIED: 'true',
      STILL_ON: 'P5V pgood',
      ELAPSED_MS: '312',
    });
  });

  it('of a sequence that ended well are its chassis, stage and time', () => {
    expect(endFields('pgood', { chassis: 0, verb: 'wait-on', elapsedMs: 12 })).toEqual({
      MESSAGE_ID: MESSAGE_IDS.poweredOn,
      CHASSIS: '0',
      STAGE: 'op-wait-power-on',
      ELAPSED_MS: '12',
    });
    expect(endFields('off', { chassis: 0, verb: null, elapsedMs: 12 }).MESSAGE_ID).toBe(
      MESSAGE_IDS.poweredOff,
    );
  });

  it('of a rail that the chassis does without are those that its catalogue entry shows', () => {
    const missed = { rail: 'AUX', reason: 'rail AUX dropped' };
    expect(missFields(missed, { chassis: 0, verb: 'wait-on', elapsedMs: null })).toEqual({
      MESSAGE_ID: MESSAGE_IDS.railMissed,
      CHASSIS: '0',
      STAGE: 'op-wait-power-on',
      RAIL: 'AUX',
      REASON: 'rail AUX dropped',
    });
  });

  it('of a line and of a device under a hardware fault are of different kinds', () => {
    const of = (errorCode: string) => {
      const error = new PowerError('HARDWARE_FAULT', 'chassis 0: x', {
        chassis: 0,
        fault: { kind: 'hardware', rail: null, state: 'opPowerStart', atMs: 1, reason: 'x', errorCode },
      });
      return kindOf(failureFields(error, { chassis: 0, verb: 'start', elapsedMs: 1 }) ?? {});
    };
    expect(of('GPIO_FAILED')).toBe('line');
    expect(of('I2C_NO_DEVICE')).toBe('device');
    expect(of('a code of nobody')).toBe('line');
  });

  it('of an error of the service itself name no chassis', () => {
    const error = new Thrown('DBUS_NAME_TAKEN', 'another process has the name');
    expect(failureFields(error, { chassis: null, verb: 'serve', elapsedMs: 1 })).not.toHaveProperty(
      'CHASSIS',
    );
  });

  it('are those that docs/journal.md lists', () => {
    const table = [...page('docs/journal.md').matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, name]) => name);
    const all = new Set<string>(['MESSAGE', 'PRIORITY', 'SYSLOG_IDENTIFIER', 'OBJECT_PID']);
    fc.assert(
      fc.property(faulted, ofOneChassis, (error, source) => {
        for (const name of Object.keys(failureFields(error, source) ?? {})) all.add(name);
      }),
      { numRuns: 200, seed: 1 },
    );
    expect(table.sort()).toEqual([...all].sort());
  });
});

describe('the units of the stages', () => {
  it.each([
    'op-power-start',
    'op-wait-power-on',
    'op-power-stop',
    'op-wait-power-off',
    'op-reset-chassis-on',
  ])('give %s as STAGE to every line, as the program does to its events', (stage) => {
    const unit = page(`systemd/${stage}@.service`);
    const [, verb = ''] = /^ExecStart=\/usr\/bin\/chassis-power ([a-z-]+) --chassis %i$/m.exec(unit) ?? [];
    // %p is the name of the unit before the @ (systemd.unit(5)).
    expect(unit).toMatch(/^LogExtraFields=CHASSIS=%i STAGE=%p$/m);
    expect(endFields('off', { chassis: 0, verb, elapsedMs: 0 }).STAGE).toBe(stage);
  });
});
