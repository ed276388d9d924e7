import type { Recorded } from '../run/record.ts';
import type { Watched } from '../sequence/plan.ts';
import type { State } from '../sequence/state.ts';
import { escapeXml } from '../xml.ts';
import { STATE_WORDS } from './words.ts';

/** All lengths are SVG user units, which browsers show as CSS pixels. */
const LABEL_WIDTH = 120;
const PLOT_WIDTH = 960;
const MARGIN = 16;
const TITLE_HEIGHT = 34;
const STAGE_HEIGHT = 26;
const LANE_HEIGHT = 40;
const LINE_LANE_HEIGHT = 26;
const WAVE_HEIGHT = 12;
const AXIS_HEIGHT = 30;

const STAGE_FILL: Readonly<Record<State, string>> = {
  unknown: '#9aa0a6',
  off: '#80868b',
  opPowerStart: '#e8a33d',
  opWaitPowerOn: '#d4b106',
  pgood: '#2e9e5b',
  opPowerStop: '#4a90c2',
  opWaitPowerOff: '#6aa9d4',
  fault: '#d64545',
  failed: '#a32828',
};

/** What has a lane. */
export interface DiagramPlan {
  readonly rails: readonly {
    readonly name: string;
    readonly observable: boolean;
    /** It has no enable. */
    readonly watched?: Watched | null | undefined;
  }[];
  readonly resets: readonly { readonly name: string }[];
}

interface Change {
  readonly atMs: number;
  readonly asserted: boolean;
}

/** A signal over time: its level at the start, and its changes. */
interface Wave {
  readonly initial: boolean;
  readonly changes: readonly Change[];
}

function wave(
  entries: readonly Recorded[],
  initial: (first: Extract<Recorded, { type: 'reconciled' }>) => boolean,
  change: (entry: Recorded) => boolean | undefined,
): Wave {
  const first = entries.find((entry) => entry.type === 'reconciled');
  const start = first?.type === 'reconciled' ? initial(first) : false;
  const changes: Change[] = [];
  let level = start;
  for (const entry of entries) {
    const asserted = change(entry);
    if (asserted === undefined || asserted === level) continue;
    level = asserted;
    changes.push({ atMs: entry.atMs, asserted });
  }
  return { initial: start, changes };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** A step of the time axis: 1, 2 or 5 times a power of ten, so that about ten fit. */
function tickStepMs(spanMs: number): number {
  const rough = spanMs / 10;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= rough) ?? 10;
  return factor * power;
}

/**
 * The timing diagram of a recorded run as an SVG document: the stages on top, a lane for each rail with its
 * enable (upper wave) and its good signal (lower wave), resets and pgood below, times in milliseconds
 * since the run began.
 */
export function renderSvg(entries: readonly Recorded[], plan: DiagramPlan, title: string): string {
  const startMs = entries[0]?.atMs ?? 0;
  const spanMs = Math.max(1, ((entries.at(-1)?.atMs ?? startMs) - startMs) * 1.03);
  const axis: Axis = {
    startMs,
    spanMs,
    x: (atMs) => round(LABEL_WIDTH + ((atMs - startMs) / spanMs) * PLOT_WIDTH),
  };
  const stageTop = MARGIN + TITLE_HEIGHT;
  const lanesTop = stageTop + STAGE_HEIGHT + 8;
  const lanes = drawLanes(lanesOf(entries, plan), axis, lanesTop);

  const width = END_X + MARGIN;
  const height = lanes.bottom + AXIS_HEIGHT + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(title)}">`,
    `<title>${escapeXml(title)}</title>`,
    ...STYLE,
    `<text class="title" x="${MARGIN}" y="${MARGIN + 10}">${escapeXml(title)}</text>`,
    `<text class="key" x="${END_X}" y="${MARGIN + 10}">rails: upper wave enable, lower wave good; high is asserted</text>`,
    ...drawAxis(axis, lanesTop, lanes.bottom),
    ...drawStages(entries, axis, stageTop),
    ...lanes.parts,
    ...drawFaults(entries, axis, stageTop, lanes.bottom),
    '</svg>',
    '',
  ].join('\n');
}

