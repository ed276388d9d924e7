import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import measured from '../../hw/boards/measured-rails.json' with { type: 'json' };
import openpower from '../../hw/boards/openpower.json' with { type: 'json' };
import pointOfLoad from '../../hw/boards/point-of-load.json' with { type: 'json' };
import reference from '../../hw/boards/reference.json' with { type: 'json' };
import risers from '../../hw/boards/risers.json' with { type: 'json' };
import x86Button from '../../hw/boards/x86-button.json' with { type: 'json' };
import { FAULT_GRAMMAR, FaultSyntaxError, parseFault } from '../../mocks/plant/faults.ts';
import { boardSchema } from '../../src/board/schema.ts';

const board = v.parse(boardSchema, reference);

/** The examples of the grammar: indented, and set off from what they mean. */
const EXAMPLES = FAULT_GRAMMAR.split('\n').flatMap((line) => {
  const [, example] = /^ {2}(\S.*?) {2,}/.exec(line) ?? [];
  return example === undefined ? [] : [example];
});

describe('the grammar that is printed', () => {
  it('has an example of every form', () => {
    expect(EXAMPLES).toHaveLength(41);
  });

  it.each(EXAMPLES)('"%s" is understood, and its names are on a board that ships', (example) => {
    const file = /HOST|^panel/.test(example)
      ? x86Button
      : /RISER|PSU2/.test(example)
        ? risers
        : /^setup|^device/.test(example)
          ? pointOfLoad
          : example.startsWith('sensor')
            ? measured
            : reference;
    const of = v.parse(boardSchema, file);
    expect(parseFault(example, of).text).toBe(example);
  });
});

