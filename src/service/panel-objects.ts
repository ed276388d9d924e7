import type { ServedObject } from '../system/ports.ts';
import type { FollowedButton } from './front-panel.ts';

/** x86-power-control, power_control.cpp; intel-ipmi-oem and phosphor-host-ipmid look for these paths. */
export const BUTTONS = 'xyz.openbmc_project.Chassis.Buttons';
export const BUTTONS_ROOT = '/xyz/openbmc_project/chassis/buttons';

export type ButtonName = 'power' | 'reset';

/** Those of chassis 0 have no number, as with the peers. */
export function buttonPath(name: ButtonName, chassis: number): string {
  return `${BUTTONS_ROOT}/${name}${chassis === 0 ? '' : chassis}`;
}

/** A button of a front panel. */
export function buttonObject(name: ButtonName, chassis: number, button: FollowedButton): ServedObject {
  return {
    path: buttonPath(name, chassis),
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
