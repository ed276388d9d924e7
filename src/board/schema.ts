import * as v from 'valibot';
import { goodEntry } from './good.ts';
import { hostSignals } from './host-signals.ts';
import { identity } from './identity.ts';
import { panel } from './panel.ts';
import { PGOOD_OF_RAILS, pgood } from './pgood.ts';
import { presence } from './presence.ts';
import { pulse } from './pulse.ts';
import { resets } from './reset.ts';
import { BOARD_RULES } from './rules.ts';
import { setup } from './setup.ts';
import {
  BY_LINE_OR_PAGE,
  CHIP_LINE,
  chipLine,
  choose,
  coefficient,
  deviceName,
  durationMs,
  expects,
  i2cPlace,
  type line,
  lineWith,
  milliseconds,
  name,
  namedLine,
  nameLike,
  pmbusPage,
  timeoutMs,
  volts,
} from './values.ts';

/**
 * The board file. This one schema gives the types, the defaults, the problems that `check` reports and
 * the JSON Schema that `schema` prints. Objects are strict: a key that is not described here is a problem.
 */

const BY_LINE_PAGE_OR_PULSE = `${BY_LINE_OR_PAGE}, or a power button, by "pulse"`;
const RAIL = `{ "enable": ${CHIP_LINE}, "good": { "chip": "1e780000.gpio", "line": "B0" } }`;
const railEntries = v.strictObject({
  nominalVolts: v.pipe(
    v.optional(volts),
    v.description('Voltage of the rail, for people who read the file and for the simulated chassis'),
  ),
  enable: v.pipe(
    v.optional(
      expects(
        'object',
        BY_LINE_PAGE_OR_PULSE,
        CHIP_LINE,
        choose(
          ['chip', v.strictObject(chipLine)],
          ['name', v.strictObject(namedLine)],
          ['pmbus', v.strictObject(pmbusPage)],
          ['pulse', pulse],
        ),
      ),
    ),
    v.description(
      'What switches the rail: a GPIO level, OPERATION of a PMBus page, or a power button that is pressed for a while. Without it the rail is only watched, by its ' +
        '"good": it has to come when what it needs is good, and to go with it. One that needs nothing that is switched is a ' +
        'supply: it has to be good before what needs it, and stays when the chassis is off',
    ),
  ),
  good: v.pipe(
    v.optional(goodEntry),
    v.description(
      'How the rail is seen to be good: a line, or READ_VOUT within limits and POWER_GOOD# clear, or the latter alone, or a voltage within limits that a kernel driver reads. ' +
        'Without it the rail counts as good settleMs after its enable, and the chassis pgood decides: ' +
        'that is also how a clock enable, a strap or a level shifter between rails is described',
    ),
  ),
  presence: v.pipe(
    v.optional(presence),
    v.description(
      'What tells that the part is there which the rail is of, such as a riser or a second power supply. It is looked at when a power-on ' +
        'begins: a rail whose part is absent is neither enabled, nor waited for, nor blamed, and neither is one that needs it, ' +
        'which has a "presence" itself. Rails of one part name the same line, address or item',
    ),
  ),
  needs: v.pipe(
    v.optional(expects('list', 'a list of names of rails', '["P12V"]', v.array(name)), []),
    v.description('Rails that must be good before this one is enabled, and that outlive it on the way down'),
  ),
  offAfter: v.pipe(
    v.optional(expects('list', 'a list of names of rails', '["P3V3"]', v.array(name))),
    v.description(
      'Rails that must be off before this one is disabled, besides those that need it: for a way down that is not the way up reversed. ' +
        'One that does not go off in its time is not waited for any longer',
    ),
  ),
  offSettleMs: v.pipe(
    v.optional(durationMs),
    v.description(
      'Time the rail must have been off before what goes off after it is disabled, besides the time it takes to go. After a loss nothing ' +
        'waits for it: what is left goes at once',
    ),
  ),
  logOnly: v.pipe(
    v.optional(expects('truth', 'true', 'true', v.literal(true))),
    v.description(
      'A rail that the chassis can do without: that it does not come, or drops, is told, and nothing is switched off for it. ' +
        'Nothing may need it, and it does not count for "rails" of pgood. A power-on waits for it no longer than onTimeoutMs; that it ' +
        'cannot be switched, or does not go off, fails as with any other rail',
    ),
  ),
  setup: v.pipe(
    v.optional(setup),
    v.description(
      'Voltages that the PMBus page of the rail is told each time before the rail is enabled, when what it needs is good. ' +
        'Nothing is written while the output is on',
    ),
  ),
  settleMs: v.pipe(
    v.optional(durationMs, 0),
    v.description('Time the rail must have been good before what needs it is enabled'),
  ),
  onTimeoutMs: v.pipe(
    v.optional(timeoutMs, 1000),
    v.description(
      'Longest time from enable to good; of a rail that is only watched, from when all that it needs is good',
    ),
  ),
  offTimeoutMs: v.pipe(
    v.optional(timeoutMs, 2000),
    v.description(
      'Longest time from disable until the rail is no longer good; of a rail that is only watched, from the disable of what it needs',
    ),
  ),
});
const rail = expects('object', 'a rail, with at least "enable" or "good"', RAIL, railEntries);

