import type { Recorded } from './record.ts';

/** Above any sequence of a board with 256 rails; half of it is let go when a watch of months comes to it. */
const MOST_ENTRIES = 4_000;

/** What a run tells, for as long as it lasts. */
export interface Trace {
  readonly entries: readonly Recorded[];
  /** Entries that there were too many of: the oldest, whose levels the first one has. */
  readonly left: number;
  add(entry: Recorded): void;
}

export function createTrace(): Trace {
  let entries: Recorded[] = [];
  let left = 0;
  return {
    get entries() {
      return entries;
    },
    get left() {
      return left;
    },
    add(entry) {
      entries.push(entry);
      if (entries.length <= MOST_ENTRIES) return;
      const kept = begunAt(entries, entries[MOST_ENTRIES / 2]?.atMs ?? entry.atMs);
      // Nothing to begin with, or all of one moment: the newest go then.
      const rest = kept.length < entries.length ? [...kept] : entries.slice(0, -1);
      left += entries.length - rest.length;
      entries = rest;
    },
  };
}

/** The entries from that time on, begun with the levels of then; all of them where nothing was read at first. */
export function begunAt(entries: readonly Recorded[], fromMs: number): readonly Recorded[] {
  const [first] = entries;
  if (first?.type !== 'reconciled' || first.atMs >= fromMs) return entries;
  const end = entries.findIndex(({ atMs }) => atMs >= fromMs);
  const before = entries.slice(1, end < 0 ? entries.length : end);
  const rails = { ...first.rails };
  const resetsAsserted = { ...first.resetsAsserted };
  let { pgood, state } = first;
  for (const entry of before) {
    if (entry.type === 'state') state = entry.to;
    if (entry.type === 'pgood') pgood = entry.level;
    if (entry.type === 'reset') resetsAsserted[entry.reset] = entry.asserted;
    if (entry.type !== 'rail' && entry.type !== 'enable') continue;
    const { enabled = false, good = false } = rails[entry.rail] ?? {};
    rails[entry.rail] =
      entry.type === 'rail' ? { enabled, good: entry.good } : { enabled: entry.asserted, good };
  }
  const begin = { ...first, state, rails, resetsAsserted, pgood, atMs: fromMs };
  return [begin, ...entries.slice(before.length + 1)];
}
