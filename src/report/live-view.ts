import pc from 'picocolors';
import type { Recorded, Recorder } from '../run/record.ts';
import type { Plan } from '../sequence/plan.ts';
import type { RailPhase, State } from '../sequence/state.ts';
import type { Output } from '../system/ports.ts';
import { ERROR, WARNING } from '../system/severity.ts';
import { linesOf } from './lines.ts';
import { STATE_WORDS } from './words.ts';

const STAGES_UP: readonly State[] = ['off', 'opPowerStart', 'opWaitPowerOn', 'pgood'];
const STAGES_DOWN: readonly State[] = ['pgood', 'opPowerStop', 'opWaitPowerOff', 'off'];
const STAGES_FAULT: readonly State[] = ['fault', 'failed'];

const PHASE_STYLES: Readonly<
  Record<RailPhase, { readonly bar: string; readonly color: 'gray' | 'yellow' | 'green' | 'cyan' | 'red' }>
> = {
  down: { bar: '░░░░░░░░', color: 'gray' },
  rising: { bar: '▒▒▒▒▒▒▒▒', color: 'yellow' },
  up: { bar: '████████', color: 'green' },
  falling: { bar: '▒▒▒▒▒▒▒▒', color: 'cyan' },
  stuck: { bar: '▓▓▓▓▓▓▓▓', color: 'red' },
};

interface RailView {
  phase: RailPhase;
  enabledAtMs: number | null;
  upAtMs: number | null;
  /** Named by the fault that is being handled. */
  faulty: boolean;
}

/** What the view shows, after the entries so far. */
interface RunView {
  readonly rails: ReadonlyMap<string, RailView>;
  state: State;
  stages: readonly State[];
  pgood: boolean;
}

/**
 * A view of rails and stages that is drawn again in place with every entry, for a terminal. Warnings and errors are
 * written above it and stay.
 */
export function liveReporter(out: Output, plan: Plan): Recorder {
  const view: RunView = {
    rails: new Map(
      plan.rails.map(({ name }) => [name, { phase: 'down', enabledAtMs: null, upAtMs: null, faulty: false }]),
    ),
    state: 'unknown',
    stages: STAGES_UP,
    pgood: false,
  };
  let startMs: number | undefined;
  let drawnLines = 0;

  return (entry) => {
    startMs ??= entry.atMs;
    update(view, entry);
    const notes = linesOf(entry)
      .filter(({ severity }) => severity <= WARNING && entry.type !== 'state')
      .map(({ severity, text }) => (severity <= ERROR ? pc.red(text) : pc.yellow(text)));
    const lines = fitting(draw(view, plan, entry.atMs - startMs), out.rows);
    const up = drawnLines === 0 ? '' : `\u001b[${drawnLines}A`;
    // A line that the terminal breaks in two would not be drawn over as a whole.
    const rows = lines.map((line) => cut(line, out.columns || Number.POSITIVE_INFINITY));
    out.write(`${up}\u001b[J${[...notes, ...rows].map((line) => `${line}\n`).join('')}`);
    drawnLines = lines.length;
  };
}

function update(view: RunView, entry: Recorded): void {
  const { rails } = view;
  switch (entry.type) {
    case 'reconciled':
      view.state = entry.state;
      for (const [name, { enabled, good }] of Object.entries(entry.rails)) {
        const rail = rails.get(name);
        if (rail) rail.phase = good ? (enabled ? 'up' : 'falling') : enabled ? 'rising' : 'down';
      }
      view.pgood = entry.pgood;
      break;
    case 'state':
      view.state = entry.to;
      if (entry.to === 'opPowerStart') {
        view.stages = STAGES_UP;
        for (const rail of rails.values()) rail.faulty = false;
      }
      if (entry.to === 'opPowerStop') view.stages = STAGES_DOWN;
      if (entry.to === 'fault') view.stages = [entry.from, ...STAGES_FAULT];
      break;
    case 'enable': {
      const rail = rails.get(entry.rail);
      if (!rail) break;
      rail.enabledAtMs = entry.asserted ? entry.atMs : null;
      if (!entry.asserted) rail.upAtMs = null;
      break;
    }
    case 'rail': {
      const rail = rails.get(entry.rail);
      if (!rail) break;
      rail.phase = entry.phase;
      // Of one that is only watched, whose time counts from then.
      if (entry.phase === 'rising') rail.enabledAtMs ??= entry.atMs;
      if (entry.phase === 'falling') rail.enabledAtMs = null;
      if (entry.phase === 'up') rail.upAtMs = entry.atMs;
      break;
    }
    case 'fault': {
      const rail = rails.get(entry.fault.rail ?? '');
      if (rail) rail.faulty = true;
      break;
    }
    case 'pgood':
      view.pgood = entry.level;
      break;
  }
}

function draw({ rails, state, stages, pgood }: RunView, plan: Plan, sinceStartMs: number): string[] {
  const nameWidth = Math.max(5, ...plan.rails.map(({ name }) => name.length));
  const line = stages
    .map((stage) =>
      stage === state ? pc.bold(pc.inverse(` ${STATE_WORDS[stage].name} `)) : STATE_WORDS[stage].name,
    )
    .join(' → ');
  const rows = plan.rails.map(({ name, needs }) => {
    const rail = rails.get(name);
    if (!rail) return '';
    const { bar, color } = PHASE_STYLES[rail.phase];
    const tookMs = rail.enabledAtMs !== null && rail.upAtMs !== null ? rail.upAtMs - rail.enabledAtMs : null;
    const took = tookMs === null ? '' : `up after ${tookMs.toFixed(1)} ms`;
    const mark = rail.faulty ? pc.red('✗') : ' ';
    const after = needs.length === 0 ? '' : pc.gray(`needs ${needs.join(', ')}`);
    return `${mark} ${name.padEnd(nameWidth)}  ${pc[color](bar)}  ${rail.phase.padEnd(8)} ${took.padEnd(20)} ${after}`;
  });
  const good = pgood ? pc.green('asserted') : pc.gray('not asserted');
  return [`${line}   ${sinceStartMs.toFixed(1)} ms`, ...rows, `  ${'pgood'.padEnd(nameWidth)}  ${good}`];
}

/**
 * The lines that a terminal of `rows` shows above the cursor: a line that has left it at the top cannot be drawn over.
 * The stages stay, and the last rails.
 */
function fitting([head = '', ...rest]: readonly string[], rows: number | undefined): string[] {
  const room = Math.max(1, (rows ?? Number.POSITIVE_INFINITY) - 1);
  return rest.length < room ? [head, ...rest] : [head, ...(room > 1 ? rest.slice(1 - room) : [])];
}

/** The begin of a line that fits into `columns`; colours take no column. */
function cut(line: string, columns: number): string {
  let left = columns;
  const take = (text: string): string => {
    const letters = [...text].slice(0, left);
    left -= letters.length;
    return letters.join('');
  };
  const [first = '', ...coloured] = line.split('\u001b[');
  const head = take(first);
  const parts = coloured.map((part) => {
    const end = part.indexOf('m') + 1;
    return `\u001b[${part.slice(0, end)}${take(part.slice(end))}`;
  });
  return [head, ...parts].join('');
}