/** Nothing else happens during the pulse of the latch: a rail that fails waits for its end. */
const LONGEST_PULSE_MS = 1_000;

const latchTimes = {
  pulseMs: v.pipe(
    v.optional(milliseconds(0, LONGEST_PULSE_MS, '1'), 1),
    v.description('Width of the pulse that latches the enables'),
  ),
};

/** OpenBMC's x86-power-control: ResetPulseMs is 500, and 6000 on the slowest of its machines. */
const RESET_PULSE_MS = 500;
const LONGEST_RESET_MS = 10_000;

const hostResetTimes = {
  pulseMs: v.pipe(
    v.optional(milliseconds(1, LONGEST_RESET_MS, '500'), RESET_PULSE_MS),
    v.description('How long the line is asserted'),
  ),
};

export const CHASSIS = `{ "rails": { "P12V": ${RAIL} }, "pgood": { "chip": "1e780000.gpio", "line": "B7" } }`;
export const chassisEntries = v.strictObject({
  rails: v.pipe(
    expects(
      'object',
      'the rails by name, at least one',
      `{ "P12V": ${RAIL} }`,
      v.pipe(v.record(name, rail), v.check(BOARD_RULES.isNotEmpty, 'names no rail')),
    ),
    v.description('The supplies that are switched, by name'),
  ),
  pgood: v.pipe(
    v.optional(pgood, PGOOD_OF_RAILS),
    v.description('What shows that all rails are up; without it, the rails themselves'),
  ),
  resets: v.pipe(
    v.optional(resets, {}),
    v.description('Resets held asserted until pgood and asserted again before the power goes down'),
  ),
  hostReset: v.pipe(
    v.optional(lineWith(hostResetTimes, '{ "name": "RESET_OUT", "active": "low" }')),
    v.description(
      'Resets the host, which keeps its power: asserted for a while when somebody asks for a reset or a warm reboot, as the reset ' +
        'button of a PC is. No line that is held while the power is down: that is one of "resets"',
    ),
  ),
  latch: v.pipe(
    v.optional(lineWith(latchTimes, '{ "chip": "1e780000.gpio", "line": "D1" }')),
    v.description('Pulsed after the enables changed, so that they stand while the BMC restarts'),
  ),
  hostSignals: v.pipe(
    v.optional(hostSignals),
    v.description('What the host says of itself, which the resident service shows to management clients'),
  ),
  panel: v.pipe(
    v.optional(panel),
    v.description('Buttons that people press, which the resident service takes for requests'),
  ),
  evidence: v.pipe(
    v.optional(expects('list', 'a list of names of devices', '["vr_ddr"]', v.array(deviceName)), []),
    v.description('Devices whose STATUS_WORD is read when the power fails, beside those of the rails'),
  ),
  minOffMs: v.pipe(
    v.optional(durationMs, 0),
    v.description('Shortest time the chassis stays off before it is powered on again'),
  ),
});

export const chassis = expects('object', 'a chassis, with "rails"', CHASSIS, chassisEntries);

