/** A signal over the steps of a story: its level before the first, and after each of them. */
export interface WaveLane {
  readonly name: string;
  readonly levels: readonly boolean[];
}

const LOW = '▁';
const HIGH = '▇';
const COLUMN_WIDTH = 3;

/**
 * A timing diagram of letters, for a terminal or a log: a lane for each signal, a column for each step in which one of them
 * changes, with the number that the step has in the story above it. High is asserted.
 */
export function renderWaves(lanes: readonly WaveLane[]): string[] {
  const width = Math.max(4, ...lanes.map(({ name }) => name.length));
  const count = Math.max(0, ...lanes.map(({ levels }) => levels.length));
  const columns = Array.from({ length: count }, (_, step) => step).filter(
    (step) => step === 0 || lanes.some(({ levels }) => levels[step] !== levels[step - 1]),
  );
  const head = columns.map((step) => String(step === 0 ? '' : step).padStart(COLUMN_WIDTH)).join('');
  const rows = lanes.map(({ name, levels }) => {
    const wave = columns.map((step) => (levels[step] === true ? HIGH : LOW).repeat(COLUMN_WIDTH)).join('');
    return `${name.padEnd(width)} ${wave}`;
  });
  return [`${'step'.padEnd(width)} ${head}`, ...rows];
}
