import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { boardJsonSchema } from '../../src/board/json-schema.ts';
import { chassisOf, loadBoard } from '../../src/board/load.ts';
import { checkBoard } from '../check-board.ts';

const boards = join(import.meta.dirname, '..', '..', 'hw', 'boards');

// Test input is edited freely, also into what the types forbid.
// biome-ignore lint/suspicious/noExplicitAny: the point of these tests is input of any shape
type Loose = any;

function reference(): Loose {
  return JSON.parse(readFileSync(join(boards, 'reference.json'), 'utf8'));
}

function problemsOf(edit: (board: Loose) => void) {
  const board = reference();
  edit(board);
  const { board: checked, problems } = checkBoard(board);
  expect(checked === undefined).toBe(problems.length > 0);
  return problems;
}

describe('the boards that ship', () => {
  it.each([
    'reference',
    'openpower',
    'ast2600-evb',
    'two-chassis',
    'power-ucd90320',
    'relay-bench',
    'point-of-load',
    'risers',
    'measured-rails',
  ])('%s has no problems', async (name) => {
    expect((await loadBoard(join(boards, `${name}.json`))).board.name).toBe(name);
  });

  it('come with the JSON Schema of today', () => {
    const shipped = JSON.parse(readFileSync(join(boards, 'board.schema.json'), 'utf8'));
    expect(shipped).toEqual(JSON.parse(JSON.stringify(boardJsonSchema())));
  });
});

describe('shape', () => {
  it('says which key was probably meant, among those allowed there', () => {
    expect(
      problemsOf((board) => {
        board.chassis[0].rails.P12V.enabel = board.chassis[0].rails.P12V.enable;
        delete board.chassis[0].rails.P12V.enable;
      }),
    ).toMatchObject([
      {
        kind: 'unknownKey',
        path: 'chassis.0.rails.P12V.enabel',
        message: 'unknown key "enabel"',
        suggestion: 'did you mean "enable"?',
      },
    ]);
  });

  it('reports against the alternative that was meant', () => {
    const problems = problemsOf((board) => {
      board.chassis[0].rails.PVDDQ.good = { pmbus: 'vr_ddr', minVolt: 1 };
    });
    expect(problems.map(({ path, suggestion }) => [path, suggestion])).toEqual([
      ['chassis.0.rails.PVDDQ.good.minVolt', 'did you mean "minVolts"?'],
    ]);
  });

  it.each([
    [
      'a number in quotes',
      (board: Loose) => {
        board.chassis[0].pgood.onTimeoutMs = '500';
      },
      'chassis.0.pgood.onTimeoutMs',
      'write 500 without quotes',
    ],
    [
      'a word that is not a level',
      (board: Loose) => {
        board.chassis[0].pgood.active = 'hihg';
      },
      'chassis.0.pgood.active',
      'did you mean "high"?',
    ],
    [
      'a port name in small letters',
      (board: Loose) => {
        board.chassis[0].pgood.line = 'b7';
      },
      'chassis.0.pgood.line',
      'write "B7"',
    ],
    [
      'a negative time',
      (board: Loose) => {
        board.chassis[0].minOffMs = -1;
      },
      'chassis.0.minOffMs',
      'write a whole number of milliseconds from 0 to 600000',
    ],
    [
      'an address out of range',
      (board: Loose) => {
        board.devices.vr_ddr.address = '0x78';
      },
      'devices.vr_ddr.address',
      'write a 7-bit address as a text from "0x03" to "0x77"',
    ],
    [
      'a chassis without rails',
      (board: Loose) => {
        board.chassis[0].rails = {};
      },
      'chassis.0.rails',
      'write the rails by name, at least one',
    ],
    [
      'pgood of nothing',
      (board: Loose) => {
        board.chassis[0].pgood = { deglitchMs: 1 };
      },
      'chassis.0.pgood',
      'name a line, by "chip" and "line" or by "name", or a PMBus page, by "pmbus" and "page", or a voltage that a kernel driver reads, by "hwmon" or "iio", or a property on D-Bus, by "dbus", "service", "interface" and "property", or the rails, by "rails", or several of these, by "all" or "any"',
    ],
    [
      'a list where an object belongs',
      (board: Loose) => {
        board.chassis = [];
      },
      'chassis',
      expect.stringMatching(/./),
    ],
  ])('%s', (_, edit, path, suggestion) => {
    expect(problemsOf(edit)).toMatchObject([{ path, message: expect.stringMatching(/./), suggestion }]);
  });

  it('takes anything that is not a board without falling over', () => {
    for (const input of [null, 3, 'text', [], {}])
      expect(checkBoard(input).problems.length).toBeGreaterThan(0);
  });
});