const END_X = LABEL_WIDTH + PLOT_WIDTH;

const STYLE = [
  '<style>',
  'svg{background:#fff;font:12px system-ui,sans-serif;fill:#202124}',
  '.title{font-size:15px;font-weight:600}.label{text-anchor:end;font-weight:500}',
  '.stage{fill:#fff;text-anchor:middle;font-size:11px}.tick{text-anchor:middle;fill:#5f6368;font-size:11px}',
  '.time{fill:#2e7d4f;font-size:10px}path{fill:none}.grid{stroke:#e3e6e8;stroke-width:1}',
  '.enable{stroke:#b06f00;stroke-width:1.6}.good{stroke:#2e9e5b;stroke-width:1.6}',
  '.reset{stroke:#7a5ca8;stroke-width:1.6}.pgood{stroke:#2e9e5b;stroke-width:2.2}',
  '.fault{stroke:#d64545;stroke-width:1.4;stroke-dasharray:4 3}.faultText{fill:#b3261e;font-weight:600}',
  '.key{fill:#5f6368;font-size:11px;text-anchor:end}',
  '</style>',
];

/** The time axis. */
interface Axis {
  readonly startMs: number;
  readonly spanMs: number;
  x(atMs: number): number;
}

function label(text: string, y: number): string {
  return `<text class="label" x="${LABEL_WIDTH - 10}" y="${y}">${escapeXml(text)}</text>`;
}

function drawStages(entries: readonly Recorded[], { startMs, x }: Axis, top: number): string[] {
  const stages: { state: State; fromMs: number }[] = [];
  for (const entry of entries) {
    if (entry.type === 'reconciled' && stages.length === 0)
      stages.push({ state: entry.state, fromMs: entry.atMs });
    if (entry.type === 'state') stages.push({ state: entry.to, fromMs: entry.atMs });
  }
  const parts = [label('stage', top + 17)];
  stages.forEach(({ state, fromMs }, index) => {
    const left = x(fromMs);
    const right = index + 1 < stages.length ? x(stages[index + 1]?.fromMs ?? fromMs) : END_X;
    const { name, short } = STATE_WORDS[state];
    const tooltip = `<title>${name} from ${(fromMs - startMs).toFixed(1)} ms</title>`;
    parts.push(
      `<rect x="${left}" y="${top}" width="${round(Math.max(1, right - left))}" height="${STAGE_HEIGHT - 4}" fill="${STAGE_FILL[state]}">${tooltip}</rect>`,
    );
    // Seven units a letter: a name that does not fit is left to the tooltip.
    const shown = [name, short].find((word) => right - left > word.length * 7 + 6);
    if (shown !== undefined) {
      parts.push(`<text class="stage" x="${round((left + right) / 2)}" y="${top + 15}">${shown}</text>`);
    }
  });
  return parts;
}

/** A row of the diagram: one wave, or for a rail with an enable and a good signal two. */
interface Lane {
  readonly name: string;
  readonly height: number;
  readonly labelY: number;
  readonly waves: readonly { readonly wave: Wave; readonly kind: string; readonly what: string }[];
}