const deviceEntries = v.strictObject({
  ...i2cPlace,
  poweredBy: v.pipe(
    v.optional(name),
    v.description(
      'Rail that the device has its power from: before that rail is good, and after it is gone, the device is neither asked nor blamed',
    ),
  ),
  pec: v.pipe(
    v.optional(expects('truth', 'true or false', 'true', v.boolean()), false),
    v.description(
      'Whether the device has the packet error check of SMBus: transfers carry it, and a read that was disturbed is told',
    ),
  ),
  identity: v.pipe(
    v.optional(identity),
    v.description(
      'What the device says that it is, byte by byte in the order in which it sends them, or as text. A power-on ends before it tells another device anything, and a rail is not good by what one says',
    ),
  ),
  vout: v.pipe(
    v.optional(
      expects(
        'object',
        'the coefficients "m", "b" and "r" of the data sheet',
        '{ "m": 1, "b": 0, "r": 3 }',
        v.strictObject({
          m: v.pipe(
            coefficient('m', 16, '1'),
            v.check(BOARD_RULES.isNotZero, 'would divide by zero'),
            v.description('Coefficient m, the slope'),
          ),
          b: v.pipe(v.optional(coefficient('b', 16, '0'), 0), v.description('Coefficient b, the offset')),
          r: v.pipe(coefficient('R', 8, '3'), v.description('Coefficient R, the power of ten')),
        }),
      ),
    ),
    v.description(
      'Coefficients of a device whose VOUT_MODE says direct format (PMBus 1.3 part II, 7.4): volts = (raw * 10^-r - b) / m',
    ),
  ),
  vid: v.pipe(
    v.optional(
      expects(
        'choice',
        'a table of voltage codes, "vr11", "vr12", "vr12.5", "vr13", "imvp9", "amd625mv" or "nvidia195mv"',
        '"vr13"',
        v.picklist(['vr11', 'vr12', 'vr12.5', 'vr13', 'imvp9', 'amd625mv', 'nvidia195mv']),
      ),
    ),
    v.description(
      'Table of voltage codes of a device whose VOUT_MODE says VID format, with the names of the Linux kernel: ' +
        'vr11 from 1.6 V down in steps of 6.25 mV; vr12 from 0.25 V in steps of 5 mV, as VR13 and IMVP8 with 5 mV; ' +
        'vr12.5 and vr13 from 0.5 V, imvp9 from 0.2 V in steps of 10 mV; ' +
        'amd625mv from 1.55 V down in steps of 6.25 mV; nvidia195mv from 0.195 V in steps of 5 mV',
    ),
  ),
});

const DEVICE = '{ "bus": 3, "address": "0x60" }';
const device = expects('object', 'a PMBus device, with "bus" and "address"', DEVICE, deviceEntries);

const chassisNumber = expects(
  'chassis',
  'the number of a chassis from 0 to 99, in quotes',
  '"0"',
  v.pipe(v.string(), v.regex(/^(0|[1-9][0-9]?)$/)),
);

export const boardEntries = v.strictObject({
  $schema: v.pipe(
    v.optional(expects('text', 'the address of a JSON Schema', '"./board.schema.json"', v.string())),
    v.description('Where an editor finds the JSON Schema of board files; the program reads nothing there'),
  ),
  name: v.pipe(nameLike('"my-board"'), v.description('Name of the board, for messages')),
  description: v.pipe(
    v.optional(expects('text', 'a text', '"what this board is"', v.string())),
    v.description('What people should know of the board; the program does not read it'),
  ),
  devices: v.pipe(
    v.optional(
      expects('object', 'the PMBus devices by name', `{ "vr_ddr": ${DEVICE} }`, v.record(deviceName, device)),
      {},
    ),
    v.description('PMBus devices by name'),
  ),
  chassis: v.pipe(
    expects(
      'object',
      'the chassis by number, at least one',
      `{ "0": ${CHASSIS} }`,
      v.pipe(v.record(chassisNumber, chassis), v.check(BOARD_RULES.isNotEmpty, 'describes no chassis')),
    ),
    v.description('Chassis by number: the instance of the systemd units'),
  ),
});
export const boardSchema = expects(
  'object',
  'a board, with "name" and "chassis"',
  `{ "name": "my-board", "chassis": { "0": ${CHASSIS} } }`,
  boardEntries,
);

export type Board = v.InferOutput<typeof boardSchema>;
export type ChassisBoard = v.InferOutput<typeof chassis>;
export type RailBoard = v.InferOutput<typeof rail>;
export type DeviceBoard = v.InferOutput<typeof device>;
export type LineBoard = v.InferOutput<typeof line>;
export type EnableBoard = NonNullable<RailBoard['enable']>;
export type GoodBoard = NonNullable<RailBoard['good']>;
export type PresenceBoard = v.InferOutput<typeof presence>;
export type PulseBoard = v.InferOutput<typeof pulse>;
