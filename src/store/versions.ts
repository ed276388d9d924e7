/** Of a snapshot, raised when the shape of the file changes; a file of another version is set aside. */
export const SNAPSHOT_VERSION = 2;

/** Of a run that is kept, raised when the shape of the file changes; files of another version are passed over. */
export const RUN_VERSION = 1;
