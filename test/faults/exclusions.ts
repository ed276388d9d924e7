import type { Case } from './draw.ts';
import type { Violation } from './invariants.ts';

/** A class of defects that is known and being mended: it is counted and told, and does not fail the campaign. */
interface Exclusion {
  readonly name: string;
  readonly covers: (violation: Violation, played: Case) => boolean;
}

const stalls = ({ disturbances }: Case) =>
  disturbances.some(({ disturbance: { kind } }) => kind === 'stallAtCall' || kind === 'stallAtTime');

const EXCLUSIONS: readonly Exclusion[] = [
  {
    name: 'A4: an enable that reads off is not driven off',
    covers: ({ invariant }) => invariant === 'drivenOff',
  },
  {
    name: 'B: a level of before a stall is believed after it',
    covers: (_, played) => stalls(played),
  },
  {
    name: 'A5: a level of before is good enough for an enable or a reset',
    covers: ({ invariant, text }) =>
      (invariant === 'needsFirst' && text.includes('which it needs, is not good')) ||
      (invariant === 'resetsHeld' && text.includes('was released though pgood is not good')),
  },
];

/** Name of the exclusion that covers a violation; null where it counts. */
export function isExcluded(violation: Violation, played: Case): string | null {
  return EXCLUSIONS.find(({ covers }) => covers(violation, played))?.name ?? null;
}
