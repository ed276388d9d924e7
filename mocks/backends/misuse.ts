import type { Plant } from '../plant/plant.ts';

/** A caller broke the contract of a port in a way that only a bug does. */
export class MockMisuse extends Error {
  override readonly name = 'MockMisuse';
}

/** The error to throw; kept in the plant too, in case the caller swallows it. */
export function reportMisuse(plant: Pick<Plant, 'recordMisuse'>, text: string): MockMisuse {
  plant.recordMisuse(text);
  return new MockMisuse(text);
}
