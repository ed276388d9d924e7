import { describe, expect, it } from 'vitest';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { CONTROL_POWER, controlPowerChanges, controlPowerObject } from '../../src/service/control-power.ts';
import type { ChassisView } from '../../src/service/resident.ts';
import { DbusReplyError } from '../../src/system/errors.ts';

const OFF: ChassisView = { state: 'off', pgood: false, wanted: 'off', fault: null };
const ON: ChassisView = { state: 'pgood', pgood: true, wanted: 'on', fault: null };

function served(initialSeconds: number) {
  let seconds = initialSeconds;
  const { interfaces } = controlPowerObject({
    chassis: 0,
    resident: {
      view: OFF,
      current: null,
      request: () => {
        throw new RangeError('nothing here asks for power');
      },
    },
    clock: createVirtualClock(),
    pgoodTimeoutSeconds: {
      read: () => seconds,
      write: (value) => {
        seconds = value;
      },
    },
    blameSupply: () => undefined,
  });
  const timeout = interfaces.find(({ name }) => name === CONTROL_POWER)?.properties.pgood_timeout;
  if (timeout?.write === undefined) throw new RangeError('pgood_timeout is not writable');
  return { timeout, write: timeout.write };
}

describe('org.openbmc.control.Power', () => {
  it('says PowerGood when pgood comes and PowerLost when it goes', () => {
    expect(controlPowerChanges(ON, OFF)).toEqual({ properties: ['state', 'pgood'], signal: 'PowerGood' });
    expect(controlPowerChanges(OFF, ON)).toEqual({ properties: ['state', 'pgood'], signal: 'PowerLost' });
    expect(controlPowerChanges({ ...ON, pgood: false }, ON)).toEqual({
      properties: ['pgood'],
      signal: 'PowerLost',
    });
    expect(controlPowerChanges({ ...OFF, state: 'failed', fault: 'x' }, OFF)).toEqual({
      properties: [],
      signal: null,
    });
  });

  it('takes no negative pgood timeout, and keeps the one it has', () => {
    const { timeout, write } = served(3);
    expect(() => write(-1)).toThrow(DbusReplyError);
    expect(timeout.read()).toBe(3);
    write(0);
    expect(timeout.read()).toBe(0);
  });
});
