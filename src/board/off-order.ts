import { type ChassisPart, railsOf } from './findings.ts';

/** Rails that go off after this one: what it needs, and those that the board says. */
export function nextOff(chassis: ChassisPart, rail: string): string[] {
  const needs = chassis.rails?.[rail]?.needs ?? [];
  const others = railsOf(chassis).flatMap(([name, { offAfter = [] }]) =>
    offAfter.includes(rail) ? [name] : [],
  );
  return [...new Set([...needs.filter((need) => need !== undefined), ...others])];
}
