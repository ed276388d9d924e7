import fc from 'fast-check';
import { chassisOf, partLine } from '../../mocks/plant/faults.ts';
import { lineKey } from '../../mocks/plant/line-key.ts';
import { isLine } from '../../src/board/lines.ts';
import { sourcesOf } from '../../src/board/pgood-sources.ts';
import type { Board, ChassisBoard } from '../../src/board/schema.ts';
import { type BoardDraw, boardDraws, boardNameOf, boardOf, type ShippedBoards } from './boards.ts';

/** What somebody asks of a chassis: systemd's two oneshots, or a person with one verb. */
export type Request = 'startOn' | 'stopOff' | 'on' | 'off' | 'cycle' | 'status' | 'clear' | 'reset';

/** How the state file of the chassis behaves. */
export const STORES = ['kept', 'full', 'fullLater', 'lost', 'torn', 'otherBoot'] as const;
export type StoreKind = (typeof STORES)[number];

/** How a process is disturbed from outside. Times count from its start, calls and writes from 1. */
export type Disturbance =
  /** kill -9 at its n-th write to a line or device, before or after the write took effect. */
  | { readonly kind: 'killAtWrite'; readonly write: number; readonly when: 'before' | 'after' }
  | { readonly kind: 'killAtTime'; readonly atMs: number }
  | (Signal & { readonly kind: 'signalAtWrite'; readonly write: number })
  | (Signal & { readonly kind: 'signalAtTime'; readonly atMs: number })
  /** It stands still: stopped, blocked, or on a machine that has no time for it. */
  | {
      readonly kind: 'stallAtCall';
      readonly call: number;
      readonly when: 'before' | 'after';
      readonly ms: number;
    }
  | { readonly kind: 'stallAtTime'; readonly atMs: number; readonly ms: number }
  /** Every watcher is woken though nothing has changed, over and over. */
  | { readonly kind: 'spuriousWakes'; readonly everyMs: number };

export interface Signal {
  readonly signal: 'SIGTERM' | 'SIGINT';
  /** A second one follows after so long; null: it is left to end by itself. */
  readonly againMs: number | null;
}

/** What becomes of the output of every command: from its so manieth write on nobody takes it. */
export interface BrokenOutput {
  /** Closed by the reader; a full disk; a reader that stands still. */
  readonly errno: 'EPIPE' | 'ENOSPC' | 'EAGAIN';
  readonly from: number;
}

export interface InjectedFault {
  readonly text: string;
  /** Put in when this process of the chassis under test starts, counted from 0. */
  readonly process: number;
  /** Put in only when that process makes its n-th write: between what it read and what it drives. */
  readonly write: number | null;
}

/** One case of the campaign. */
export interface Case {
  readonly boardName: string;
  readonly board: Board;
  /** The chassis under test; others of the board are used in a quiet way at the same time. */
  readonly chassis: number;
  readonly initially: 'off' | 'on';
  readonly requests: readonly Request[];
  readonly faults: readonly InjectedFault[];
  readonly disturbances: readonly { readonly process: number; readonly disturbance: Disturbance }[];
  readonly store: StoreKind;
  readonly output: BrokenOutput | null;
  /** The resident service watches the chassis whenever it is on. */
  readonly watched: boolean;
  /** Somebody else asks for something, so long after the begin. */
  readonly rival: { readonly asks: Request; readonly atMs: number } | null;
  /** For what else has to be decided while the case runs, such as pauses: numbers from 0 to 99, used in turn. */
  readonly dice: readonly number[];
}

interface FaultDraw {
  readonly form: number;
  readonly part: number;
  readonly onset: { readonly kind: 'start' | 'at' | 'afterGood' | 'write'; readonly value: number };
  readonly forMs: number | null;
  /** Comes back so often after it went, each time after as long as it lasted. */
  readonly returns: number;
  readonly process: number;
}

/** A case as it was drawn: plain data, which fast-check can make smaller piece by piece. */
export interface CaseDraw {
  readonly board: BoardDraw;
  readonly chassis: number;
  readonly initially: 'off' | 'on';
  readonly requests: readonly Request[];
  readonly faults: readonly FaultDraw[];
  readonly disturbances: readonly { readonly process: number; readonly disturbance: Disturbance }[];
  readonly store: StoreKind;
  readonly output: BrokenOutput | null;
  readonly watched: boolean;
  readonly rival: { readonly asks: Request; readonly atMs: number } | null;
  readonly dice: readonly number[];
}

