import { sourcesOf } from './pgood-sources.ts';
import type { Board, ChassisBoard, LineBoard, PresenceBoard } from './schema.ts';

/** A GPIO line and its role in a chassis. */
export interface BoardLine {
  readonly chassis: number;
  /** For messages: `enable of rail P1V8`. */
  readonly role: string;
  /** The keys that lead to it in the board file. */
  readonly at: readonly string[];
  readonly ref: LineBoard;
}

/** Roles of the front panel's buttons. */
export const PANEL_POWER = 'power button of the panel';
export const PANEL_RESET = 'reset button of the panel';
/** Roles of what the host says of itself. */
export const POST_COMPLETE = 'POST complete of the host';
export const PLATFORM_RESET = 'platform reset of the host';
/** Role of the line that resets a host which keeps its power. */
export const HOST_RESET = 'host reset';

/** What tells of one part, and the rails of that part. */
export interface BoardPresence {
  readonly role: string;
  readonly ref: PresenceBoard;
  readonly rails: readonly string[];
}

/** Every presence of a chassis once, by the first rail that has it. */
export function presencesOf({ rails }: ChassisBoard): BoardPresence[] {
  const all = Object.entries(rails).flatMap(([rail, { presence }]) =>
    presence === undefined ? [] : [{ rail, ref: presence, key: JSON.stringify(presence) }],
  );
  return all.flatMap(({ rail, ref, key }, index) => {
    if (all.findIndex((each) => each.key === key) < index) return [];
    const ofPart = all.filter((each) => each.key === key).map((each) => each.rail);
    return [{ role: `presence of rail ${rail}`, ref, rails: ofPart }];
  });
}

/** What something is seen by is a line. */
export function isLine<Part extends object>(part: Part): part is Extract<Part, LineBoard> {
  return 'chip' in part || 'name' in part;
}

/** All GPIO lines of a board, in the order of the file. */
export function linesOf(board: Board): BoardLine[] {
  return Object.entries(board.chassis).flatMap(([number, chassis]) =>
    linesOfChassis(Number(number), chassis),
  );
}

function linesOfChassis(number: number, chassis: ChassisBoard): BoardLine[] {
  const lines: BoardLine[] = [];
  const add = (role: string, ref: LineBoard, ...keys: string[]) =>
    lines.push({ chassis: number, role, at: ['chassis', String(number), ...keys], ref });
  for (const [rail, { enable, good }] of Object.entries(chassis.rails)) {
    if (enable && 'pulse' in enable) {
      const { pulse, state } = enable;
      add(`power button of rail ${rail}`, pulse, 'rails', rail, 'enable', 'pulse');
      if (state) add(`state of rail ${rail}`, state, 'rails', rail, 'enable', 'state');
    } else if (enable && !('pmbus' in enable)) add(`enable of rail ${rail}`, enable, 'rails', rail, 'enable');
    if (good && isLine(good)) add(`good signal of rail ${rail}`, good, 'rails', rail, 'good');
  }
  for (const { role, ref, rails } of presencesOf(chassis)) {
    if (isLine(ref)) add(role, ref, 'rails', rails[0] ?? '', 'presence');
  }
  for (const { source, role, keys } of sourcesOf(chassis.pgood)) {
    if (!('rails' in source) && isLine(source)) add(role, source, ...keys);
  }
  if (chassis.latch) add('latch', chassis.latch, 'latch');
  for (const [reset, ref] of Object.entries(chassis.resets)) add(`reset ${reset}`, ref, 'resets', reset);
  if (chassis.hostReset) add(HOST_RESET, chassis.hostReset, 'hostReset');
  const { postComplete, platformReset } = chassis.hostSignals ?? {};
  if (postComplete) add(POST_COMPLETE, postComplete, 'hostSignals', 'postComplete');
  if (platformReset) add(PLATFORM_RESET, platformReset, 'hostSignals', 'platformReset');
  if (chassis.panel?.power) add(PANEL_POWER, chassis.panel.power, 'panel', 'power');
  if (chassis.panel?.reset) add(PANEL_RESET, chassis.panel.reset, 'panel', 'reset');
  return lines;
}
