import { describe, expect, it } from 'vitest';
import { nextDeadlineMs, readingsDue } from '../../src/sequence/deadlines.ts';
import type { SequenceEvent } from '../../src/sequence/events.ts';
import { type ChassisSnapshot, step, takeUp, viewOf } from '../../src/sequence/machine.ts';
import { downBefore, type Plan, planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import { railState, STATES, type State } from '../../src/sequence/state.ts';

/**
 * Every state that the machine can get into with a small chassis, whatever the hardware does: signals come,
 * stay away or drop at any moment, any drive fails, requests come at any time. In each of them the
 * invariants below must hold.
 */

const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });
const rail = (enable: number, needs: string[]) => ({
  enable: line(enable),
  good: line(10 + enable),
  needs,
  settleMs: 1,
  onTimeoutMs: 2,
  offTimeoutMs: 2,
});

const CHAIN = planOf(
  {
    rails: { A: rail(0, []), B: rail(1, ['A']) },
    pgood: { ...line(20), deglitchMs: 1, onTimeoutMs: 3, offTimeoutMs: 2 },
    resets: { CPU: { ...line(21), releaseDelayMs: 1 } },
    evidence: [],
    minOffMs: 0,
  },
  {},
);
const FORK = planOf(
  {
    rails: { A: rail(0, []), B: rail(1, ['A']), C: rail(2, ['A']) },
    pgood: { ...line(20), deglitchMs: 0, onTimeoutMs: 2, offTimeoutMs: 2 },
    resets: {},
    evidence: [],
    minOffMs: 0,
  },
  {},
);
/** Two rails that go off in the order in which they come. */
const ORDERED = planOf(
  {
    rails: { A: rail(0, []), B: rail(1, ['A']), C: { ...rail(2, ['A']), offAfter: ['B'] } },
    pgood: { ...line(20), deglitchMs: 0, onTimeoutMs: 2, offTimeoutMs: 2 },
    resets: {},
    evidence: [],
    minOffMs: 0,
  },
  {},
);
/** The rail that goes first rests; nothing shows it, or its signal does. */
const RESTING: Plan = {
  ...CHAIN,
  rails: CHAIN.rails.map((each) => ({ ...each, offSettleMs: each.name === 'B' ? 2 : 0 })),
};
const RESTING_UNSEEN: Plan = {
  ...RESTING,
  rails: RESTING.rails.map((each) => ({ ...each, observable: each.name !== 'B' })),
};
/** The chassis can do without B. */
const WITHOUT: Plan = {
  ...CHAIN,
  rails: CHAIN.rails.map((each) => ({ ...each, isLogOnly: each.name === 'B' })),
};
const LATCHED: Plan = { ...CHAIN, latched: true };
/** Its reset waits for the host. */
const HELD: Plan = { ...CHAIN, resets: CHAIN.resets.map((each) => ({ ...each, isHeld: true })) };
/** Nothing shows U but its enable. */
const OF_RAILS = planOf(
  {
    rails: { A: rail(0, []), U: { ...rail(1, ['A']), good: undefined }, B: rail(2, ['U']) },
    pgood: { rails: true, deglitchMs: 1, onTimeoutMs: 3, offTimeoutMs: 2 },
    resets: { CPU: { ...line(21), releaseDelayMs: 1 } },
    evidence: [],
    minOffMs: 0,
  },
  {},
);
/** What switches and shows C is powered by A, which it needs only through B. */
const BEHIND: Plan = planOf(
  {
    rails: {
      A: rail(0, []),
      B: rail(1, ['A']),
      C: { ...rail(2, ['B']), enable: { pmbus: 'vr', page: 0 } },
    },
    // A loss that is not believed yet must not be built upon.
    pgood: { ...line(20), deglitchMs: 1, onTimeoutMs: 2, offTimeoutMs: 2 },
    resets: {},
    evidence: [],
    minOffMs: 0,
  },
  { vr: { bus: 1, address: '0x40', pec: false, poweredBy: 'A' } },
);

const watchedRail = (at: number, needs: string[]) => ({
  good: line(10 + at),
  needs,
  settleMs: 1,
  onTimeoutMs: 2,
  offTimeoutMs: 2,
});
/** A supply that nobody switches, and a rail that comes and goes with one that is switched. */
const WATCHED: Plan = planOf(
  {
    rails: { S: watchedRail(0, []), A: rail(1, ['S']), B: rail(2, ['A']), W: watchedRail(3, ['A']) },
    pgood: { ...line(20), deglitchMs: 0, onTimeoutMs: 2, offTimeoutMs: 2 },
    resets: {},
    evidence: [],
    minOffMs: 0,
  },
  {},
);
/** What is only watched stands between two rails that are switched. */
const BETWEEN: Plan = planOf(
  {
    rails: { A: rail(0, []), W: { ...watchedRail(1, ['A']), settleMs: 0 }, B: rail(2, ['W']) },
    pgood: { ...line(20), deglitchMs: 1, onTimeoutMs: 2, offTimeoutMs: 2 },
    resets: {},
    evidence: [],
    minOffMs: 0,
  },
  {},
);

