import { errnoCode, errorText } from '../../hw/errors.ts';
import { fileProblem, readRegularFile, removeIfPossible, writeDurably } from '../../hw/files.ts';
import type { Clock } from '../../hw/ports.ts';
import type { Plan } from '../sequence/plan.ts';
import type { Hint, RailState, SequenceState, State } from '../sequence/state.ts';
import { fitted } from '../shape.ts';
import { snapshotPath } from './paths.ts';
import type { Snapshot } from './snapshot-schema.ts';
import { SNAPSHOT_SHAPE } from './snapshot-shape.ts';
import { SNAPSHOT_VERSION } from './versions.ts';

/** Above the snapshot of a board with a hundred rails. */
const MOST_BYTES = 256 * 1024;

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

export interface SnapshotIdentity {
  readonly bootId: string;
  readonly boardHash: string;
  readonly plan: Plan;
  readonly clock: Pick<Clock, 'nowMs'>;
}

/** The snapshot of one chassis as a file, `chassisN.json` in the run directory. */
export function createSnapshotFile(
  runDir: string,
  chassis: number,
  { bootId, boardHash, plan, clock }: SnapshotIdentity,
): SnapshotStore {
  const path = snapshotPath(runDir, chassis);

  const textOf = createWriter(plan);

  /** The last state that could not be written. The next job of this process goes on from it. */
  let unwritten: Hint | null = null;

  const setAside = (why: string) => ({ hint: null, warning: `${path} is set aside: ${why}` });

  return {
    load() {
      if (unwritten !== null) return { hint: unwritten, warning: null };
      let text: string;
      try {
        text = readRegularFile(path, { maxBytes: MOST_BYTES, onlyOwn: true }).toString('utf8');
      } catch (error) {
        if (errnoCode(error) === 'ENOENT') return { hint: null, warning: null };
        return setAside(fileProblem(error));
      }
      let parsed: unknown;
      try {
        parsed = JSON.parse(text);
      } catch (error) {
        return setAside(`not JSON (${errorText(error)})`);
      }
      const output = fitted(SNAPSHOT_SHAPE, {}, parsed) as Snapshot | undefined;
      if (output === undefined) return setAside(`not a snapshot of version ${SNAPSHOT_VERSION}`);
      if (output.bootId !== bootId) return setAside('it is of another boot');
      if (output.boardHash !== boardHash) return setAside('the board file changed since');
      const rails = [...Object.keys(output.sequence.rails), ...(output.sequence.absent ?? [])];
      if (rails.length !== plan.rails.length || plan.rails.some(({ name }) => !rails.includes(name))) {
        return setAside('it names other rails than the board file');
      }
      const { state, sequence } = output;
      const { possible, isAhead } = withinTime(sequence, plan, clock.nowMs());
      const warning = isAhead ? `${path} tells of times that have not come yet: taken for now` : null;
      return { hint: { state, sequence: possible }, warning };
    },

    save(state, sequence) {
      try {
        const head = { schema: SNAPSHOT_VERSION, bootId, boardHash, state };
        writeDurably(path, `${JSON.stringify(head).slice(0, -1)},"sequence":${textOf(sequence)}}\n`);
        unwritten = null;
        return null;
      } catch (error) {
        unwritten = { state, sequence };
        removeIfPossible(path);
        return `the state could not be written to ${path} (${errorText(error)}): the next command goes by the lines alone`;
      }
    },
  };
}

/**
 * Returns what writes a sequence of this plan as JSON. Rails of which nothing changed between two snapshots are the same objects, and a
 * board has up to hundreds of them: their texts are kept.
 */
function createWriter({ rails: planned }: Plan): (sequence: SequenceState) => string {
  const keys = planned.map(({ name }) => JSON.stringify(name));
  const states: (RailState | undefined)[] = [];
  const texts: string[] = [];
  return ({ rails, ...rest }) => {
    for (const [place, { name }] of planned.entries()) {
      const state = rails[name];
      if (state === states[place] && texts[place] !== undefined) continue;
      states[place] = state;
      // Of an absent part nothing is kept.
      texts[place] = state === undefined ? '' : `,${keys[place]}:${JSON.stringify(state)}`;
    }
    return `${JSON.stringify(rest).slice(0, -1)},"rails":{${texts.join('').slice(1)}}}`;
  };
}

/**
 * Limits the times of a snapshot: a time in the past is not later than now, and no deadline is further away than the plan
 * allows. A file that says otherwise would hold up a chassis for ever.
 */
function withinTime(
  sequence: SequenceState,
  plan: Plan,
  nowMs: number,
): { readonly possible: SequenceState; readonly isAhead: boolean } {
  let isAhead = false;
  const past = (atMs: number) => {
    isAhead ||= atMs > nowMs;
    return Math.min(atMs, nowMs);
  };
  const pastOrNull = (atMs: number | null) => (atMs === null ? null : past(atMs));
  const within = (deadlineMs: number | null, limitMs: number) =>
    deadlineMs === null ? null : Math.min(deadlineMs, nowMs + limitMs);
  const stageMs = Math.max(plan.pgood.onTimeoutMs, plan.pgood.offTimeoutMs);
  const rails = Object.entries(sequence.rails).map(([name, rail]) => {
    const { onTimeoutMs, offTimeoutMs } = plan.rails.find((each) => each.name === name) ?? plan.pgood;
    const deadlineMs = within(rail.deadlineMs, Math.max(onTimeoutMs, offTimeoutMs));
    return [name, { ...rail, sinceMs: past(rail.sinceMs), deadlineMs }] as const;
  });
  const { fault, pgood } = sequence;
  const possible = {
    ...sequence,
    nowMs: past(sequence.nowMs),
    rails: Object.fromEntries(rails),
    pgood: { ...pgood, sinceMs: past(pgood.sinceMs) },
    stageDeadlineMs: within(sequence.stageDeadlineMs, stageMs),
    readyMs: pastOrNull(sequence.readyMs),
    offSinceMs: pastOrNull(sequence.offSinceMs),
    fault: fault === null ? null : { ...fault, atMs: past(fault.atMs) },
  };
  return { possible, isAhead };
}
