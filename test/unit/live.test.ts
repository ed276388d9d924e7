import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { liveReporter } from '../../src/report/live-view.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { createBench } from './bench.ts';

describe('the live view', () => {
  it.each([40, 200])(
    'on %i columns breaks no line, so that each is drawn over as a whole',
    async (columns) => {
      const bench = createBench('reference');
      let drawn = '';
      const out = {
        write: (text: string) => {
          drawn += text;
        },
        columns,
        journal: false,
      };
      await bench.run(JOBS.on, { record: liveReporter(out, bench.plan) });
      const lines = stripVTControlCharacters(drawn).split('\n');
      expect(lines.length).toBeGreaterThan(50);
      expect(Math.max(...lines.map((line) => [...line].length))).toBeLessThanOrEqual(columns);
      expect(lines.some((line) => line.includes('PVCORE'))).toBe(true);
      if (columns === 200) expect(drawn).toContain('needs P5V, PVDDQ');
    },
  );
});
