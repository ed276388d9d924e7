import {
  CHARACTER_WIDTH,
  FONT_SIZE,
  type Layout,
  LINE_HEIGHT,
  PADDING,
  type PlacedArrow,
  type PlacedState,
} from './layout.ts';

const MARGIN = 12;
/** Radius of the bends of an arrow. */
const BEND = 6;

const STYLE = `
  text { font: ${FONT_SIZE}px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #2b3138 }
  .page { fill: #ffffff }
  .root { fill: #fafbfc; stroke: #c3cad3 }
  .outer { fill: #f1f4f8; stroke: #9aa6b5 }
  .region { fill: #f8f9fb; stroke: #9aa6b5; stroke-dasharray: 5 4 }
  .state { fill: #ffffff; stroke: #46617f; stroke-width: 1.5 }
  .final { fill: none; stroke: #46617f }
  .rule { stroke: #d4dbe3 }
  .name { font-weight: bold; fill: #16324f }
  .tag { fill: #6b7c8f; font-style: italic }
  .arrow { fill: none; stroke: #5b6b7c; stroke-width: 1.25 }
  .head { fill: #5b6b7c }
  .dot { fill: #2b3138 }
  .label { fill: #fffdf2; stroke: #e4dcb8 }
`;

/** The layout as an SVG file. */
export function drawSvg(title: string, { width, height, states, dots, arrows }: Layout): string {
  const [pageWidth, pageHeight] = [width + 2 * MARGIN, height + 2 * MARGIN];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${pageWidth}" height="${pageHeight}" viewBox="${-MARGIN} ${-MARGIN} ${pageWidth} ${pageHeight}" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<style>${STYLE}</style>`,
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>',
    `<rect class="page" x="${-MARGIN}" y="${-MARGIN}" width="${pageWidth}" height="${pageHeight}"/>`,
    ...states.map(drawState),
    ...arrows.map(({ points }) => `<path class="arrow" marker-end="url(#head)" d="${pathOf(points)}"/>`),
    ...dots.map(
      ({ x, y, width: size }) =>
        `<circle class="dot" cx="${x + size / 2}" cy="${y + size / 2}" r="${size / 2}"/>`,
    ),
    // Above the arrows: one that passes behind a label must not strike it through.
    ...arrows.map(drawLabel),
    '</svg>',
    '',
  ].join('\n');
}

function drawState({ state, isRegion, isRoot, lines, x, y, width, height }: PlacedState): string {
  const looks = isRoot ? 'root' : isRegion ? 'region' : state.states.length > 0 ? 'outer' : 'state';
  const tags = state.tags.map((tag) => `#${escapeXml(tag)}`).join(' ');
  const kind = state.kind === 'history' ? ' (history)' : '';
  const ruleY = y + PADDING + LINE_HEIGHT + 2;
  return [
    `<rect class="${looks}" x="${x}" y="${y}" width="${width}" height="${height}" rx="8"/>`,
    ...(state.kind === 'final'
      ? [`<rect class="final" x="${x + 3}" y="${y + 3}" width="${width - 6}" height="${height - 6}" rx="6"/>`]
      : []),
    `<text x="${x + PADDING}" y="${y + PADDING + FONT_SIZE}"><tspan class="name">${escapeXml(state.name + kind)}</tspan>${tags === '' ? '' : `<tspan class="tag" dx="${CHARACTER_WIDTH * 2}">${tags}</tspan>`}</text>`,
    ...(lines.length > 0
      ? [`<line class="rule" x1="${x}" x2="${x + width}" y1="${ruleY}" y2="${ruleY}"/>`]
      : []),
    ...drawLines(lines, x + PADDING, ruleY + FONT_SIZE + 2),
  ].join('\n');
}

function drawLabel({ label }: PlacedArrow): string {
  if (label === null) return '';
  const { lines, x, y, width, height } = label;
  return [
    `<rect class="label" x="${x}" y="${y}" width="${width}" height="${height}" rx="3"/>`,
    ...drawLines(lines, x + 4, y + FONT_SIZE + 2),
  ].join('\n');
}

function drawLines(lines: readonly string[], x: number, firstY: number): string[] {
  return lines.map((line, index) => {
    const text = line.trimStart();
    // Not every viewer keeps spaces.
    const indent = Math.round((line.length - text.length) * CHARACTER_WIDTH);
    return `<text x="${x + indent}" y="${firstY + index * LINE_HEIGHT}">${escapeXml(text)}</text>`;
  });
}

/** Straight pieces with round bends between them. */
function pathOf(points: PlacedArrow['points']): string {
  const [first, ...others] = points;
  if (first === undefined) return '';
  const pieces = [`M${first.x} ${first.y}`];
  others.forEach((point, index) => {
    const before = points[index] ?? point;
    const after = points[index + 2];
    if (after === undefined) {
      pieces.push(`L${point.x} ${point.y}`);
      return;
    }
    const bend = Math.min(BEND, lengthOf(before, point) / 2, lengthOf(point, after) / 2);
    const from = towards(point, before, bend);
    const to = towards(point, after, bend);
    pieces.push(`L${from.x} ${from.y}Q${point.x} ${point.y} ${to.x} ${to.y}`);
  });
  return pieces.join('');
}

type Point = PlacedArrow['points'][number];

function lengthOf(from: Point, to: Point): number {
  return Math.abs(to.x - from.x) + Math.abs(to.y - from.y);
}

/** So far from one point towards another, on a piece that is level or upright. */
function towards(from: Point, to: Point, distance: number): Point {
  return {
    x: from.x + Math.sign(to.x - from.x) * distance,
    y: from.y + Math.sign(to.y - from.y) * distance,
  };
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
