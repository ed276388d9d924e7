import { renderWaves } from '../report/waves.ts';
import type { Recorded } from '../run/record.ts';
import type { Course, Scene } from '../verify/course.ts';

/** A course of events for people: what happened and when, and the lines below it as a diagram of letters. */
export function storyText(course: Course): string[] {
  const lines = course.steps.map(
    ({ text, after }, index) =>
      `${String(index + 1).padStart(4)}. ${after.atMs.toFixed(1).padStart(9)} ms  ${text} (${after.state})`,
  );
  return [...lines, '', ...renderWaves(lanesOf(course)).map((row) => `  ${row}`)];
}

function lanesOf({ begin, steps }: Course) {
  const scenes = [begin, ...steps.map(({ after }) => after)];
  const lane = (name: string, level: (scene: Scene) => boolean | undefined) => ({
    name,
    levels: scenes.map((scene) => level(scene) ?? false),
  });
  return [
    ...Object.keys(begin.rails).flatMap((rail) => [
      lane(`${rail} enable`, ({ rails }) => rails[rail]?.enabled),
      lane(`${rail} good`, ({ rails }) => rails[rail]?.good),
    ]),
    ...Object.keys(begin.resetsAsserted).map((reset) =>
      lane(`${reset} asserted`, ({ resetsAsserted }) => resetsAsserted[reset]),
    ),
    lane('pgood', ({ pgood }) => pgood),
  ];
}

/** A course of events as a run is recorded, for whatever shows runs. */
export function recordOf({ begin, steps }: Course): Recorded[] {
  const entries: Recorded[] = [{ type: 'reconciled', hint: null, ...begin }];
  let before = begin;
  for (const { after } of steps) {
    entries.push(...changesBetween(before, after));
    before = after;
  }
  return entries;
}

function changesBetween(before: Scene, after: Scene): Recorded[] {
  const { atMs, state, pgood, fault } = after;
  const entries: Recorded[] = [];
  for (const [rail, { enabled, good, phase }] of Object.entries(after.rails)) {
    const was = before.rails[rail];
    if (was?.enabled !== enabled) entries.push({ type: 'enable', rail, asserted: enabled, atMs });
    if (was?.good !== good) entries.push({ type: 'rail', rail, phase, good, atMs });
  }
  for (const [reset, asserted] of Object.entries(after.resetsAsserted)) {
    if (before.resetsAsserted[reset] !== asserted) entries.push({ type: 'reset', reset, asserted, atMs });
  }
  if (before.pgood !== pgood) entries.push({ type: 'pgood', level: pgood, atMs });
  if (fault !== null && before.fault === null) entries.push({ type: 'fault', fault, atMs });
  if (before.state !== state) entries.push({ type: 'state', from: before.state, to: state, atMs });
  return entries;
}
