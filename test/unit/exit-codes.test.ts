import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CodedError } from '../../hw/errors.ts';
import { EXIT, exitCodeOf } from '../../src/cli/exit.ts';
import { PowerError } from '../../src/errors.ts';
import { SystemError } from '../../src/system/errors.ts';
import { HARDWARE_CODES, POWER_CODES, SYSTEM_CODES } from './error-codes.ts';

const README = readFileSync(join(import.meta.dirname, '..', '..', 'README.md'), 'utf8');

class Thrown extends CodedError {}
const exitOf = (code: string) => exitCodeOf(new Thrown(code, 'it failed'));

describe('exit codes', () => {
  it('of what the hardware refused are 74, and 78 where the board file gives one line two roles', () => {
    const others = HARDWARE_CODES.filter((code) => exitOf(code) !== 74);
    expect(HARDWARE_CODES.length).toBeGreaterThan(10);
    expect(others.map((code) => [code, exitOf(code)])).toEqual([['GPIO_SHARED', 78]]);
  });

  it('of what D-Bus or systemd refused are 69, and 70 where the program misused the bus', () => {
    const others = SYSTEM_CODES.filter((code) => exitOf(code) !== 69);
    expect(SYSTEM_CODES.length).toBeGreaterThan(5);
    expect(others.map((code) => [code, exitOf(code)])).toEqual([['DBUS_MISUSE', 70]]);
    expect(exitCodeOf(new SystemError('DBUS_UNAVAILABLE', 'there is no bus'))).toBe(69);
  });

  it('of a request that is refused, and of lines that are kept, are 104, and 75 where another process is in the way', () => {
    const exits = ['REQUEST_REJECTED', 'LINES_KEPT', 'CHASSIS_LOCKED', 'CHASSIS_WATCHED'].map(exitOf);
    expect(exits).toEqual([104, 104, 75, 75]);
  });

  it('of a signal are 128 and its number', () => {
    const ended = (signal: string) => exitCodeOf(new PowerError('INTERRUPTED', 'ended', { signal }));
    expect(['SIGHUP', 'SIGINT', 'SIGTERM'].map(ended)).toEqual([129, 130, 143]);
  });

  it('of anything that is no error of the program are 70', () => {
    expect([exitCodeOf(new Error('x')), exitOf('NO_SUCH_CODE'), exitCodeOf('x')]).toEqual([70, 70, 70]);
  });

  it('are all in the table of the README, which has no other', () => {
    const rows = README.split('\n').filter((line) => /^\| \d/.test(line));
    const told = rows.flatMap((row) =>
      row.split('|').flatMap((cell) => (/^ \d+ $/.test(cell) ? [Number(cell)] : [])),
    );
    // Signals have one row for all of them.
    const own = Object.values(EXIT).filter((code) => code < 128);
    expect(told.sort((a, b) => a - b)).toEqual(own.sort((a, b) => a - b));
    const used = [...HARDWARE_CODES, ...SYSTEM_CODES, ...POWER_CODES].map(exitOf);
    expect(used.filter((code) => code < 128 && !told.includes(code))).toEqual([]);
  });
});