const button = (at: number) => ({
  pulse: line(at),
  state: line(30 + at),
  sleepState: true as const,
  onMs: 1,
  takenMs: 1,
  forceOffMs: 2,
});
const sleeper = (hasGood: boolean): Plan =>
  planOf(
    {
      rails: {
        A: rail(0, []),
        H: { ...rail(1, ['A']), enable: button(1), ...(hasGood ? {} : { good: undefined }) },
      },
      pgood: { ...line(20), deglitchMs: 1, onTimeoutMs: 3, offTimeoutMs: 2 },
      resets: {},
      evidence: [],
      minOffMs: 0,
    },
    {},
  );
/** The host of H has a sleep state, and does not take A with it. */
const SLEEPER = sleeper(true);
/** Nothing else shows H. */
const SEEN_ASLEEP = sleeper(false);

/** What the pins carry in this history: the machine may believe otherwise after a failed drive. */
interface Pins {
  readonly enabled: Readonly<Record<string, boolean>>;
  readonly reset: boolean;
  /** Of a host: whether it was seen awake last, or has gone to sleep since while all its power stood. */
  readonly host: 'unseen' | 'awake' | 'left';
}

interface Node {
  readonly snapshot: ChassisSnapshot;
  readonly pins: Pins;
  readonly trail: Trail | null;
}

/** How a node was come to, last event first: lists of their own would be longer than all nodes together. */
interface Trail {
  readonly event: string;
  readonly before: Trail | null;
}

function textOf(trail: Trail): string {
  const events = [];
  for (let at: Trail | null = trail; at !== null; at = at.before) events.unshift(at.event);
  return events.join(' ');
}

/** Two nodes with the same key behave the same from here on: times count only as distances from now. */
function keyOf({ snapshot, pins }: Node): string {
  const { state, sequence } = viewOf(snapshot);
  const { plan, nowMs, rails, pgood, fault, readings, ...context } = snapshot.context;
  // No time of these plans is longer than 3 ms: what was longer ago counts no more.
  const ago = (timeMs: number | null) => (timeMs === null ? null : Math.max(-3, timeMs - nowMs));
  return JSON.stringify([
    state,
    plan.rails.map(({ name }) => {
      const rail = rails[name];
      if (!rail) return null;
      const counting = (rail.phase === 'rising' && rail.good) || (rail.phase === 'up' && !rail.good);
      const times = [counting ? ago(rail.sinceMs) : 0, ago(rail.deadlineMs)];
      return [rail.phase, rail.enabled, rail.good, rail.missed, ...times];
    }),
    [pgood.level, pgood.good, pgood.level === pgood.good ? 0 : ago(pgood.sinceMs)],
    // Where it came decides how the power is lowered; what else it says decides nothing.
    fault?.state === 'pgood' ? 'loss' : fault !== null,
    // When a signal was read counts only against times that are over: of those, what is due tells.
    readingsDue(plan, state, sequence, readings),
    // Each power-on begins anew with it.
    state === 'pgood' ? [readings.sleep.isAwake, ago(readings.sleep.leftMs)] : readings.sleep.hasLeft,
    [readings.check?.left, LOWERING.includes(state) ? [...readings.driven].sort() : 0],
    [context.resetsAsserted, ago(context.stageDeadlineMs), ago(context.readyMs), context.latchPending],
    pins,
  ]);
}