function lanesOf(entries: readonly Recorded[], plan: DiagramPlan): Lane[] {
  const line = (name: string, kind: string, what: string, of: Wave): Lane => ({
    name,
    height: LINE_LANE_HEIGHT,
    labelY: 13,
    waves: [{ wave: of, kind, what }],
  });
  const rails = plan.rails.map(({ name, observable, watched }): Lane => {
    const enable = wave(
      entries,
      (first) => first.rails[name]?.enabled ?? false,
      (entry) => (entry.type === 'enable' && entry.rail === name ? entry.asserted : undefined),
    );
    const good = wave(
      entries,
      (first) => first.rails[name]?.good ?? false,
      (entry) => (entry.type === 'rail' && entry.rail === name ? entry.good : undefined),
    );
    if (watched) return line(name, 'good', `${name} good`, good);
    const waves = [
      { wave: enable, kind: 'enable', what: `${name} enable` },
      ...(observable ? [{ wave: good, kind: 'good', what: `${name} good` }] : []),
    ];
    return { name, height: LANE_HEIGHT, labelY: 20, waves };
  });
  const resets = plan.resets.map(({ name }) => {
    const reset = wave(
      entries,
      (first) => first.resetsAsserted[name] ?? false,
      (entry) => (entry.type === 'reset' && entry.reset === name ? entry.asserted : undefined),
    );
    return line(name, 'reset', `${name} asserted`, reset);
  });
  const pgood = wave(
    entries,
    (first) => first.pgood,
    (entry) => (entry.type === 'pgood' ? entry.level : undefined),
  );
  return [...rails, ...resets, line('pgood', 'pgood', 'pgood', pgood)];
}

function drawLanes(
  lanes: readonly Lane[],
  axis: Axis,
  top: number,
): { readonly parts: string[]; readonly bottom: number } {
  const parts: string[] = [];
  let y = top;
  for (const { name, height, labelY, waves } of lanes) {
    parts.push(label(name, y + labelY));
    for (const [index, { wave: drawn, kind, what }] of waves.entries()) {
      parts.push(drawWave(drawn, axis, y + 2 + index * 18, kind, what));
      if (kind !== 'good') continue;
      for (const { atMs, asserted } of drawn.changes) {
        if (!asserted) continue;
        const at = (atMs - axis.startMs).toFixed(1);
        parts.push(`<text class="time" x="${axis.x(atMs) + 4}" y="${y + 12 + index * 18}">${at}</text>`);
      }
    }
    y += height;
  }
  return { parts, bottom: y };
}

function drawWave(
  { initial, changes }: Wave,
  { startMs, x }: Axis,
  top: number,
  kind: string,
  what: string,
): string {
  const levelY = (asserted: boolean): number => (asserted ? top : top + WAVE_HEIGHT);
  let path = `M${LABEL_WIDTH} ${levelY(initial)}`;
  for (const { atMs, asserted } of changes) path += `H${x(atMs)}V${levelY(asserted)}`;
  const said = changes
    .map(({ atMs, asserted }) => `${asserted ? 'on' : 'off'} at ${(atMs - startMs).toFixed(1)} ms`)
    .join(', ');
  return `<path class="${kind}" d="${path}H${END_X}"><title>${escapeXml(`${what}: ${said || 'no change'}`)}</title></path>`;
}

function drawFaults(entries: readonly Recorded[], { x }: Axis, stageTop: number, bottom: number): string[] {
  return entries.flatMap((entry) => {
    if (entry.type !== 'fault') return [];
    const at = x(entry.atMs);
    const anchor = at > LABEL_WIDTH + PLOT_WIDTH / 2 ? 'end' : 'start';
    return [
      `<path class="fault" d="M${at} ${stageTop - 3}V${bottom}"/>`,
      `<text class="faultText" x="${at + (anchor === 'end' ? -5 : 5)}" y="${stageTop - 6}" text-anchor="${anchor}">${escapeXml(entry.fault.reason)}</text>`,
    ];
  });
}

function drawAxis({ startMs, spanMs, x }: Axis, top: number, bottom: number): string[] {
  const parts: string[] = [];
  const stepMs = tickStepMs(spanMs);
  for (let atMs = 0; atMs <= spanMs; atMs += stepMs) {
    const at = x(startMs + atMs);
    parts.push(`<path class="grid" d="M${at} ${top}V${bottom}"/>`);
    parts.push(`<text class="tick" x="${at}" y="${bottom + 16}">${round(atMs)}</text>`);
  }
  parts.push(`<text class="tick" x="${END_X}" y="${bottom + 28}">ms</text>`);
  return parts;
}
