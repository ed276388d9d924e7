import { readRegularFile, removeIfPossible, writeDurably } from '../../hw/files.ts';
import type { Observation } from '../sequence/state.ts';
import { releasedBy } from './lock.ts';
import { restPath, snapshotPath } from './paths.ts';

/** Raised when the shape of the file changes; one of another version is passed over. */
const SCHEMA_VERSION = 1;
/** Of the board file, the snapshot, and this file, which has both. */
const MOST_BYTES = 256 * 1024;

/**
 * How a chassis that is on was found by a run that had nothing to do. A process that finds all of it as it was has nothing to do
 * either: the same run, on the same readings, would come to the same end.
 */
export interface Rest {
  /** What made it: a program of another build may judge otherwise. */
  readonly build: string;
  readonly bootId: string;
  /** Content of the board file and of the snapshot, each byte as a letter. */
  readonly board: string;
  readonly snapshot: string;
  /** All lines that the chassis has, and what the kernel shows of them. */
  readonly keys: readonly string[];
  readonly picture: string;
  /** What the levels mean. */
  readonly observation: Observation;
}

/** What is compared. */
export type Surroundings = Pick<Rest, 'build' | 'bootId'> & { readonly boardPath: string };

export interface RestFile {
  /** Keeps how the chassis is, whose lock this process has. Does nothing where that cannot be written. */
  keep(rest: Omit<Rest, 'board' | 'snapshot' | 'build' | 'bootId'>): void;
  /**
   * What the lines mean, where everything is as it was kept: no process has locked the chassis or written its state
   * since, and none had it locked while the lines were looked at. Null else; never rejects.
   * @param picture what the kernel shows now of these lines
   */
  still(picture: (keys: readonly string[]) => Promise<string | null>): Promise<Observation | null>;
}

/** `chassisN-rest.json` in the run directory, which ends with the boot. */
export function createRestFile(
  runDir: string,
  chassis: number,
  { build, bootId, boardPath }: Surroundings,
): RestFile {
  const path = restPath(runDir, chassis);
  const textOf = (file: string, followsLink = false) =>
    readRegularFile(file, { maxBytes: MOST_BYTES, followsLink, onlyOwn: !followsLink }).toString('latin1');
  const board = () => textOf(boardPath, true);
  const snapshot = () => textOf(snapshotPath(runDir, chassis));

  return {
    keep(found) {
      try {
        const rest: Rest = { build, bootId, board: board(), snapshot: snapshot(), ...found };
        writeDurably(path, `${JSON.stringify({ schema: SCHEMA_VERSION, ...rest })}\n`);
      } catch {
        // It is for speed alone, and what is left of an old one is compared like any.
        removeIfPossible(path);
      }
    },

    async still(picture) {
      try {
        const { schema, ...rest } = JSON.parse(textOf(path)) as Rest & { readonly schema: number };
        if (schema !== SCHEMA_VERSION || rest.build !== build || rest.bootId !== bootId) return null;
        const releasedAs = releasedBy(runDir, chassis);
        if (releasedAs === null || rest.board !== board() || rest.snapshot !== snapshot()) return null;
        if ((await picture(rest.keys)) !== rest.picture) return null;
        // Whoever drives says so before, in one of the two at least: each is written, or removed where it cannot be.
        if (releasedBy(runDir, chassis) !== releasedAs || rest.snapshot !== snapshot()) return null;
        return rest.observation;
      } catch {
        // One of the files is not there, or cannot be believed: the whole run says which, where it matters.
        return null;
      }
    },
  };
}