/** Every form of the fault grammar, with what it hits. */
const FORMS = [
  ['rail', 'never good'],
  ['rail', 'slow 30ms'],
  ['rail', 'slow 900ms'],
  ['rail', 'slow off 50ms'],
  ['rail', 'slow off 3s'],
  ['rail', 'droops'],
  ['rail', 'droops'],
  ['rail', 'shorts'],
  ['rail', 'shorts'],
  ['enable', 'stuck on'],
  ['enable', 'stuck off'],
  ['enable', 'stuck off'],
  ['button', 'stuck on'],
  ['button', 'stuck off'],
  ['state', 'stuck on'],
  ['state', 'stuck off'],
  ['shutdown', 'ignored'],
  ['good', 'stuck on'],
  ['good', 'stuck off'],
  ['pgood', 'never'],
  ['pgood', 'stuck on'],
  ['pgood', 'glitch 3ms'],
  ['pgood', 'glitch 60ms'],
  ['i2c', 'nack'],
  ['i2c', 'nack 2 times'],
  ['i2c', 'hang'],
  ['i2c', 'hang 1 times'],
  ['i2c', 'busy'],
  ['i2c', 'noise'],
  ['i2c', 'noise 2 times'],
  ['line', 'busy'],
  ['line', 'read error'],
  ['gpio', 'read error'],
] as const;

/** Of them, those with which a rail that is on loses its power. */
const LOSSES = FORMS.flatMap(([what, does], form) =>
  what === 'rail' && ['never good', 'droops', 'shorts'].includes(does) ? [form] : [],
);

/** Which part of its kind a fault hits, counted on from the first one where there are fewer. */
const PARTS = 16;
/** From that part on it is a host that switches itself off, where the board has one. */
const HOST_FROM_PART = 11;

/** A power-on or -off of a healthy board is over by then, its minOffMs aside. */
const BUSY_MS = 350;
/** Writes of a power-on; later ones do not happen on most boards. */
const WRITES = 24;
/** Calls of a power-on or -off into lines and devices. */
const CALLS = 150;

const process = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 4 }) },
);
const momentMs = fc.oneof({ weight: 4, arbitrary: fc.nat(BUSY_MS) }, { weight: 1, arbitrary: fc.nat(3000) });

const faultDraw: fc.Arbitrary<FaultDraw> = fc.record({
  form: fc.nat(FORMS.length - 1),
  part: fc.nat(PARTS - 1),
  onset: fc.oneof(
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('start' as const), value: fc.constant(0) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('at' as const), value: momentMs }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('afterGood' as const), value: fc.nat(120) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('write' as const),
        value: fc.integer({ min: 1, max: WRITES }),
      }),
    },
  ),
  forMs: fc.oneof(
    { weight: 3, arbitrary: fc.constant(null) },
    { weight: 2, arbitrary: fc.integer({ min: 1, max: 400 }) },
  ),
  returns: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(6) }),
  process,
});

const signal = {
  signal: fc.constantFrom('SIGTERM' as const, 'SIGINT' as const),
  // With nothing between, in the middle of what the first one began, or when that is over.
  againMs: fc.oneof(
    { weight: 3, arbitrary: fc.constant(null) },
    { weight: 2, arbitrary: fc.oneof(fc.constant(0), fc.nat(600)) },
  ),
};
const write = fc.integer({ min: 1, max: WRITES });
const when = fc.constantFrom('before' as const, 'after' as const);
const stallMs = fc.oneof(
  fc.integer({ min: 1, max: 60 }),
  fc.integer({ min: 60, max: 2000 }),
  fc.integer({ min: 2000, max: 30_000 }),
);
const kind = <const Kind extends Disturbance['kind']>(name: Kind) => fc.constant(name);

const disturbance: fc.Arbitrary<Disturbance> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: kind('killAtWrite'), write, when }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('killAtTime'), atMs: momentMs }) },
  { weight: 2, arbitrary: fc.record({ kind: kind('signalAtWrite'), write, ...signal }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('signalAtTime'), atMs: momentMs, ...signal }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind('stallAtCall'),
      call: fc.integer({ min: 1, max: CALLS }),
      when,
      ms: stallMs,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: kind('stallAtTime'), atMs: momentMs, ms: stallMs }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: kind('spuriousWakes'), everyMs: fc.integer({ min: 1, max: 50 }) }),
  },
);

const request = fc.constantFrom<Request>(
  'startOn',
  'startOn',
  'stopOff',
  'stopOff',
  'on',
  'off',
  'cycle',
  'status',
  'clear',
);

