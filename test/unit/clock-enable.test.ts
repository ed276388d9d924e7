/** Outputs between rails that are no rails: a clock enable, a strap, a level shifter. */
import { describe, expect, it } from 'vitest';
import { JOBS } from '../../src/run/jobs.ts';
import { createBench } from './bench.ts';

const CLOCK = 'CLK_100M_EN';

describe('a clock enable between rails', () => {
  it('is driven after what it needs and settles before what needs it, and goes in the reverse order', async () => {
    const { run, plant } = createBench('point-of-load');
    const drives = (asserted: boolean) =>
      plant.history.flatMap((event) =>
        event.type === 'drive' && event.role === 'enable' && event.asserted === asserted ? [event] : [],
      );
    expect((await run(JOBS.on)).state).toBe('pgood');
    expect(drives(true).map(({ rail }) => rail)).toEqual(['P12V', 'P3V3', CLOCK, 'VDD', 'VDDQ']);
    const atMs = (name: string) => drives(true).find(({ rail }) => rail === name)?.atMs ?? Number.NaN;
    expect(atMs('VDDQ') - atMs(CLOCK)).toBeGreaterThanOrEqual(5);
    expect((await run(JOBS.off)).state).toBe('off');
    const off = drives(false).map(({ rail }) => rail);
    expect(off.indexOf('VDDQ')).toBeLessThan(off.indexOf(CLOCK));
    expect(off.indexOf(CLOCK)).toBeLessThan(off.indexOf('P3V3'));
    expect(plant.hazards).toEqual([]);
  });

  it('that does not follow is named, and nothing that needs it is enabled', async () => {
    const { run, plant, enabled } = createBench('point-of-load', { faults: [`enable ${CLOCK} stuck off`] });
    const { state, sequence } = await run(JOBS.on);
    expect([state, sequence.fault?.kind, sequence.fault?.rail]).toEqual(['failed', 'hardware', CLOCK]);
    expect(sequence.fault?.errorCode).toBe('GPIO_NOT_FOLLOWED');
    const raised = plant.history.flatMap((event) =>
      event.type === 'drive' && event.role === 'enable' && event.asserted ? [event.rail] : [],
    );
    expect(raised).not.toContain('VDDQ');
    expect(enabled()).toEqual([]);
  });
});
