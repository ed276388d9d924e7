import { describe, expect, it } from 'vitest';
import type { GoodBoard } from '../../src/board/schema.ts';
import type { Evidence } from '../../src/run/evidence.ts';
import { evidenceOf } from '../../src/run/evidence-of.ts';

const said = (device: string, page: number | null, ...rails: string[]): Evidence =>
  ({ device, page, rails: Object.fromEntries(rails.map((rail) => [rail, {}])) }) as unknown as Evidence;
const pageOf = (device: string, page: number): GoodBoard => ({ pmbus: device, page }) as GoodBoard;
const sensor = { hwmon: { chip: 'iio_hwmon', input: 'in3' } } as unknown as GoodBoard;
const line = { chip: 'gpio', line: 3, active: 'high' } as GoodBoard;

describe('the evidence of a part of a rail', () => {
  const evidence = [
    said('other', 1, 'A'),
    said('vr', 0, 'A'),
    said('vr', 1, 'B'),
    said('in1 of adc', null, 'A'),
    said('in3 of adc', null, 'B'),
  ];
  const [, pageOfA, pageOfB, , inputOfB] = evidence;

  it.each<[string, GoodBoard | undefined, Evidence | undefined]>([
    ['a page, by device and number', pageOf('vr', 1), pageOfB],
    ['another page of the same device', pageOf('vr', 0), pageOfA],
    ['an input, by the rail that it shows', sensor, inputOfB],
    ['nothing of a page that was not asked', pageOf('vr', 2), undefined],
    ['nothing of a device that was not asked', pageOf('nowhere', 0), undefined],
    ['nothing of a line', line, undefined],
    ['nothing where there is no part', undefined, undefined],
  ])('is %s', (_, part, expected) => {
    expect(evidenceOf('B', part, evidence)).toBe(expected);
  });

  it('is none of an input where only a page shows the rail', () => {
    expect(evidenceOf('B', sensor, evidence.slice(0, 3))).toBeUndefined();
  });
});