const anything = {
  board: boardDraws,
  chassis: fc.nat(1),
  initially: fc.constantFrom('off', 'on'),
  requests: fc.array(request, { minLength: 1, maxLength: 3, size: 'max' }),
  faults: fc.oneof(
    { weight: 3, arbitrary: fc.array(faultDraw, { maxLength: 3, size: 'max' }) },
    { weight: 1, arbitrary: fc.constant([]) },
  ),
  disturbances: fc.array(fc.record({ process, disturbance }), { maxLength: 2, size: 'max' }),
  store: fc.oneof(
    { weight: 5, arbitrary: fc.constant('kept' as const) },
    { weight: 4, arbitrary: fc.constantFrom(...STORES) },
  ),
  output: fc.option(
    fc.record({
      errno: fc.constantFrom('EPIPE' as const, 'ENOSPC' as const, 'EAGAIN' as const),
      from: fc.nat(30),
    }),
    { freq: 12 },
  ),
  watched: fc.boolean(),
  rival: fc.option(fc.record({ asks: request, atMs: momentMs }), { freq: 3 }),
  dice: fc.array(fc.nat(99), { minLength: 12, maxLength: 12 }),
};

/** One lasting fault under a plain power-on: what it is called has to be right. */
const onePlainFault = {
  ...anything,
  initially: fc.constant('off' as const),
  requests: fc.constant(['on'] as const),
  faults: fc.tuple(
    faultDraw.map((fault) => ({
      ...fault,
      onset: { kind: 'start' as const, value: 0 },
      forMs: null,
      process: 0,
    })),
  ),
  disturbances: fc.constant([]),
  rival: fc.constant(null),
};

/** A chassis under the service's eyes that breaks while it is on. */
const watchedLoss = {
  ...anything,
  requests: fc.constant(['on', 'status'] as const),
  faults: fc.tuple(
    faultDraw.map((fault) => ({
      ...fault,
      onset: { kind: 'at' as const, value: fault.onset.value },
      process: 1,
    })),
  ),
  watched: fc.constant(true),
};

/** One that loses a rail for good while nobody looks: who watches begins with a standstill, as a service that starts anew does. */
const unwatchedLoss = {
  ...watchedLoss,
  faults: fc.tuple(
    faultDraw.map((fault) => ({
      ...fault,
      form: LOSSES[fault.form % LOSSES.length] ?? 0,
      onset: { kind: 'at' as const, value: 0 },
      forMs: null,
      process: 1,
    })),
  ),
  disturbances: fc.tuple(
    fc.record({
      process: fc.constant(1),
      disturbance: fc.record({
        kind: kind('stallAtCall'),
        call: fc.constant(1),
        when: fc.constant('before' as const),
        ms: stallMs,
      }),
    }),
  ),
  store: fc.constant('kept' as const),
};

export const caseDraws: fc.Arbitrary<CaseDraw> = fc.oneof(
  { weight: 14, arbitrary: fc.record(anything) },
  { weight: 1, arbitrary: fc.record(onePlainFault) },
  { weight: 1, arbitrary: fc.record(watchedLoss) },
  { weight: 1, arbitrary: fc.record(unwatchedLoss) },
);

/** Parts of a chassis that a form can hit, as the grammar names them. */
function partsOf(
  what: (typeof FORMS)[number][0] | 'setup' | 'host' | 'sensor',
  board: Board,
  chassis: number,
): string[] {
  const described = board.chassis[chassis];
  if (!described) throw new RangeError(`no chassis ${chassis}`);
  const rails = Object.entries(described.rails);
  const sources = sourcesOf(described.pgood);
  switch (what) {
    case 'rail':
      return rails.map(([rail]) => `rail ${rail}`);
    case 'enable':
      return rails.filter(([, { enable }]) => enable !== undefined).map(([rail]) => `enable ${rail}`);
    case 'button':
    case 'shutdown':
      return rails.flatMap(([rail, { enable }]) => (enable && 'pulse' in enable ? [`${what} ${rail}`] : []));
    case 'host':
      return rails.flatMap(([rail, { enable }]) =>
        enable && 'pulse' in enable && enable.sleepState ? [`host ${rail}`] : [],
      );
    case 'setup':
      return rails.filter(([, { setup }]) => setup !== undefined).map(([rail]) => `setup ${rail}`);
    case 'state':
      return rails.flatMap(([rail, each]) => (partLine(each, 'state') ? [`state ${rail}`] : []));
    case 'good':
      return rails.filter(([, { good }]) => good !== undefined).map(([rail]) => `good ${rail}`);
    case 'sensor':
      return rails.flatMap(([rail, { good }]) =>
        good && ('hwmon' in good || 'iio' in good) ? [`sensor ${rail}`] : [],
      );
    case 'i2c':
      return Object.keys(board.devices).map((device) => `i2c ${device}`);
    case 'line':
      return [
        ...rails.flatMap(([rail, each]) =>
          (['enable', 'good', 'state'] as const).flatMap((part) =>
            partLine(each, part) ? [`line rail ${rail} ${part}`] : [],
          ),
        ),
        ...Object.keys(described.resets).map((reset) => `line reset ${reset}`),
        ...linesOfPgoodIn(sources),
        ...(described.latch === undefined ? [] : ['line latch']),
        ...(described.hostReset === undefined ? [] : [`line ${lineKey(described.hostReset)}`]),
      ];
    case 'pgood': {
      const signals = sources.flatMap(({ source }, index) =>
        'rails' in source ? [] : [`pgood ${index + 1}`],
      );
      return signals.length > 1 ? ['pgood', ...signals] : signals.length === 1 ? ['pgood'] : [];
    }
    case 'gpio':
      return [what];
  }
}

