import type { ServedObject } from '../system/ports.ts';
import type { PowerButton } from './front-panel.ts';

/** x86-power-control, power_control.cpp; intel-ipmi-oem and phosphor-host-ipmid look for this path. */
export const BUTTONS = 'xyz.openbmc_project.Chassis.Buttons';
export const BUTTONS_ROOT = '/xyz/openbmc_project/chassis/buttons';

/** That of chassis 0 has no number, as with the peers. */
export function powerButtonPath(chassis: number): string {
  return `${BUTTONS_ROOT}/power${chassis === 0 ? '' : chassis}`;
}

/** The power button of a front panel. */
export function powerButtonObject(chassis: number, button: PowerButton): ServedObject {
  return {
    path: powerButtonPath(chassis),
    interfaces: [
      {
        name: BUTTONS,
        methods: {},
        properties: {
          ButtonPressed: { signature: 'b', emits: 'change', read: () => button.isPressed },
          ButtonMasked: {
            signature: 'b',
            emits: 'change',
            read: () => button.isMasked,
            write: (value) => button.mask(value === true),
          },
        },
        signals: {},
      },
    ],
  };
}