describe('parseFault', () => {
  it.each([
    ['rail P1V8 never good', { on: 'rail', rail: 'P1V8', does: 'neverGood' }],
    ['rail P1V8 slow 2s', { on: 'rail', rail: 'P1V8', does: 'slowRise', extraMs: 2000 }],
    ['rail P1V8 slow off 0.5ms', { on: 'rail', rail: 'P1V8', does: 'slowFall', extraMs: 0.5 }],
    ['enable P1V8 stuck off', { on: 'enable', rail: 'P1V8', does: 'stuckOff' }],
    ['good P1V8 stuck on', { on: 'good', rail: 'P1V8', does: 'stuckOn' }],
    ['pgood never', { on: 'pgood', source: null, does: 'stuckOff' }],
    ['pgood 1 stuck on', { on: 'pgood', source: 1, does: 'stuckOn' }],
    ['i2c vr_ddr nack', { on: 'i2c', device: 'vr_ddr', does: 'nack', times: null }],
    ['i2c vr_ddr nack 1 time', { on: 'i2c', device: 'vr_ddr', does: 'nack', times: 1 }],
    ['i2c vr_ddr noise 3 times', { on: 'i2c', device: 'vr_ddr', does: 'noise', times: 3 }],
    ['line C3 busy', { on: 'line', line: { of: 'board', text: 'C3' }, does: 'busy' }],
    ['line rail P1V8 good read error', { on: 'line', line: { of: 'good', rail: 'P1V8' }, does: 'readError' }],
    ['gpio read error', { on: 'gpio', does: 'readError' }],
    ['line rail P1V8 enable hangs', { on: 'line', line: { of: 'enable', rail: 'P1V8' }, does: 'hangs' }],
    ['gpio hangs', { on: 'gpio', does: 'hangs' }],
    ['gpio no interrupts', { on: 'gpio', does: 'noInterrupts' }],
    ['line pgood no interrupts', { on: 'line', line: { of: 'pgood', source: null }, does: 'noInterrupts' }],
  ])('reads "%s"', (text, effect) => {
    expect(parseFault(text, board)).toEqual({
      text,
      chassis: null,
      effect,
      when: { kind: 'start' },
      forMs: null,
    });
  });

  it('reads when and how long, and for which chassis', () => {
    expect(parseFault('  chassis 1 rail A  droops for 20ms at 0.5s ')).toEqual({
      text: 'chassis 1 rail A droops for 20ms at 0.5s',
      chassis: 1,
      effect: { on: 'rail', rail: 'A', does: 'droops' },
      when: { kind: 'at', ms: 500 },
      forMs: 20,
    });
    expect(parseFault('pgood glitch 3ms 50ms after good')).toMatchObject({
      when: { kind: 'afterGood', ms: 50 },
      forMs: 3,
    });
  });

  it.each([
    ['', 'something is missing at the end, expected "rail"'],
    ['rail', 'expected the name of a rail'],
    ['rial P1V8 droops', '"rial" was not understood, expected "rail"'],
    ['rial P1V8 droops', 'did you mean "rail"?'],
    ['rail P1V8 drops', 'did you mean "droops"?'],
    ['rail P1V8 slow 300', '"300" was not understood, expected a time such as 300ms or 2s'],
    ['rail P1V8 never', 'something is missing at the end, expected "good"'],
    ['rail P1V8 droops later', '"later" was not understood'],
    [
      'zzz',
      '"zzz" was not understood, expected "rail", "enable", "button", "state", "shutdown", "host", "panel", "setup", "part", "presence", "good", "pgood", "i2c", "device", "sensor", "line", "gpio" (--',
    ],
    ['rail P1V8 drops', '"trips"; did you mean "droops"?'],
    ['rail P1V8 droops 5ms after', 'expected "good"'],
    ['rail P1V8 droops at 5ms twice', '"twice" at the end was not understood'],
    ['enable P1V8 stuck', 'expected "on", "off"'],
    ['enable P1V8 on', '"on" was not understood, expected "stuck"'],
    ['pgood glitch 3ms for 5ms', 'a glitch has its length already'],
    ['i2c vr_ddr nack 2', 'expected "times"'],
    ['chassis one pgood never', 'expected a chassis number'],
  ])('refuses "%s": %s', (text, message) => {
    expect(() => parseFault(text)).toThrow(FaultSyntaxError);
    expect(() => parseFault(text)).toThrow(message);
  });

  it.each([
    ['rail P1V9 never good', 'chassis 0 has no rail "P1V9"; did you mean "P1V8"?'],
    ['enable P1v8 stuck on', 'did you mean "P1V8"?'],
    ['device vr_ddr replaced', 'the board does not say what vr_ddr is'],
    ['i2c vr-ddr nack', 'the board has no device "vr-ddr"; did you mean "vr_ddr"?'],
    ['line C33 busy', 'the plant has no line "C33"; did you mean'],
    ['line reset CPU_RST_L busy', 'did you mean "CPU_RESET_L"?'],
    ['line rail PVDDQ enable busy', 'rail PVDDQ has no enable line'],
    ['line latch busy', 'chassis 0 has no latch'],
    ['pgood 2 never', 'chassis 0 has no signal 2 of pgood'],
    ['line pgood 2 busy', 'chassis 0 has no such line of pgood'],
    ['button P1V8 stuck on', 'rail P1V8 has no power button'],
    ['line rail P1V8 state busy', 'rail P1V8 has no state line'],
    ['chassis 1 pgood never', 'the plant has no chassis "1"'],
  ])('refuses what the board does not have: "%s"', (text, message) => {
    expect(() => parseFault(text, board)).toThrow(FaultSyntaxError);
    expect(() => parseFault(text, board)).toThrow(message);
  });

  it('refuses a lying good signal where there is none', () => {
    const text = 'good MAIN stuck on';
    expect(() => parseFault(text, v.parse(boardSchema, openpower))).toThrow('rail MAIN has no good signal');
  });

  it('takes a line by its device-tree name', () => {
    expect(() => parseFault('line power-chassis-good busy', v.parse(boardSchema, openpower))).not.toThrow();
  });

  it('lists what there is when nothing is near', () => {
    expect(() => parseFault('rail ZZZZZZZZZZ droops', board)).toThrow('it has P12V, P5V, P3V3');
  });
});
