import { describe, expect, it, vi } from 'vitest';
import { JOBS } from '../../src/run/jobs.ts';
import { createBench, shippedBoard } from '../unit/bench.ts';

// Far above what they take: the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

/* hw/boards/power-ucd90320.json: the rails of IBM's Rainier behind one enable, each seen by its page of a UCD90320. */

const NAME = 'power-ucd90320';
const rails = Object.keys(shippedBoard(NAME).chassis['0']?.rails ?? {});

describe('a POWER-like board with a UCD90320', () => {
  it('comes up and goes down by its one enable, and nothing else is driven', async () => {
    const bench = createBench(NAME);
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect((await bench.run(JOBS.off)).state).toBe('off');
    const drives = bench.plant.history.flatMap((event) =>
      event.type === 'drive' ? [`${event.rail} ${event.asserted ? 'on' : 'off'}`] : [],
    );
    expect(drives).toEqual(['12.0V on', '12.0V off']);
    expect(bench.plant.hazards).toEqual([]);
  });

  describe.each(rails)('rail %s', (rail) => {
    // A rise of a second more is longer than any of its rails may take.
    it.each(['never good', 'shorts', 'droops', 'slow 1s'])('"%s" is named', async (fault) => {
      const { state, sequence } = await createBench(NAME, { faults: [`rail ${rail} ${fault}`] }).run(JOBS.on);
      expect(state).toBe('failed');
      expect(sequence.fault).toMatchObject({ kind: 'railTimeout', rail });
    });

    it('that says it is not good is named', async () => {
      const { sequence } = await createBench(NAME, { faults: [`good ${rail} stuck off`] }).run(JOBS.on);
      expect(sequence.fault).toMatchObject({ kind: 'railTimeout', rail });
    });

    it('that does not go down is named by the power-off', async () => {
      const faults = [`good ${rail} stuck on`];
      const { sequence } = await createBench(NAME, { initially: 'on', faults }).run(JOBS.off);
      expect(sequence.fault).toMatchObject({ kind: 'powerOffTimeout', rail });
    });

    it.each([
      ['droops', 'undervoltage'],
      ['trips overcurrent', 'overcurrent'],
      ['trips overvoltage', 'overvoltage'],
    ])('"%s" while the chassis is on: the diagnosis names the rail and the kind', async (fault, cause) => {
      const faults = [`rail ${rail} ${fault} at 40ms`];
      const { sequence } = await createBench(NAME, { initially: 'on', faults }).run(JOBS.watch);
      expect(sequence.fault?.diagnosis).toMatchObject({ rail, cause });
    });

    it('that is lost while pgood stands is named', async () => {
      const faults = [`rail ${rail} droops at 40ms`, 'pgood stuck on'];
      const { sequence } = await createBench(NAME, { initially: 'on', faults }).run(JOBS.watch);
      expect(sequence.fault).toMatchObject({ kind: 'railLost', rail });
    });
  });

  it('three rails dead behind the first: the first is named', async () => {
    const faults = ['3.3VA', '3.3VB', 'VDN_DCM0', '1.5V'].map((rail) => `rail ${rail} never good`);
    const { sequence } = await createBench(NAME, { faults }).run(JOBS.on);
    expect(sequence.fault).toMatchObject({ kind: 'railTimeout', rail: '3.3VA' });
  });

  it('the I2C device silent: nothing is switched on what cannot be seen, and a power-off is carried out', async () => {
    const silent = createBench(NAME, { faults: ['i2c ucd90320 nack'] });
    await expect(silent.run(JOBS.on)).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
    expect(silent.enabled()).toEqual([]);
    const on = createBench(NAME, { faults: ['i2c ucd90320 nack'], initially: 'on' });
    const { state, sequence } = await on.run(JOBS.off);
    expect({ state, kind: sequence.fault?.kind, enabled: on.enabled() }).toEqual({
      state: 'failed',
      kind: 'hardware',
      enabled: [],
    });
  });
});