function eventsFrom(plan: Plan, { snapshot }: Node): SequenceEvent[] {
  const { state, sequence, readings } = viewOf(snapshot);
  const nowMs = sequence.nowMs;
  // Levels change between ticks; one millisecond is the grain of every time in these plans.
  const atMs = nowMs;
  const deadlineMs = nextDeadlineMs(plan, state, sequence);
  const due = readingsDue(plan, state, sequence, readings);
  const level = (source: string | null, isOther: boolean): SequenceEvent => {
    const times = { askedMs: nowMs, atMs };
    if (source === null) return { type: 'PGOOD_LEVEL', good: sequence.pgood.level !== isOther, ...times };
    const { good } = railState(sequence, source);
    return { type: 'RAIL_LEVEL', rail: source, good: good !== isOther, ...times };
  };
  const unread = (signal: 'good' | 'pgood', rail: string | null): SequenceEvent => {
    const times = { askedMs: nowMs, atMs };
    return { type: 'READ_FAILED', signal, rail, code: 'GPIO_FAILED', reason: 'EIO', ...times };
  };
  return [
    { type: 'POWER_ON', atMs },
    { type: 'POWER_OFF', atMs },
    { type: 'CLEAR', atMs },
    // What is read is answered before time passes; late answers are tried with the runner.
    ...(deadlineMs === null || due.length > 0 ? [] : [{ type: 'TICK' as const, atMs: nowMs + 1 }]),
    ...[...plan.rails.map(({ name }) => name), null].map((source) => level(source, true)),
    // What the machine wants to have read may still be as it was; in which order it is read makes no difference.
    ...due.slice(0, 1).map((source) => level(source, false)),
    unread('pgood', null),
    ...plan.rails.flatMap(({ name, isLogOnly }) => (isLogOnly ? [unread('good', name)] : [])),
    ...(plan.latched ? [{ type: 'LATCHED' as const, atMs }] : []),
    // Nobody looks at it while the chassis is not on.
    ...(plan.sleep !== null && state === 'pgood'
      ? (['awake', 'leaving', 'asleep', 'unread'] as const).map((seen) => ({
          type: 'HOST_SLEEP' as const,
          seen,
          atMs,
        }))
      : []),
  ];
}

interface Explored {
  readonly nodes: number;
  readonly statesSeen: ReadonlySet<State>;
  readonly violations: readonly string[];
}

const GOING: readonly State[] = ['opPowerStart', 'opWaitPowerOn', 'opPowerStop', 'opWaitPowerOff', 'fault'];
/** Requests that end these begin a new lowering, and those that begin one drive all anew. */
const LOWERING: readonly State[] = ['opPowerStop', 'opWaitPowerOff', 'fault'];
const RISING: readonly State[] = ['opPowerStart', 'opWaitPowerOn'];

function explore(plan: Plan, limit: number): Explored {
  const off = reconcile(
    plan,
    {
      rails: Object.fromEntries(plan.rails.map(({ name }) => [name, { enabled: false, good: false }])),
      pgood: false,
      resetsAsserted: Object.fromEntries(plan.resets.map(({ name }) => [name, true])),
    },
    null,
    1000,
  );
  const start: Node = {
    snapshot: takeUp(plan, off),
    pins: {
      enabled: Object.fromEntries(
        plan.rails.flatMap(({ name, watched }) => (watched === null ? [[name, false]] : [])),
      ),
      reset: true,
      host: 'unseen',
    },
    trail: null,
  };
  const seen = new Set([keyOf(start)]);
  const statesSeen = new Set<State>();
  const violations: string[] = [];

  // One step further from the start at a time; no node is kept once all that follows from it is known.
  for (let nodes = [start]; nodes.length > 0 && violations.length === 0 && seen.size <= limit; ) {
    const found: Node[] = [];
    for (const node of nodes) {
      statesSeen.add(viewOf(node.snapshot).state);
      for (const event of eventsFrom(plan, node)) {
        const next = follow(plan, node, event, false);
        // A failing drive is a variant of every event that drives: the first, or none, fails.
        for (const each of next.drives ? [next, follow(plan, node, event, true)] : [next]) {
          violations.push(...each.violations);
          const key = keyOf(each.node);
          if (seen.has(key)) continue;
          seen.add(key);
          found.push(each.node);
        }
      }
    }
    nodes = found;
  }
  return { nodes: seen.size, statesSeen, violations };
}

/** What is known of the host after the event. */
function hostAfter(plan: Plan, { snapshot, pins }: Omit<Node, 'trail'>, event: SequenceEvent): Pins['host'] {
  if (event.type !== 'HOST_SLEEP') return pins.host;
  if (event.seen === 'awake') return 'awake';
  const { rails, pgood } = viewOf(snapshot).sequence;
  const isSeen = (name: string) => plan.sleep?.rail !== name || !plan.sleep.isItsSignal;
  const stands = pgood.level && Object.entries(rails).every(([name, { good }]) => good || !isSeen(name));
  if (event.seen === 'leaving' && pins.host === 'awake' && stands) return 'left';
  return pins.host === 'left' ? 'left' : 'unseen';
}

interface Followed {
  readonly node: Node;
  readonly violations: readonly string[];
  /** An enable was driven, which could fail. */
  readonly drives: boolean;
}

