/** What a fault of a PMBus rail leaves in the record, and how it is told. */
import { describe, expect, it } from 'vitest';
import { jsonReporter, lineOf } from '../../src/report/lines.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { Recorded } from '../../src/run/record.ts';
import { createBench } from './bench.ts';

type EvidenceEntry = Extract<Recorded, { type: 'evidence' }>;

/** The evidence of a run of the reference board, whose PVDDQ is switched and seen over PMBus. */
async function evidenceOf(fault: string, job: 'on' | 'watch' = 'on'): Promise<EvidenceEntry> {
  const bench = createBench('reference', { faults: [fault], initially: job === 'on' ? 'off' : 'on' });
  await bench.run(JOBS[job]);
  expect(bench.enabled()).toEqual([]);
  const [entry, ...others] = bench.recording.filter((each) => each.type === 'evidence');
  expect(others).toEqual([]);
  if (entry === undefined) throw new Error('no evidence');
  return entry;
}

describe('the evidence of a PMBus rail names the bits of its status registers', () => {
  it.each([
    ['on', 'rail PVDDQ never good'],
    ['on', 'rail PVDDQ shorts 5ms after good'],
    ['watch', 'rail PVDDQ droops at 100ms'],
  ] as const)('power %s, %s: in the record, though the output is off by then', async (job, fault) => {
    const { evidence } = await evidenceOf(fault, job);
    const [only] = evidence;
    expect(only).toMatchObject({ device: 'vr_ddr', page: 0, error: null });
    expect(only?.status.map(({ register, bits }) => [register, bits.map(({ name }) => name)])).toEqual([
      ['STATUS_WORD', ['VOUT', 'POWER_GOOD#', 'OFF']],
      ['STATUS_VOUT', ['VOUT_UV_FAULT']],
    ]);
  });

  it('in words in the line for people', async () => {
    const { text } = lineOf(await evidenceOf('rail PVDDQ never good'));
    expect(text).toMatch(
      /^evidence: vr_ddr page 0: STATUS_WORD 0x8840 \(output voltage, power not good, off\), STATUS_VOUT 0x10 \(undervoltage fault\), READ_VOUT \d\.\d{3} V$/,
    );
  });

  it('in words in the line of JSON', async () => {
    const lines: string[] = [];
    const out = { write: (text: string) => void lines.push(text) };
    jsonReporter(out as Parameters<typeof jsonReporter>[0])(await evidenceOf('rail PVDDQ never good'));
    expect(JSON.parse(lines.join('')).evidence[0].status[1]).toEqual({
      register: 'STATUS_VOUT',
      value: 0x10,
      bits: [{ name: 'VOUT_UV_FAULT', means: 'undervoltage fault' }],
    });
  });

  it('and nothing more where another rail failed: a register that has nothing to tell is not asked for', async () => {
    const { evidence } = await evidenceOf('rail P1V8 never good');
    expect(evidence[0]?.status.map(({ register }) => register)).toEqual(['STATUS_WORD']);
    expect(evidence[0]?.status[0]?.bits.map(({ name }) => name)).toEqual(['POWER_GOOD#', 'OFF']);
  });
});
