import elk, { type ElkExtendedEdge, type ElkNode, type ElkPoint } from 'elkjs/lib/elk.bundled.js';
import { type Chart, type ChartState, type ChartTransition, labelOf } from './describe.ts';

/** Of a monospaced font, so that the size of a text is known without a font: 0.6 of its height, and no browser differs much. */
export const FONT_SIZE = 12;
export const LINE_HEIGHT = 16;
export const CHARACTER_WIDTH = FONT_SIZE * 0.61;
export const PADDING = 10;
const INITIAL_SIZE = 10;
/** A longer line is broken: the states would be driven apart by what is written between them. */
const LINE_CHARACTERS = 52;

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface PlacedState extends Box {
  readonly state: ChartState;
  /** Region of a parallel state. */
  readonly isRegion: boolean;
  readonly isRoot: boolean;
  /** What stands in the box below its name. */
  readonly lines: readonly string[];
}

export interface PlacedArrow {
  readonly points: readonly ElkPoint[];
  /** Null: from the dot to the state that is entered first. */
  readonly label: (Box & { readonly lines: readonly string[] }) | null;
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  /** Outer ones before those inside. */
  readonly states: readonly PlacedState[];
  readonly dots: readonly Box[];
  readonly arrows: readonly PlacedArrow[];
}

const OPTIONS = {
  'elk.algorithm': 'layered',
  'elk.direction': 'DOWN',
  'elk.hierarchyHandling': 'INCLUDE_CHILDREN',
  'elk.edgeRouting': 'ORTHOGONAL',
  'elk.json.shapeCoords': 'ROOT',
  'elk.json.edgeCoords': 'ROOT',
  'elk.layered.nodePlacement.strategy': 'NETWORK_SIMPLEX',
  'elk.layered.spacing.nodeNodeBetweenLayers': '28',
  'elk.layered.spacing.edgeNodeBetweenLayers': '18',
  'elk.layered.spacing.edgeEdgeBetweenLayers': '14',
  'elk.spacing.nodeNode': '36',
  'elk.spacing.edgeNode': '22',
  'elk.spacing.edgeEdge': '16',
  'elk.spacing.edgeLabel': '4',
};

/** Places states, arrows and labels. The same chart always comes out the same. */
export async function layOut(chart: Chart): Promise<Layout> {
  const layout = await layOutOnce(chart, {});
  // A state with others inside comes out as wide as those; what its own text needs beside that is known only now.
  const missing = layout.states.map(({ state, lines, width }) => {
    const needed = sizeOf([titleOf(state), ...lines]).width + 2 * PADDING;
    return [state.id, Math.max(0, needed - width)] as const;
  });
  return missing.every(([, width]) => width === 0) ? layout : layOutOnce(chart, Object.fromEntries(missing));
}

/** @param missing what is added to the right of what is inside a state, by the state's id */
async function layOutOnce(chart: Chart, missing: Readonly<Record<string, number>>): Promise<Layout> {
  const nodes = new Map<string, PlacedState>();
  const own = new Map<string, string[]>();
  for (const each of chart.transitions) {
    if (each.toId === null) own.set(each.fromId, [...(own.get(each.fromId) ?? []), labelOf(each)]);
  }
  const edges: ElkExtendedEdge[] = [];
  const labels = new Map<string, readonly string[]>();
  for (const [id, { fromId, toId, lines }] of Object.entries(arrowsOf(chart.transitions))) {
    labels.set(id, lines);
    edges.push({
      id,
      sources: [fromId],
      targets: [toId],
      labels: [
        {
          id: `${id} label`,
          text: lines.join(' '),
          ...sizeOf(lines),
          layoutOptions: { 'elk.edgeLabels.inline': 'true' },
        },
      ],
    });
  }
  const nodeOf = (state: ChartState, isRegion: boolean, isRoot: boolean): ElkNode => {
    const lines = linesIn(state, own.get(state.id) ?? []);
    nodes.set(state.id, { state, isRegion, isRoot, lines, x: 0, y: 0, width: 0, height: 0 });
    const { width, height } = sizeOf([titleOf(state), ...lines]);
    if (state.states.length === 0) {
      return { id: state.id, width: width + 2 * PADDING, height: height + 2 * PADDING };
    }
    const children = state.states.map((inner) => nodeOf(inner, state.kind === 'parallel', false));
    if (state.initialId !== null) {
      const dot = `${state.id} initial`;
      children.unshift({ id: dot, width: INITIAL_SIZE, height: INITIAL_SIZE });
      edges.push({ id: `${state.id} first`, sources: [dot], targets: [state.initialId] });
    }
    return {
      id: state.id,
      children,
      layoutOptions: {
        ...OPTIONS,
        'elk.padding': `[top=${height + 2 * PADDING + 6},left=18,bottom=18,right=${18 + (missing[state.id] ?? 0)}]`,
      },
    };
  };
  const root = nodeOf(chart.root, false, true);
  const placed = await new elk.default().layout({ id: '', children: [root], edges, layoutOptions: OPTIONS });
  return layoutFrom(placed, nodes, labels);
}