function linesOfPgoodIn(sources: ReturnType<typeof sourcesOf>): string[] {
  if (sources.length === 1) return sources.some(({ source }) => 'active' in source) ? ['line pgood'] : [];
  return sources.flatMap(({ source }, index) => ('active' in source ? [`line pgood ${index + 1}`] : []));
}

/** What goes wrong with a part that may be absent, in the place of a third of what else does on a board that has such parts. */
const PART_FORMS = [
  ['part', 'absent'],
  ['part', 'absent'],
  ['part', 'absent'],
  ['presence', 'stuck on'],
  ['presence', 'stuck off'],
  ['presence', 'read error'],
] as const;

function partFormOf(
  { form, part }: FaultDraw,
  board: Board,
  chassis: number,
): readonly [string, string] | null {
  const rails = Object.entries(board.chassis[chassis]?.rails ?? {}).filter(
    ([, { presence }]) => presence !== undefined,
  );
  const found = rails[Math.floor(part / 3) % rails.length];
  if (part % 3 !== 2 || found === undefined) return null;
  const [rail, { presence }] = found;
  const [what, does] = PART_FORMS[form % PART_FORMS.length] ?? PART_FORMS[0];
  if (does !== 'read error') return [`${what} ${rail}`, does];
  return presence && isLine(presence) ? [`line rail ${rail} presence`, does] : [`presence ${rail}`, 'hang'];
}

/** What goes wrong with a voltage that a kernel driver reads, in the place of half of what does with a bus. */
const SENSOR_FORMS = ['fails', 'hangs', 'gone'] as const;

/**
 * A host that switches itself off in the place of some, and a set-up that goes wrong in that of an enable that does: the other
 * forms, and boards without them, stay what they are.
 */
function formOf(
  { form, part }: FaultDraw,
  board: Board,
  chassis: number,
):
  | (typeof FORMS)[number]
  | readonly ['setup', 'ignored' | 'altered']
  | readonly ['host', 'shuts down']
  | readonly ['line' | 'gpio', 'hangs']
  | readonly ['sensor', (typeof SENSOR_FORMS)[number]] {
  // No board has so many parts of a kind that one would be spared by it.
  if (part >= HOST_FROM_PART && partsOf('host', board, chassis).length > 0) return ['host', 'shuts down'];
  const found = FORMS[form] ?? ['pgood', 'never'];
  if (found[0] === 'i2c' && part % 2 === 1 && partsOf('sensor', board, chassis).length > 0)
    return ['sensor', SENSOR_FORMS[form % SENSOR_FORMS.length] ?? 'fails'];
  // A chip that hangs in the place of half of what cannot be read.
  if (found[1] === 'read error' && part % 2 === 1) return [found[0], 'hangs'];
  const isOfEnable = found[0] === 'enable' && found[1] === 'stuck off' && part % 2 === 1;
  if (!isOfEnable || partsOf('setup', board, chassis).length === 0) return found;
  return ['setup', part % 4 === 1 ? 'ignored' : 'altered'];
}

/** The faults of a draw: one for each time that it comes. */
function faultsOf(draw: FaultDraw, board: Board, chassis: number): InjectedFault[] {
  const ofPart = partFormOf(draw, board, chassis);
  const [what, does] = ofPart === null ? formOf(draw, board, chassis) : (['gpio', ofPart[1]] as const);
  const parts = ofPart === null ? partsOf(what, board, chassis) : [ofPart[0]];
  const part = parts[draw.part % parts.length];
  // A chassis without any signal of that kind: the case goes without this fault.
  if (part === undefined) return [];
  const { onset, process } = draw;
  const isGlitch = does.startsWith('glitch');
  const forMs = isGlitch ? null : draw.forMs;
  const lasting = forMs === null ? '' : ` for ${forMs}ms`;
  const form = `chassis ${chassis} ${part} ${does}${lasting}`;
  const put = (text: string): InjectedFault => ({
    text,
    process,
    write: onset.kind === 'write' ? onset.value : null,
  });
  if (onset.kind === 'afterGood') return [put(`${form} ${onset.value}ms after good`)];
  const firstMs = onset.kind === 'at' ? onset.value : 0;
  const lastsMs = isGlitch ? Number.parseInt(does.slice('glitch '.length), 10) : forMs;
  const times = lastsMs === null ? 1 : 1 + draw.returns;
  return Array.from({ length: times }, (_, index) => {
    const atMs = firstMs + index * 2 * (lastsMs ?? 0);
    return put(atMs === 0 ? form : `${form} at ${atMs}ms`);
  });
}

