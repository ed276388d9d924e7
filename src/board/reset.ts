import * as v from 'valibot';
import { durationMs, expects, lineWith, name, timeoutMs } from './values.ts';

const LOW_LINE = '{ "chip": "1e780000.gpio", "line": "D0", "active": "low" }';

/** The firmware of a host with much memory takes some minutes until it shows anything. */
const SIGNAL_TIMEOUT_MS = 600_000;

const heldUntil = expects(
  'object',
  'what a reset waits for, with "signal"',
  '{ "signal": "postComplete" }',
  v.strictObject({
    signal: v.pipe(
      expects(
        'choice',
        '"postComplete" or "platformReset"',
        '"postComplete"',
        v.picklist(['postComplete', 'platformReset']),
      ),
      v.description(
        'A signal of "hostSignals": POST complete has to be asserted, and the platform reset has to be let go',
      ),
    ),
    timeoutMs: v.pipe(
      v.optional(timeoutMs, SIGNAL_TIMEOUT_MS),
      v.description(
        'Longest time from when the chassis is on until the signal comes. After that a warning tells that the reset is still held; ' +
          'nothing is switched off for it, and it is released all the same if the signal comes later',
      ),
    ),
  }),
);

export const resets = expects(
  'object',
  'the resets by name',
  `{ "CPU_RESET_L": ${LOW_LINE} }`,
  v.record(
    name,
    lineWith(
      {
        releaseDelayMs: v.pipe(
          v.optional(durationMs, 0),
          v.description(
            'Time after pgood at which the reset is released; with "heldUntil", time after the signal',
          ),
        ),
        heldUntil: v.pipe(
          v.optional(heldUntil),
          v.description(
            'Keeps the reset asserted when the chassis is on, until the host shows how far it is. The resident service releases it then; ' +
              'without the service it stays asserted. It goes back with the others when power goes down',
          ),
        ),
      },
      LOW_LINE,
    ),
  ),
);