function layoutFrom(
  placed: ElkNode,
  nodes: ReadonlyMap<string, PlacedState>,
  labels: ReadonlyMap<string, readonly string[]>,
): Layout {
  const states: PlacedState[] = [];
  const dots: Box[] = [];
  const collect = (node: ElkNode): void => {
    const known = nodes.get(node.id);
    if (known) states.push({ ...known, ...boxOf(node) });
    else if (node.id !== '') dots.push(boxOf(node));
    for (const child of node.children ?? []) collect(child);
  };
  collect(placed);
  const arrows = (placed.edges ?? []).map(({ id, sections = [], labels: [label] = [] }): PlacedArrow => {
    const points = sections.flatMap(({ startPoint, bendPoints = [], endPoint }) => [
      startPoint,
      ...bendPoints,
      endPoint,
    ]);
    const lines = labels.get(id);
    return {
      points: points.map(({ x, y }) => ({ x: Math.round(x), y: Math.round(y) })),
      label: lines && label ? { ...boxOf(label), lines } : null,
    };
  });
  const { width, height } = boxOf(placed);
  return { width, height, states, dots, arrows };
}

/** One arrow for all that leads from one state to another. */
function arrowsOf(
  transitions: readonly ChartTransition[],
): Record<string, { fromId: string; toId: string; lines: readonly string[] }> {
  const arrows: Record<string, { fromId: string; toId: string; lines: readonly string[] }> = {};
  for (const each of transitions) {
    const { fromId, toId } = each;
    if (toId === null) continue;
    const id = `${fromId} to ${toId}`;
    arrows[id] = { fromId, toId, lines: [...(arrows[id]?.lines ?? []), ...broken(labelOf(each))] };
  }
  return arrows;
}

function titleOf({ name, kind, tags }: ChartState): string {
  const kindText = kind === 'final' || kind === 'history' ? ` (${kind})` : '';
  return [name + kindText, tags.map((tag) => `#${tag}`).join(' ')].join('  ');
}

function linesIn({ entry, exit, invokes }: ChartState, own: readonly string[]): string[] {
  return [
    ...(invokes.length > 0 ? [`runs ${invokes.join(', ')}`] : []),
    ...(entry.length > 0 ? [`entry / ${entry.join(', ')}`] : []),
    ...(exit.length > 0 ? [`exit / ${exit.join(', ')}`] : []),
    ...own,
  ].flatMap(broken);
}

/** A long line over several, those after the first one set in. */
function broken(line: string): string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > LINE_CHARACTERS) {
    const at = rest.lastIndexOf(' ', LINE_CHARACTERS);
    if (at <= 4) break;
    lines.push(rest.slice(0, at));
    rest = `    ${rest.slice(at + 1)}`;
  }
  return [...lines, rest];
}

function sizeOf(lines: readonly string[]): { width: number; height: number } {
  return {
    width: Math.ceil(Math.max(...lines.map(({ length }) => length)) * CHARACTER_WIDTH) + 8,
    height: lines.length * LINE_HEIGHT + 4,
  };
}

function boxOf({ x = 0, y = 0, width = 0, height = 0 }: Partial<Box>): Box {
  return { x: Math.round(x), y: Math.round(y), width: Math.round(width), height: Math.round(height) };
}
