import { linesOf, timedLine } from '../../src/report/lines.ts';
import type { SavedCounterexample } from '../../src/verify/counterexample.ts';
import { INVARIANTS } from '../../src/verify/invariants.ts';
import type { Replayed } from './replay.ts';

/** What came of playing a counterexample, for people. */
export function textOfReplay(saved: SavedCounterexample, board: string, replayed: Replayed): string {
  const { found, notPlayed, parted, recording } = replayed;
  const begin = recording[0]?.atMs ?? 0;
  const isBroken = found.some(({ invariant }) => invariant === saved.invariant);
  const others = found.filter(({ invariant }) => invariant !== saved.invariant);
  const verdict = isBroken ? 'BROKEN on the simulated chassis too' : 'holds on the simulated chassis';
  return [
    ...saved.steps.map(
      ({ text, atMs }, index) =>
        `${String(index + 1).padStart(4)}. ${atMs.toFixed(1).padStart(9)} ms  ${text}`,
    ),
    'what the program recorded:',
    ...recording.flatMap((entry) =>
      linesOf(entry).map(({ text }) => `      ${timedLine(entry.atMs - begin, text)}`),
    ),
    ...notPlayed.map((step) => `not played: ${step}`),
    ...(parted === null ? [] : [`another course: ${parted}`]),
    ...others.map(({ invariant, what }) => `also broken (${invariant}): ${what}`),
    `${board}, chassis ${saved.chassis}: ${saved.invariant} ${verdict}: ${INVARIANTS[saved.invariant]}`,
    ...found.filter(({ invariant }) => invariant === saved.invariant).map(({ what }) => `  ${what}`),
    '',
  ].join('\n');
}

/** The same for programs. */
export function reportOfReplay(saved: SavedCounterexample, replayed: Replayed): object {
  const { found, notPlayed, parted, recording } = replayed;
  const { invariant, what, chassis } = saved;
  const isBroken = found.some((each) => each.invariant === invariant);
  return { invariant, what, chassis, isBroken, found, notPlayed, parted, recording };
}