/** One event with all that follows from it, as the runner carries it out; where it is `failing`, the first drive fails. */
function follow(
  plan: Plan,
  { snapshot, pins, trail }: Node,
  first: SequenceEvent,
  failing: boolean,
): Followed {
  const violations: string[] = [];
  const here: Trail = { event: failing ? `${first.type}!` : first.type, before: trail };
  const say = (what: string) => violations.push(`${what} after ${textOf(here)}`);
  let drives = false;
  let enabled = { ...pins.enabled };
  let reset = pins.reset;
  const host = hostAfter(plan, { snapshot, pins }, first);
  let failedRail: string | null = null;
  let current = snapshot;
  const pending: SequenceEvent[] = [first];
  for (let event = pending.shift(); event !== undefined; event = pending.shift()) {
    const next = step(current, event);
    current = next.snapshot;
    const { state, sequence } = next;
    const answers = next.actions.filter(({ type }) => type === 'answer').length;
    const isRequest = event.type === 'POWER_ON' || event.type === 'POWER_OFF' || event.type === 'CLEAR';
    if (answers !== (isRequest ? 1 : 0)) say(`${answers} answers to ${event.type}`);
    for (const action of next.actions) {
      if (action.type === 'driveEnable') {
        drives = true;
        if (failing && failedRail === null) {
          failedRail = action.rail;
          const { rail: name, asserted } = action;
          const failure = { code: 'GPIO_FAILED', reason: 'EIO', atMs: sequence.nowMs };
          pending.push({
            type: 'DRIVE_FAILED',
            drive: { what: 'enable', rail: name },
            asserted,
            readBack: false,
            ...failure,
          });
          if (RISING.includes(state)) break;
          continue;
        }
        const own = plan.rails.find(({ name }) => name === action.rail);
        if (own?.watched) say(`${action.rail} is only watched, and was driven`);
        if (action.asserted) {
          if (!RISING.includes(state)) say(`${action.rail} enabled in ${state}`);
          for (const need of [...(own?.needs ?? []), ...(own?.poweredBy ?? [])]) {
            if (enabled[need] === false) say(`${action.rail} enabled while ${need} is not`);
            if (!railState(sequence, need).good) say(`${action.rail} enabled while ${need} is not good`);
          }
          if (enabled[action.rail]) say(`${action.rail} enabled twice`);
        } else {
          for (const other of own ? downBefore(own) : []) {
            // One that cannot be switched off is beyond help, and the rest goes down all the same.
            const stuck = railState(sequence, other).phase === 'stuck' || other === failedRail;
            if (enabled[other] && !stuck) say(`${action.rail} disabled while ${other} is enabled`);
          }
        }
        enabled = { ...enabled, [action.rail]: action.asserted };
        const { rail: name, asserted } = action;
        pending.push({ type: 'DRIVEN', rail: name, asserted, atMs: sequence.nowMs });
      } else if (action.type === 'driveReset') {
        const ready =
          sequence.pgood.good && Object.values(sequence.rails).every(({ phase }) => phase === 'up');
        if (!action.asserted && !ready) say('reset released before the chassis was ready');
        if (!action.asserted && plan === HELD) say('the sequence released what waits for the host');
        reset = action.asserted;
      } else if (action.type === 'tellMissed') {
        const { missed } = railState(viewOf(snapshot).sequence, action.rail);
        if (first.type !== 'POWER_ON' && missed === action.miss) say(`${action.rail} is told of twice`);
      } else if (action.type === 'tellHostOff' && host !== 'left') {
        say('a host is told to have switched itself off that did not');
      }
    }
    const isUnasked = first.type !== 'POWER_OFF' && viewOf(snapshot).state === 'pgood';
    if (isUnasked && state === 'opPowerStop' && host !== 'left') say('power was taken down for nothing');
    const stuck = Object.values(sequence.rails).some(({ phase }) => phase === 'stuck');
    if ((state === 'off' || state === 'failed') && !stuck && failedRail === null) {
      for (const [name, on] of Object.entries(enabled)) if (on) say(`${name} is left enabled in ${state}`);
    }
    if ((state === 'off' || state === 'failed') && !reset) say(`reset is released in ${state}`);
    if (sequence.fault?.state === 'pgood' && !stuck && failedRail === null) {
      for (const [name, on] of Object.entries(enabled))
        if (on) say(`${name} is not off at once after a loss`);
    }
    const waits = nextDeadlineMs(plan, state, sequence) !== null || pending.length > 0;
    if (GOING.includes(state) && !waits && readingsDue(plan, state, sequence, next.readings).length === 0) {
      say(`${state} waits without a deadline`);
    }
    if (state === 'failed' && sequence.fault === null) say('failed without a fault');
    const { fault } = sequence;
    const isOfRise = fault?.kind === 'railTimeout' || fault?.kind === 'railLost';
    if (isOfRise && plan.rails.some(({ name, isLogOnly }) => isLogOnly && name === fault.rail))
      say(`${fault.rail} took the power down, and the chassis can do without it`);
    // Everything else is there, and nothing is waited for any more.
    const isMissed = Object.values(sequence.rails).some(({ missed }) => missed !== undefined);
    if (state === 'pgood' && isMissed && plan !== WITHOUT) say('a rail is missed that counts');
  }
  const isOn = viewOf(current).state === 'pgood';
  return {
    node: {
      snapshot: current,
      // What waits for the host is released by another one: at once, which is the worst.
      pins: { enabled, reset: reset && !(plan === HELD && isOn), host: isOn ? host : 'unseen' },
      trail: here,
    },
    violations,
    drives,
  };
}

