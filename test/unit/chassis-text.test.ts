import { describe, expect, it } from 'vitest';
import { type ChassisReport, chassisText, measured, type RailReport } from '../../src/report/chassis-text.ts';

type Said = NonNullable<Parameters<typeof measured>[0]>;

const PAGE: Said = {
  device: 'vr',
  page: 0,
  rails: {},
  statusWord: 0,
  status: [{ register: 'STATUS_WORD', value: 0, bits: [] }],
  voutVolts: 1.25,
  voltsBefore: null,
  limits: [],
  readings: {},
  error: null,
};
const UNDERVOLTAGE = { limit: 'VOUT_UV_FAULT_LIMIT', volts: 1.125, wrong: 'below', passed: null } as const;
const OVERVOLTAGE = { limit: 'VOUT_OV_FAULT_LIMIT', volts: 1.75, wrong: 'above', passed: null } as const;

describe('the margins of a rail', () => {
  it('are those to the limits of the board file and of the device, the nearest first', () => {
    const said = { ...PAGE, limits: [OVERVOLTAGE, UNDERVOLTAGE] };
    expect(measured(said, { minVolts: 1, maxVolts: 2 })).toEqual({
      voutVolts: 1.25,
      limits: [
        { limit: 'VOUT_UV_FAULT_LIMIT', volts: 1.125, marginVolts: 0.125 },
        { limit: 'minVolts', volts: 1, marginVolts: 0.25 },
        { limit: 'VOUT_OV_FAULT_LIMIT', volts: 1.75, marginVolts: 0.5 },
        { limit: 'maxVolts', volts: 2, marginVolts: 0.75 },
      ],
    });
  });

  it('are negative on the wrong side, above as well as below', () => {
    expect(measured({ ...PAGE, voutVolts: 1, limits: [UNDERVOLTAGE] }, null).limits).toEqual([
      { limit: 'VOUT_UV_FAULT_LIMIT', volts: 1.125, marginVolts: -0.125 },
    ]);
    expect(measured({ ...PAGE, voutVolts: 2, limits: [OVERVOLTAGE] }, null).limits).toEqual([
      { limit: 'VOUT_OV_FAULT_LIMIT', volts: 1.75, marginVolts: -0.25 },
    ]);
  });

  it('of a rail that nothing measures, or of which the voltage could not be read, are none', () => {
    const none = { voutVolts: null, limits: [] };
    expect(measured(undefined, { minVolts: 1 })).toEqual(none);
    expect(measured({ ...PAGE, voutVolts: null }, { minVolts: 1 })).toEqual(none);
  });
});

const RAIL: RailReport = {
  absent: false,
  enabled: true,
  good: true,
  phase: 'up',
  watched: null,
  isObservable: true,
  logOnly: false,
  missed: null,
  enabledBy: 'line C0 of gpio',
  shownBy: 'vr page 0',
  voutVolts: 1.25,
  limits: [{ limit: 'minVolts', volts: 1, marginVolts: 0.25 }],
};
const REPORT: ChassisReport = {
  chassis: 3,
  state: 'pgood',
  stage: 'pgood',
  pgood: true,
  pgoodSources: [],
  powerStillApplied: false,
  fault: null,
  contradictions: [],
  rails: { CORE: RAIL },
  resetsAsserted: { CPU: false },
  resetsHeldUntil: {},
  devices: [PAGE],
  unread: [],
  units: null,
  noUnits: null,
  warning: null,
};
const rowsOf = (report: Partial<ChassisReport>) =>
  chassisText({ ...REPORT, ...report })
    .trimEnd()
    .split('\n');

describe('a chassis in words', () => {
  it('has a row for each rail with what switches and shows it, its voltage and the nearest limit', () => {
    expect(rowsOf({})).toEqual([
      'chassis 3  pgood  pgood asserted',
      '  rail CORE  enabled   good       line C0 of gpio, vr page 0: 1.250 V, 250 mV from minVolts 1.000 V',
      '  reset CPU  released',
    ]);
  });

  it.each([
    [null, 'log only'],
    ['late', 'log only: did not come in time'],
    ['lost', 'log only: has dropped'],
  ] as const)('tells of a rail that the chassis can do without: missed %s', (missed, words) => {
    const rows = rowsOf({ rails: { CORE: { ...RAIL, logOnly: true, missed } } });
    expect(rows[1]).toMatch(new RegExp(`minVolts 1\\.000 V  ${words}$`));
  });

  it('tells what a reset waits for that is held though the chassis is on', () => {
    const rows = rowsOf({ resetsAsserted: { CPU: true }, resetsHeldUntil: { CPU: 'postComplete' } });
    expect(rows[2]).toBe('  reset CPU  asserted  waits for postComplete of the host');
  });

  it('tells no margin of a rail that is off, and names one page once', () => {
    const off = { ...RAIL, enabled: false, good: false, voutVolts: 0, enabledBy: 'vr page 0' };
    expect(rowsOf({ rails: { CORE: off } })[1]).toBe('  rail CORE  disabled  not good   vr page 0: 0.000 V');
  });

  it('says of what could not be read that it was not, with the reason once, and what was known last', () => {
    const rows = rowsOf({
      state: 'unknown',
      pgood: null,
      rails: { CORE: { ...RAIL, enabled: null, good: null, voutVolts: null, limits: [] } },
      resetsAsserted: { CPU: null },
      devices: [{ ...PAGE, statusWord: null, status: [], voutVolts: null, error: 'it does not answer' }],
      unread: [{ reason: 'enable of rail CORE: it does not answer', code: 'I2C_NO_DEVICE' }],
    });
    expect(rows).toEqual([
      'chassis 3  unknown (last known: pgood)  pgood not read',
      '  not read: enable of rail CORE: it does not answer',
      '  rail CORE  not read  not read   line C0 of gpio, vr page 0',
      '  reset CPU  not read',
    ]);
  });

  it('has a row for each of several signals of pgood, with why one could not be read', () => {
    const rows = rowsOf({
      pgoodSources: [
        { role: 'pgood 1', good: true, reason: null, shownBy: 'line B7 of gpio' },
        { role: 'pgood 2', good: null, reason: 'pgood 2: nothing acknowledges', shownBy: 'vr page 9' },
      ],
    });
    expect(rows.slice(1, 3)).toEqual([
      '  pgood 1  asserted  line B7 of gpio',
      '  pgood 2  not read  vr page 9: pgood 2: nothing acknowledges',
    ]);
  });

  it('tells what a device complains of', () => {
    const bits = [{ name: 'OT_WARNING', means: 'overtemperature warning' }];
    const status = [...PAGE.status, { register: 'STATUS_TEMPERATURE', value: 64, bits }];
    expect(rowsOf({ devices: [{ ...PAGE, status }] }).at(-1)).toBe(
      '  vr page 0: STATUS_WORD 0x0000, STATUS_TEMPERATURE 0x40 (overtemperature warning), READ_VOUT 1.250 V',
    );
  });
});