describe('cross checks', () => {
  it.each([
    [
      'checkNeedsExist',
      (board: Loose) => {
        board.chassis[0].rails.PVCORE.needs = ['P1V9'];
      },
      'chassis.0.rails.PVCORE.needs.0',
      'did you mean "P1V8"?',
    ],
    [
      'checkNeedsExist, itself',
      (board: Loose) => {
        board.chassis[0].rails.P12V.needs = ['P12V'];
      },
      'chassis.0.rails.P12V.needs.0',
      'remove "P12V" from needs',
    ],
    [
      'checkNeedsAcyclic',
      (board: Loose) => {
        board.chassis[0].rails.P12V.needs = ['P1V8'];
      },
      'chassis.0.rails.P12V.needs',
      expect.stringContaining('remove "P1V8" from the needs of P12V'),
    ],
    [
      'checkLinesUnique',
      (board: Loose) => {
        board.chassis[0].rails.P5V.enable.line = 16;
      },
      'chassis.0.rails.P5V.enable',
      expect.stringContaining('chassis.0.rails.P12V.enable'),
    ],
    [
      'checkDevicesExist',
      (board: Loose) => {
        board.chassis[0].rails.PVDDQ.enable.pmbus = 'vr_dr';
      },
      'chassis.0.rails.PVDDQ.enable.pmbus',
      'did you mean "vr_ddr"?',
    ],
    [
      'checkDevicesExist, evidence',
      (board: Loose) => {
        board.chassis[0].evidence = ['psu'];
      },
      'chassis.0.evidence.0',
      'devices: vr_ddr',
    ],
    [
      'checkPagesUnique, address',
      (board: Loose) => {
        board.devices.other = { bus: 3, address: '0x60' };
      },
      'devices.other',
      expect.stringContaining('"vr_ddr"'),
    ],
    [
      'checkPagesUnique, page',
      (board: Loose) => {
        board.chassis[0].rails.PVCORE.enable = { pmbus: 'vr_ddr' };
      },
      'chassis.0.rails.PVCORE.enable.page',
      'give this rail a page of its own',
    ],
    [
      'checkVoltageWindow',
      (board: Loose) => {
        board.chassis[0].rails.PVDDQ.good.minVolts = 2;
      },
      'chassis.0.rails.PVDDQ.good.minVolts',
      'swap the two',
    ],
    [
      'checkVoltageWindow, nominal',
      (board: Loose) => {
        board.chassis[0].rails.PVDDQ.nominalVolts = 1.0;
      },
      'chassis.0.rails.PVDDQ.good.minVolts',
      'let the window hold the nominal voltage',
    ],
    [
      'checkTimeBudgets',
      (board: Loose) => {
        board.chassis[0].pgood.onTimeoutMs = 200_000;
      },
      'chassis.0',
      expect.stringContaining('52746 ms'),
    ],
  ])('%s', (_, edit, path, suggestion) => {
    expect(problemsOf(edit)).toMatchObject([
      { kind: 'conflict', path, message: expect.stringMatching(/./), suggestion },
    ]);
  });

  it('sums the longest chain of the reference board', () => {
    // minOffMs 200; P12V 510, P3V3 505, P1V8 502, PVDDQ 502, PVCORE 502; de-glitch 5, reset 20; pgood takes the rest.
    const restMs = 150_000 - 200 - (510 + 505 + 502 + 502 + 502) - 5 - 20;
    const withPgood = (onTimeoutMs: number) =>
      problemsOf((board) => {
        board.chassis[0].pgood.onTimeoutMs = onTimeoutMs;
      });
    expect(withPgood(restMs)).toEqual([]);
    expect(withPgood(restMs + 1)).toHaveLength(1);
  });
});

describe('loading', () => {
  it('names the file that is not there', () => {
    return expect(loadBoard('/nowhere/board.json')).rejects.toThrow(
      expect.objectContaining({
        code: 'BOARD_NOT_FOUND',
        message: expect.stringContaining('/nowhere/board.json'),
      }),
    );
  });

  it('tells a directory from a file', () => {
    return expect(loadBoard(boards)).rejects.toThrow(expect.objectContaining({ code: 'BOARD_UNREADABLE' }));
  });

  it('knows which chassis there are, and says how to choose one', async () => {
    const loaded = await loadBoard(join(boards, 'reference.json'));
    expect(() => chassisOf(loaded, 7)).toThrow(
      expect.objectContaining({
        code: 'CHASSIS_UNKNOWN',
        message: expect.stringMatching(/no chassis 7: it describes 0; choose it with --chassis 0$/),
      }),
    );
  });
});
