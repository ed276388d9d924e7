/** A line of the table: what was measured of one thing. */
export interface Row {
  readonly what: string;
  /** The median may be so much. Null for what nobody promised, as the noise. */
  readonly limit: number | null;
  /** Why there are no figures. */
  readonly why?: string;
  readonly figures?: readonly number[];
  /** What is behind a ratio, with its unit. */
  readonly beside?: string;
}

export function median(values: readonly number[]): number {
  return at(values, 0.5);
}

/** The value that so large a part of the others is not above. NaN of none. */
function at(values: readonly number[], part: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN;
}

/** Whether what was promised was measured, and kept. */
export function isKept({ limit, figures }: Row): boolean {
  return limit === null || (figures !== undefined && median(figures) <= limit);
}

export function table(rows: readonly Row[]): string {
  const cells = rows.map((row) => {
    const { what, limit, why, figures, beside = '' } = row;
    const promised = limit === null ? '' : String(limit);
    if (figures === undefined) return [what, '', '', promised, `not measured: ${why}`, ''];
    // Ratios differ behind the point; what is counted does not.
    const text = (value: number) => value.toFixed(value < 10 ? 2 : 0);
    const middle = `${text(at(figures, 0.25))} to ${text(at(figures, 0.75))}`;
    const said = limit === null ? '' : isKept(row) ? 'kept' : 'MISSED';
    return [what, text(median(figures)), middle, promised, said, beside];
  });
  const head = ['what', 'median', 'middle half', 'limit', '', 'of'];
  const line = (words: readonly string[]) =>
    `| ${words.map((word) => word.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |\n`;
  return line(head) + line(head.map(() => '---')) + cells.map(line).join('');
}
