import { parseBoard } from '../../src/board/parse.ts';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import { MACHINE } from '../../src/verify/machine.ts';
import { verifyPlan } from '../../src/verify/verify.ts';

/**
 * How fast `verify` is, and how its work grows with the rails of a board of three levels, of which each rail of one needs a rail
 * of the one before: as a whole, and in parts where there are too many for that.
 */

const RAILS = [4, 8, 16, 32];
const LEVELS = 3;
/** As the command line has it. */
const MAX_STATES = 1_000_000;

const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' });

function planWith(count: number): Plan {
  const width = Math.ceil(count / LEVELS);
  const rails = Array.from({ length: count }, (_, index) => [
    `R${index}`,
    {
      enable: line(2 * index),
      good: line(2 * index + 1),
      needs: index < width ? [] : [`R${index - width}`],
      settleMs: 1,
      onTimeoutMs: 100,
      offTimeoutMs: 100,
    },
  ]);
  const pgood = { ...line(2 * count), deglitchMs: 5, onTimeoutMs: 3_000, offTimeoutMs: 3_000 };
  const board = { name: `rails-${count}`, chassis: { 0: { rails: Object.fromEntries(rails), pgood } } };
  const parsed = parseBoard(JSON.stringify(board));
  const chassis = parsed?.chassis[0];
  if (parsed === undefined || chassis === undefined) throw new TypeError(`no board of ${count} rails`);
  return planOf(chassis, parsed.devices);
}

for (const faults of [0, 1]) {
  for (const count of RAILS) {
    const plan = planWith(count);
    const beganMs = performance.now();
    const { verdict, states, parts } = verifyPlan(MACHINE, plan, {
      faults,
      maxStates: MAX_STATES,
    });
    const seconds = (performance.now() - beganMs) / 1000;
    const name = `verify, ${count} rails, ${faults} ${faults === 1 ? 'fault' : 'faults'}`.padEnd(34);
    const rate = `${Math.round(states / seconds)} states/s`;
    const how =
      parts === null
        ? 'as a whole'
        : `any ${parts.railsAtOnce} rails, ${parts.tried} parts of ${parts.choices}`;
    const end = `${verdict} (${how}), ${states} states in ${seconds.toFixed(1)} s`;
    process.stdout.write(`${name} ${rate.padStart(16)}  ${end}\n`);
  }
}