describe('in every state that hardware can bring about', () => {
  it.each([
    ['a chain with a reset', CHAIN],
    ['a fork', FORK],
    ['a fork of which the first goes off first', ORDERED],
    ['a rail that rests before the next one goes', RESTING],
    ['a rail that rests, and that nothing shows', RESTING_UNSEEN],
    ['a rail that the chassis can do without', WITHOUT],
    ['a latching board', LATCHED],
    ['a reset that waits for the host', HELD],
    ['a rail of a device that another rail powers', BEHIND],
    ['pgood that is taken from rails', OF_RAILS],
    ['a supply, and a rail that is only watched', WATCHED],
    ['a rail that is only watched between two that are switched', BETWEEN],
    ['a host with a sleep state', SLEEPER],
    ['a host that only its sleep state shows', SEEN_ASLEEP],
  ])(
    'the invariants hold: %s',
    (_, plan) => {
      const LIMIT = 60_000;
      const { nodes, statesSeen, violations } = explore(plan, LIMIT);
      expect(violations).toEqual([]);
      expect(nodes).toBeLessThan(LIMIT);
      expect(nodes).toBeGreaterThan(100);
      expect([...statesSeen].sort()).toEqual(STATES.filter((state) => state !== 'unknown').sort());
    },
    180_000,
  );
});

describe('left alone, every state comes to rest', () => {
  it.each([
    ['a chain with a reset', CHAIN],
    ['a fork', FORK],
    ['a fork of which the first goes off first', ORDERED],
    ['a rail that rests before the next one goes', RESTING],
    ['a rail that the chassis can do without', WITHOUT],
    ['a rail of a device that another rail powers', BEHIND],
    ['a supply, and a rail that is only watched', WATCHED],
    ['a rail that is only watched between two that are switched', BETWEEN],
  ])('%s', (_, plan) => {
    for (const good of [[], ['A'], plan.rails.map(({ name }) => name)]) {
      for (const request of ['POWER_ON', 'POWER_OFF'] as const) {
        const observation = {
          rails: Object.fromEntries(
            plan.rails.map(({ name }) => [name, { enabled: good.includes(name), good: good.includes(name) }]),
          ),
          pgood: false,
          resetsAsserted: Object.fromEntries(plan.resets.map(({ name }) => [name, true])),
        };
        let snapshot = step(takeUp(plan, reconcile(plan, observation, null, 1000)), {
          type: request,
          atMs: 1001,
        }).snapshot;
        for (let ticks = 0; ; ticks += 1) {
          const { state, sequence, readings } = viewOf(snapshot);
          const { nowMs } = sequence;
          expect(ticks).toBeLessThan(100);
          const [source] = readingsDue(plan, state, sequence, readings);
          const times = { askedMs: nowMs, atMs: nowMs };
          if (source === null) {
            snapshot = step(snapshot, { type: 'PGOOD_LEVEL', good: sequence.pgood.level, ...times }).snapshot;
            continue;
          }
          if (source !== undefined) {
            const { good } = railState(sequence, source);
            snapshot = step(snapshot, { type: 'RAIL_LEVEL', rail: source, good, ...times }).snapshot;
            continue;
          }
          const deadlineMs = nextDeadlineMs(plan, state, sequence);
          if (deadlineMs === null) break;
          snapshot = step(snapshot, { type: 'TICK', atMs: deadlineMs }).snapshot;
        }
        expect(['off', 'failed', 'unknown']).toContain(viewOf(snapshot).state);
      }
    }
  });
});
