import { checkBoard } from '../../src/board/check-board.ts';
import type { Board } from '../../src/board/schema.ts';
import type { Random } from './random.ts';

const CHIP = 'gpiochip-generated';

/** A board of its own for a seed: any graph of needs, every kind of enable and good signal, resets, a latch. */
export function generateBoard(random: Random, chassisCount: 1 | 2): Board {
  let line = 0;
  const nextLine = () => ({ chip: CHIP, line: line++, active: random.chance(30) ? 'low' : 'high' });
  const devices: Record<string, object> = {};
  const chassis: Record<string, object> = {};
  // Both chassis of a board may hang on one bus: what hangs for one then holds up the other.
  const oneBus = random.chance(50);

  for (let number = 0; number < chassisCount; number += 1) {
    const device = `vr${number}`;
    devices[device] = { bus: oneBus ? 1 : number + 1, address: `0x${(0x40 + number).toString(16)}` };
    const names = Array.from(
      { length: random.int(2, chassisCount === 2 ? 5 : 8) },
      (_, index) => `R${index}`,
    );
    const rails: Record<string, object> = {};
    for (const [index, name] of names.entries()) {
      const needs = names.slice(0, index).filter(() => random.chance(35));
      const overPmbus = random.chance(20);
      const page = { pmbus: device, page: index };
      const good = random.pick(['line', 'line', 'line', 'pmbus', 'none']);
      rails[name] = {
        nominalVolts: 1,
        enable: overPmbus ? page : nextLine(),
        ...(good === 'line' ? { good: nextLine() } : {}),
        ...(good === 'pmbus' ? { good: { ...page, minVolts: 0.9, maxVolts: 1.1 } } : {}),
        needs,
        // What nobody can see to be good must be so when it has settled.
        settleMs: good === 'none' ? random.int(6, 12) : random.int(0, 10),
        onTimeoutMs: random.int(100, 500),
        offTimeoutMs: random.int(100, 400),
      };
    }
    const resets: Record<string, object> = {};
    for (let reset = random.int(0, 2); reset > 0; reset -= 1) {
      resets[`RESET${reset}`] = { ...nextLine(), releaseDelayMs: random.pick([0, 0, 5, 40]) };
    }
    chassis[number] = {
      // Written in another order than they rise: the order of the file must not matter.
      rails: Object.fromEntries(random.chance(50) ? Object.entries(rails).reverse() : Object.entries(rails)),
      pgood: {
        ...nextLine(),
        deglitchMs: random.pick([0, 2, 5, 10]),
        onTimeoutMs: random.int(400, 1000),
        offTimeoutMs: random.int(400, 1000),
      },
      resets,
      ...(random.chance(35) ? { latch: { ...nextLine(), pulseMs: random.int(0, 4) } } : {}),
      ...(random.chance(30) ? { evidence: [device] } : {}),
      minOffMs: random.pick([0, 0, 100, 300]),
    };
  }
  const { board, problems } = checkBoard({ name: 'generated', devices, chassis });
  if (!board) throw new TypeError(`a generated board is refused: ${JSON.stringify(problems)}`);
  return board;
}
