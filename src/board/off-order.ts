import { type ChassisPart, railsOf } from './findings.ts';

/** Rails that go off after this one: what it needs, and those that the board says. */
export function nextOff(chassis: ChassisPart, rail: string): string[] {
  const needs = chassis.rails?.[rail]?.needs ?? [];
  const next = needs.filter((need) => need !== undefined);
  for (const [name, { offAfter }] of railsOf(chassis)) if (offAfter?.includes(rail)) next.push(name);
  return next.length < 2 ? next : [...new Set(next)];
}
