import { describe, expect, it } from 'vitest';
import { diagnosisText, faultText, isCause, railAtFault } from '../../src/sequence/causes.ts';
import { CAUSES, type Diagnosis, type Fault } from '../../src/sequence/state.ts';

const FAULT: Fault = {
  kind: 'railLost',
  rail: 'P5V',
  state: 'pgood',
  atMs: 0,
  reason: 'rail P5V dropped',
  errorCode: null,
};
const DIAGNOSIS: Diagnosis = {
  rail: 'P12V',
  cause: 'undervoltage',
  because: 'the device says so',
  unread: [],
};

describe('a diagnosis in words', () => {
  it('has the rail, the cause, why, and what could not be read', () => {
    expect(diagnosisText(DIAGNOSIS)).toBe('rail P12V: undervoltage (the device says so)');
    expect(
      diagnosisText({ ...DIAGNOSIS, rail: null, cause: 'unknown', unread: ['vr page 0', 'psu page 1'] }),
    ).toBe('cause unknown (the device says so); not read: vr page 0, psu page 1');
  });

  it('has words of its own for each cause', () => {
    const words = CAUSES.map((cause) => diagnosisText({ ...DIAGNOSIS, cause }));
    expect(new Set(words).size).toBe(CAUSES.length);
    for (const each of words) expect(each).toMatch(/^rail P12V: [a-z ]{5,} \(the device says so\)$/);
  });
});

it('a cause is one of the words that are written down, and nothing else', () => {
  for (const cause of CAUSES) expect(isCause(cause), cause).toBe(true);
  for (const none of ['', 'bad input', 'constructor', null, undefined, 3, ['dropped']]) {
    expect(isCause(none), String(none)).toBe(false);
  }
});

describe('a fault in words', () => {
  it('is its reason alone where nothing else is known of it', () => {
    expect(faultText(FAULT)).toBe('rail P5V dropped');
  });

  it('has the diagnosis where that says another thing, or of another rail', () => {
    const told = 'rail P5V dropped; rail P12V: undervoltage (the device says so)';
    expect(faultText({ ...FAULT, diagnosis: DIAGNOSIS })).toBe(told);
    expect(faultText({ ...FAULT, diagnosis: { ...DIAGNOSIS, rail: 'P5V' } })).toBe(
      'rail P5V dropped; rail P5V: undervoltage (the device says so)',
    );
    expect(faultText({ ...FAULT, diagnosis: { ...DIAGNOSIS, because: FAULT.reason } })).toBe(
      'rail P5V dropped; rail P12V: undervoltage (rail P5V dropped)',
    );
  });

  it('says nothing twice, and what could not be read unless that is the fault itself', () => {
    const same: Diagnosis = { rail: 'P5V', cause: 'dropped', because: FAULT.reason, unread: [] };
    expect(faultText({ ...FAULT, diagnosis: same })).toBe('rail P5V dropped');
    const unread = ['vr page 0', 'psu page 1'];
    expect(faultText({ ...FAULT, diagnosis: { ...same, unread } })).toBe(
      'rail P5V dropped; not read: vr page 0, psu page 1',
    );
    expect(faultText({ ...FAULT, diagnosis: { ...same, cause: 'hardware', unread } })).toBe(
      'rail P5V dropped',
    );
  });

  it('is of the rail that the evidence names, or else of the one that was missed', () => {
    expect(railAtFault(FAULT)).toBe('P5V');
    expect(railAtFault({ ...FAULT, diagnosis: DIAGNOSIS })).toBe('P12V');
    expect(railAtFault({ ...FAULT, diagnosis: { ...DIAGNOSIS, rail: null } })).toBe('P5V');
    expect(railAtFault({ ...FAULT, rail: null })).toBeNull();
  });
});
