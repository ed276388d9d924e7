import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { errnoCode, errorText } from '../../hw/errors.ts';
import type { Plan } from '../sequence/plan.ts';
import { type Hint, type SequenceState, STATES, type State } from '../sequence/state.ts';
import { remove, writeDurably } from './durable.ts';

/** Raised when the shape of the file changes; a file of another version is set aside. */
const SCHEMA_VERSION = 2;

/** Where the state of a chassis outlives the process that made it. */
export interface SnapshotStore {
  /** What another process of this boot left for this board file; null with a warning when it cannot be believed. */
  load(): { readonly hint: Hint | null; readonly warning: string | null };
  /**
   * Returns why it could not be written, null when it was. A run goes on without its snapshot; the one from
   * before is gone then, for an old state would be believed like a new one.
   */
  save(state: State, sequence: SequenceState): string | null;
}

const time = v.nullable(v.number());
const snapshotSchema = v.object({
  schema: v.literal(SCHEMA_VERSION),
  bootId: v.string(),
  boardHash: v.string(),
  state: v.picklist(STATES),
  sequence: v.object({
    nowMs: v.number(),
    rails: v.record(
      v.string(),
      v.object({
        phase: v.picklist(['down', 'rising', 'up', 'falling', 'stuck']),
        enabled: v.boolean(),
        enableDoubt: v.nullable(v.picklist(['unread', 'undriven'])),
        good: v.boolean(),
        goodUnread: v.boolean(),
        sinceMs: v.number(),
        deadlineMs: time,
      }),
    ),
    pgood: v.object({ level: v.boolean(), good: v.boolean(), unread: v.boolean(), sinceMs: v.number() }),
    resetsAsserted: v.record(v.string(), v.boolean()),
    stageDeadlineMs: time,
    readyMs: time,
    offSinceMs: time,
    latchPending: v.boolean(),
    fault: v.nullable(
      v.object({
        kind: v.picklist([
          'railTimeout',
          'railLost',
          'railStray',
          'pgoodTimeout',
          'pgoodLost',
          'powerOffTimeout',
          'hardware',
        ]),
        rail: v.nullable(v.string()),
        state: v.picklist(STATES),
        atMs: v.number(),
        reason: v.string(),
        errorCode: v.nullable(v.string()),
      }),
    ),
    contradictions: v.array(v.string()),
  }),
});

export interface SnapshotIdentity {
  readonly bootId: string;
  readonly boardHash: string;
  readonly plan: Plan;
}

export function snapshotPath(runDir: string, chassis: number): string {
  return join(runDir, `chassis${chassis}.json`);
}

/** The snapshot of one chassis as a file, `chassisN.json` in the run directory. */
export function createSnapshotFile(
  runDir: string,
  chassis: number,
  { bootId, boardHash, plan }: SnapshotIdentity,
): SnapshotStore {
  const path = snapshotPath(runDir, chassis);

  /** What this process could not write: it goes by that itself, in its next job. */
  let unwritten: Hint | null = null;

  const setAside = (why: string) => ({ hint: null, warning: `${path} is set aside: ${why}` });

  return {
    load() {
      if (unwritten !== null) return { hint: unwritten, warning: null };
      let text: string;
      try {
        text = readFileSync(path, 'utf8');
      } catch (error) {
        if (errnoCode(error) === 'ENOENT') return { hint: null, warning: null };
        return setAside(errorText(error));
      }
      let parsed: unknown;
      try {
        parsed = JSON.parse(text);
      } catch (error) {
        return setAside(`not JSON (${errorText(error)})`);
      }
      const result = v.safeParse(snapshotSchema, parsed);
      if (!result.success) return setAside(`not a snapshot of version ${SCHEMA_VERSION}`);
      const { output } = result;
      if (output.bootId !== bootId) return setAside('it is of another boot');
      if (output.boardHash !== boardHash) return setAside('the board file changed since');
      const rails = Object.keys(output.sequence.rails);
      if (rails.length !== plan.rails.length || plan.rails.some(({ name }) => !rails.includes(name))) {
        return setAside('it names other rails than the board file');
      }
      return { hint: { state: output.state, sequence: output.sequence }, warning: null };
    },

    save(state, sequence) {
      try {
        writeDurably(
          path,
          `${JSON.stringify({ schema: SCHEMA_VERSION, bootId, boardHash, state, sequence })}\n`,
        );
        unwritten = null;
        return null;
      } catch (error) {
        unwritten = { state, sequence };
        remove(path);
        return `the state could not be written to ${path} (${errorText(error)}): the next command goes by the lines alone`;
      }
    },
  };
}