/** Half of the chassis that have parts and are off go without one of them. */
function neverThere({ initially, requests }: CaseDraw, board: Board, chassis: number): InjectedFault[] {
  if (initially === 'on' || requests.length % 2 === 0) return [];
  const rails = Object.entries(board.chassis[chassis]?.rails ?? {});
  const [[rail] = []] = rails.filter(([, { presence }]) => presence !== undefined);
  return rail === undefined
    ? []
    : [{ text: `chassis ${chassis} part ${rail} absent`, process: 0, write: null }];
}

/** The board with parts in the place of half of what one other draws: so the cases of other boards stay what they are. */
function boardDrawOf({ board, chassis }: CaseDraw): BoardDraw {
  const isOther = 'shipped' in board && board.shipped === 'relay-bench' && chassis % 2 === 1;
  return isOther ? { shipped: 'risers' } : board;
}

/** A reset of the host in the place of what asks for no power, on a chassis that has one: so the other cases stay what they are. */
function requestOn({ hostReset }: Partial<ChassisBoard> = {}, asked: Request): Request {
  return hostReset !== undefined && (asked === 'status' || asked === 'clear') ? 'reset' : asked;
}

/** The case of a draw. */
export function caseOf(draw: CaseDraw, shipped: ShippedBoards): Case {
  const drawn = boardDrawOf(draw);
  const board = boardOf(drawn, shipped);
  const numbers = chassisOf(board);
  const chassis = numbers[draw.chassis % numbers.length] ?? 0;
  const { rival } = draw;
  return {
    ...draw,
    requests: draw.requests.map((asked) => requestOn(board.chassis[chassis], asked)),
    rival: rival && { ...rival, asks: requestOn(board.chassis[chassis], rival.asks) },
    board,
    boardName: boardNameOf(drawn, board),
    chassis,
    faults: [
      ...neverThere(draw, board, chassis),
      ...draw.faults.flatMap((fault) => faultsOf(fault, board, chassis)),
    ],
  };
}

export function titleOf(played: Case): string {
  const { boardName, chassis, initially, requests, faults, disturbances, store, output, watched, rival } =
    played;
  return [
    `${boardName} ${chassis}, ${initially}, ${requests.join(' ')}${watched ? ', watched' : ''}`,
    ...(rival === null ? [] : [`beside ${rival.asks} at ${rival.atMs} ms`]),
    ...faults.map(
      ({ text, process, write: at }) =>
        `"${text}" in process ${process}${at === null ? '' : ` from its write ${at}`}`,
    ),
    ...disturbances.map(
      ({ process, disturbance }) => `${tellDisturbance(disturbance)} in process ${process}`,
    ),
    ...(store === 'kept' ? [] : [`state ${store}`]),
    ...(output === null ? [] : [`output ${output.errno} from write ${output.from}`]),
  ].join('; ');
}

export function tellDisturbance(disturbance: Disturbance): string {
  switch (disturbance.kind) {
    case 'killAtTime':
      return `kill -9 after ${disturbance.atMs} ms`;
    case 'killAtWrite':
      return `kill -9 ${disturbance.when} write ${disturbance.write}`;
    case 'signalAtTime':
      return `${tellSignal(disturbance)} after ${disturbance.atMs} ms`;
    case 'signalAtWrite':
      return `${tellSignal(disturbance)} at write ${disturbance.write}`;
    case 'stallAtCall':
      return `stall of ${disturbance.ms} ms ${disturbance.when} call ${disturbance.call}`;
    case 'stallAtTime':
      return `stall of ${disturbance.ms} ms after ${disturbance.atMs} ms`;
    case 'spuriousWakes':
      return `spurious wakes every ${disturbance.everyMs} ms`;
  }
}

export function tellSignal({ signal: name, againMs }: Signal): string {
  return againMs === null ? name : `${name} twice (${againMs} ms apart)`;
}
