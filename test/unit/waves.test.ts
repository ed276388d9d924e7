import { expect, it } from 'vitest';
import { renderWaves } from '../../src/report/waves.ts';

it('a timing diagram of letters has a column for each step that changes a line, numbered as in the story', () => {
  const lanes = [
    { name: 'A', levels: [false, true, true, true, false] },
    { name: 'pgood', levels: [false, false, false, true, true] },
  ];
  expect(renderWaves(lanes)).toEqual(['step       1  3  4', 'A     ▁▁▁▇▇▇▇▇▇▁▁▁', 'pgood ▁▁▁▁▁▁▇▇▇▇▇▇']);
});

it('a timing diagram of letters without lines is its head', () => {
  expect(renderWaves([])).toEqual(['step ']);
});
