import { renameSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { errnoCode, errorText } from '../../hw/errors.ts';
import { fileProblem, readRegularFile, removeIfPossible, StrangeFile, writeDurably } from '../../hw/files.ts';

/** Raised when the shape of the file changes; a file of another version is set aside. */
const SCHEMA_VERSION = 1;

/** It has a dozen short values. */
const MOST_BYTES = 64 * 1024;

/** phosphor-dbus-interfaces, Control/Power/RestorePolicy.interface.yaml. */
export const RESTORE_POLICIES = ['None', 'AlwaysOn', 'AlwaysOff', 'Restore'] as const;
export type RestorePolicy = (typeof RESTORE_POLICIES)[number];

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Whole microseconds, as text: D-Bus has 64 bits for them. */
const microseconds = v.pipe(
  v.string(),
  v.regex(/^\d{1,20}$/),
  v.transform((text: string) => BigInt(text)),
  v.maxValue(2n ** 64n - 1n),
);
const policy = v.object({ policy: v.picklist(RESTORE_POLICIES), delayUs: microseconds });

const lastingSchema = v.object({
  schema: v.literal(SCHEMA_VERSION),
  /** What the power was when it last came to rest; null before the first time. */
  power: v.nullable(v.picklist(['on', 'off'])),
  /** Wall time of the last change of `power` in milliseconds since 1970; 0 before the first one. */
  changedAtMs: count,
  /** Whole minutes that the power was on, ever. */
  onMinutes: count,
  requestedPower: v.picklist(['Off', 'On', 'PowerCycle']),
  requestedHost: v.picklist(['Off', 'On', 'Reboot']),
  /** What somebody asked for last. A loss of power is nobody's request. */
  lastAsked: v.picklist(['on', 'off']),
  restartCause: v.picklist([
    'Unknown',
    'RemoteCommand',
    'PowerButton',
    'ResetButton',
    'SoftReset',
    'PowerPolicyAlwaysOn',
    'PowerPolicyPreviousState',
  ]),
  restore: policy,
  restoreOnce: policy,
  /**
   * A Reboot or PowerCycle whose second half has not begun: the boot of the BMC and the monotonic time that it was
   * asked for in. Null when there is none.
   */
  cycle: v.nullable(
    v.object({ of: v.picklist(['power', 'host']), bootId: v.string(), askedAtMs: v.number() }),
  ),
  /** The boot of the BMC whose power restore is settled, null before the first one. */
  restoredInBoot: v.nullable(v.string()),
});

/** What is known of a chassis beyond the boot of the BMC. */
export type LastingState = Readonly<Omit<v.InferOutput<typeof lastingSchema>, 'schema'>>;

/**
 * A chassis that nobody has asked for anything. The policy is the default of phosphor-dbus-interfaces, that of the
 * one-time object is what phosphor-state-manager resets it to (discover_system_state.cpp).
 */
export const NOTHING_LASTING: LastingState = {
  power: null,
  changedAtMs: 0,
  onMinutes: 0,
  requestedPower: 'Off',
  requestedHost: 'Off',
  lastAsked: 'off',
  restartCause: 'Unknown',
  restore: { policy: 'Restore', delayUs: 0n },
  restoreOnce: { policy: 'None', delayUs: 0n },
  cycle: null,
  restoredInBoot: null,
};

/** Where the state of a chassis outlives the boot of the BMC. */
export interface LastingStore {
  /** What was saved last; null before the first time, and with a warning when it cannot be believed. */
  load(): { readonly state: LastingState | null; readonly warning: string | null };
  /** Returns why it could not be written, null when it was. The one from before stays then. */
  save(state: LastingState): string | null;
}

export function lastingPath(stateDir: string, chassis: number): string {
  return join(stateDir, `chassis${chassis}-lasting.json`);
}

/** The lasting state of one chassis as a file in the state directory. */
export function createLastingFile(stateDir: string, chassis: number): LastingStore {
  const path = lastingPath(stateDir, chassis);

  /** Under another name, for somebody to look at. */
  const setAside = (why: string) => {
    const aside = `${path}.unreadable`;
    try {
      renameSync(path, aside);
    } catch {
      removeIfPossible(path);
    }
    return { state: null, warning: `${path} is set aside as ${aside}: ${why}` };
  };

  return {
    load() {
      let text: string;
      try {
        text = readRegularFile(path, { maxBytes: MOST_BYTES, onlyOwn: true }).toString('utf8');
      } catch (error) {
        if (errnoCode(error) === 'ENOENT') return { state: null, warning: null };
        if (error instanceof StrangeFile) return setAside(error.message);
        return { state: null, warning: `${path} cannot be read: ${fileProblem(error)}` };
      }
      let parsed: unknown;
      try {
        parsed = JSON.parse(text);
      } catch (error) {
        return setAside(`not JSON (${errorText(error)})`);
      }
      const result = v.safeParse(lastingSchema, parsed);
      if (!result.success) return setAside(`not the state of a chassis, version ${SCHEMA_VERSION}`);
      const { schema, ...state } = result.output;
      return { state, warning: null };
    },

    save(state) {
      const text = JSON.stringify({ schema: SCHEMA_VERSION, ...state }, (_, value: unknown) =>
        typeof value === 'bigint' ? String(value) : value,
      );
      try {
        writeDurably(path, `${text}\n`);
        return null;
      } catch (error) {
        return `the state of chassis ${chassis} could not be written to ${path} (${errorText(error)}): after a restart the one from before holds`;
      }
    },
  };
}
