import { isPassed } from '../../hw/pmbus/limits.ts';
import { placeOf } from '../sequence/causes.ts';
import type { Plan } from '../sequence/plan.ts';
import type { Cause, Diagnosis, Fault } from '../sequence/state.ts';
import type { BoardLimits, Evidence } from './evidence.ts';

/** The levels of a chassis when a fault was found, before anything was taken down for it. */
export interface LevelsAtFault {
  readonly rails: Readonly<Record<string, RailLevels>>;
  readonly pgood: boolean;
  /** Of several signals of pgood those that were not asserted when pgood was read last. */
  readonly pgoodLacks: readonly string[];
}
export interface RailLevels {
  readonly enabled: boolean;
  /** As it was read last; null where it could not be read. Of a rail without a signal, whether it was enabled. */
  readonly good: boolean | null;
  /** It had come, and its settle time was over. */
  readonly wasUp: boolean;
  /** It is a rail that the chassis can do without, and was told of before the fault. */
  readonly wasMissed: boolean;
  /** `good` was read after pgood was lost, where it was. Never of a rail without a signal. */
  readonly isFresh: boolean;
}

/** All that is known of a fault when the power is down. */
export interface FaultFacts {
  readonly fault: Fault;
  readonly evidence: readonly Evidence[];
  /** Null where another process found the fault. */
  readonly levels: LevelsAtFault | null;
  /** Name of the error that the power supply is reported to have; empty, or left out, where it is not. */
  readonly supplyError?: string;
  /** Rails whose part was there when the power-on began, and is seen to be gone; left out, or empty, where none is. */
  readonly removed?: readonly string[];
}

type Finding = Omit<Diagnosis, 'unread'>;

/**
 * The faults that the bits of status registers stand for (PMBus specification 1.3.1, part II, 17.2 to 17.6). A warning is
 * none, and neither is what the specification leaves to the device.
 */
const CAUSE_OF_BIT: Readonly<Record<string, Readonly<Record<string, Cause>>>> = {
  STATUS_WORD: { VOUT_OV_FAULT: 'overvoltage', IOUT_OC_FAULT: 'overcurrent', VIN_UV_FAULT: 'input' },
  STATUS_VOUT: {
    VOUT_OV_FAULT: 'overvoltage',
    VOUT_UV_FAULT: 'undervoltage',
    TON_MAX_FAULT: 'neverCame',
    VOUT_TRACKING_ERROR: 'tracking',
  },
  STATUS_IOUT: {
    IOUT_OC_FAULT: 'overcurrent',
    IOUT_OC_LV_FAULT: 'overcurrent',
    POUT_OP_FAULT: 'overpower',
    IOUT_UC_FAULT: 'undercurrent',
  },
  STATUS_INPUT: {
    VIN_OV_FAULT: 'input',
    VIN_UV_FAULT: 'input',
    OFF_FOR_LOW_VIN: 'input',
    IIN_OC_FAULT: 'input',
  },
  STATUS_TEMPERATURE: { OT_FAULT: 'overtemperature', UT_FAULT: 'undertemperature' },
};

/** What no loss of another rail brings about. Where a rail says so, those before it in the sequence went with it. */
const OF_ITSELF: readonly Cause[] = ['overvoltage', 'overcurrent', 'overpower', 'overtemperature'];
/** Of several that a page says at once, the one that the others follow from. */
const CAUSES_FIRST: readonly Cause[] = [
  ...OF_ITSELF,
  'undertemperature',
  'input',
  'neverCame',
  'undervoltage',
  'tracking',
  'undercurrent',
];

/**
 * Names the rail that failed first, and what it failed of, or the supply where somebody has reported it. Rails that were on are looked at in the order of the sequence: whether
 * their part is still there, what their devices latched, then their levels and voltages against limits. Says `unknown` where nothing says it, and never
 * guesses: a rail is named only by what was read of it.
 */
export function diagnose(plan: Plan, facts: FaultFacts): Diagnosis {
  const { fault, evidence } = facts;
  const unread = evidence.flatMap((each) => (each.error === null ? [] : [placeOf(each)]));
  const seen = downwards(fault) ?? ofRails(plan, facts) ?? ofLine(fault) ?? ofWatchers(evidence);
  const found = ofSupply(facts, seen) ?? seen;
  return { ...(found ?? { rail: null, cause: 'unknown', because: lookedAt(plan, facts) }), unread };
}

/** Power that does not go says by itself what it is. */
function downwards({ kind, rail, reason }: Fault): Finding | null {
  if (kind === 'railStray') return { rail, cause: 'stray', because: reason };
  return kind === 'powerOffTimeout' ? { rail, cause: 'stuck', because: reason } : null;
}

/** Faults that a supply which fails brings about: power goes, or does not come. */
const WITHOUT_POWER: readonly Fault['kind'][] = ['railTimeout', 'railLost', 'pgoodTimeout', 'pgoodLost'];

/** What the supply itself has told is before all that was seen of what it feeds, which stays beside it. */
function ofSupply({ fault, supplyError = '' }: FaultFacts, seen: Finding | null): Finding | null {
  if (supplyError === '' || !WITHOUT_POWER.includes(fault.kind)) return null;
  const told = `it is reported to have ${supplyError}`;
  if (seen === null) return { rail: null, cause: 'supply', because: told };
  const of = seen.rail === null ? '' : `of rail ${seen.rail}: `;
  return { rail: null, cause: 'supply', because: `${told}; behind it, ${of}${seen.because}` };
}

/** A line or a device that failed, where no rail is known to have failed before it. */
function ofLine({ kind, rail, reason }: Fault): Finding | null {
  return kind === 'hardware' ? { rail, cause: 'hardware', because: reason } : null;
}

function ofRails(plan: Plan, facts: FaultFacts): Finding | null {
  const { fault, evidence, levels, removed = [] } = facts;
  const inDoubt = plan.rails.filter(({ name }) => isSuspect(name, fault, levels));
  // What the chassis can do without fails alone, unless it draws so much that others go with it.
  const suspects = inDoubt.filter(({ name, isLogOnly }) => !isLogOnly || name === fault.rail);
  const pagesOf = (name: string) => evidence.filter(({ rails }) => Object.hasOwn(rails, name));
  const latched = inDoubt.flatMap(({ name }) => pagesOf(name).flatMap((page) => latchedBy(page, name) ?? []));
  const ofItself = latched.find(({ cause }) => OF_ITSELF.includes(cause));
  if (ofItself !== undefined) return ofItself;
  for (const { name } of suspects) {
    const said =
      (removed.includes(name) ? gone(name) : null) ??
      latched.find(({ rail }) => rail === name) ??
      pagesOf(name).flatMap((page) => beyondLimit(page, name, isOnItsWay(name, facts)) ?? [])[0] ??
      byLevel(name, fault, levels);
    if (!said) continue;
    const unseen = fault.rail === null ? unseenBefore(name, plan, facts) : [];
    if (unseen.length === 0) return said;
    const because = `rail ${name}: ${said.because}, but nobody read whether ${unseen.join(', ')} before it went first`;
    return { rail: null, cause: 'unknown', because };
  }
  return null;
}

/**
 * Rails through which a rail has its power and which nothing was read of since the loss. What the rail itself says may be
 * what their loss did to it. Those that were read come before it among the suspects, and had nothing to say.
 */
function unseenBefore(name: string, { rails }: Plan, { evidence, levels }: FaultFacts): string[] {
  const unseen = new Set<string>();
  const visited = new Set<string>();
  const visit = (each: string): void => {
    for (const need of rails.find((rail) => rail.name === each)?.needs ?? []) {
      if (visited.has(need)) continue;
      visited.add(need);
      const isRead = evidence.some(
        ({ rails: shown, statusWord }) => Object.hasOwn(shown, need) && statusWord !== null,
      );
      if (!isRead && levels?.rails[need]?.isFresh !== true) unseen.add(need);
      visit(need);
    }
  };
  visit(name);
  return [...unseen];
}

/**
 * A rail may have failed where it was on. Where the fault has a rail, or pgood still stood, one that was good then has not:
 * what its device latched is older, or was survived.
 */
function isSuspect(name: string, { rail, kind }: Fault, levels: LevelsAtFault | null): boolean {
  if (name === rail) return true;
  const level = levels?.rails[name];
  // Without the levels only the rail of the fault is sure to have been on, and any where it has none.
  if (level === undefined) return rail === null;
  if (!level.enabled || level.wasMissed) return false;
  return !level.good || (rail === null && kind !== 'hardware');
}

/** The first fault, by `CAUSES_FIRST`, that a page has latched. */
function latchedBy(page: Evidence, rail: string | null): Finding | null {
  const said = page.status.flatMap(({ register, bits }) =>
    bits.flatMap(({ name, means }) => {
      const cause = CAUSE_OF_BIT[register]?.[name];
      return cause === undefined ? [] : [{ cause, because: `${register} of ${placeOf(page)} says ${means}` }];
    }),
  );
  for (const cause of CAUSES_FIRST) {
    // The register of the bit says it more exactly than STATUS_WORD, which comes first.
    const found = said.findLast((each) => each.cause === cause);
    if (found !== undefined) return { rail, ...found };
  }
  return null;
}

/** The rail was still rising and had time left: that its voltage was low says nothing. */
function isOnItsWay(rail: string, { fault, levels }: FaultFacts): boolean {
  const level = levels?.rails[rail];
  if (level === undefined || level.wasUp || fault.kind === 'pgoodTimeout') return false;
  return fault.kind !== 'railTimeout' || fault.rail !== rail;
}

/**
 * The voltage while the rail was on, against the device's limits and those of the board file.
 * @param onlyAbove that it was too low does not count
 */
function beyondLimit(page: Evidence, rail: string, onlyAbove: boolean): Finding | null {
  const { voltsBefore } = page;
  if (voltsBefore === null) return null;
  const ofDevice = page.limits.filter(({ limit }) => limit.endsWith('_FAULT_LIMIT'));
  const good: BoardLimits = page.rails[rail] ?? {};
  const ofBoard = [
    { limit: 'minVolts', volts: good.minVolts, wrong: 'below' },
    { limit: 'maxVolts', volts: good.maxVolts, wrong: 'above' },
  ] as const;
  for (const { limit, volts, wrong } of [...ofDevice, ...ofBoard]) {
    if (volts === undefined || (onlyAbove && wrong === 'below')) continue;
    if (!isPassed({ wrong }, volts, voltsBefore)) continue;
    const cause = wrong === 'below' ? 'undervoltage' : 'overvoltage';
    const because = `${volt(voltsBefore)} of ${placeOf(page)} was ${wrong} ${limit} ${volt(volts)}`;
    return { rail, cause, because };
  }
  return null;
}

/** The part of the rail went, and the rail with it: what its device says, if it does at all, follows from that. */
function gone(rail: string): Finding {
  return { rail, cause: 'removed', because: 'its part is not there any more' };
}

/** By what was seen of its good signal: it went, or it did not come in the time that it has. */
function byLevel(rail: string, fault: Fault, levels: LevelsAtFault | null): Finding | null {
  const isBlamed = rail === fault.rail;
  if (isBlamed && fault.kind === 'railLost') return { rail, cause: 'dropped', because: fault.reason };
  if (isBlamed && fault.kind === 'railTimeout') return { rail, cause: 'neverCame', because: fault.reason };
  const level = levels?.rails[rail];
  if (level?.good !== false) return null;
  if (level.wasUp) return { rail, cause: 'dropped', because: 'its good signal was gone' };
  // Another one that was still rising had time left.
  if (fault.kind !== 'pgoodTimeout') return null;
  return { rail, cause: 'neverCame', because: 'its good signal had not come' };
}

/** What devices say that belong to no rail: the input of the whole chassis may be behind them. */
function ofWatchers(evidence: readonly Evidence[]): Finding | null {
  for (const page of evidence) {
    if (Object.keys(page.rails).length > 0) continue;
    const found = latchedBy(page, null);
    if (found !== null) return found;
  }
  return null;
}

function lookedAt(plan: Plan, { fault, evidence, levels }: FaultFacts): string {
  const lacks = fault.kind === 'pgoodTimeout' || fault.kind === 'pgoodLost' ? (levels?.pgoodLacks ?? []) : [];
  const missing =
    lacks.length === 0 ? [] : [`${lacks.join(' and ')} ${lacks.length === 1 ? 'was' : 'were'} missing`];
  return [saidBy(plan, evidence), ...missing, ...doneWithout(plan, levels)].join('; ');
}

/** Rails that the chassis can do without: what is told of them blames none. */
function doneWithout({ rails }: Plan, levels: LevelsAtFault | null): string[] {
  const missed = rails.flatMap(({ name, isLogOnly }) => {
    const level = levels?.rails[name];
    const isGone = level?.wasMissed || (level?.enabled && level.good === false);
    return isLogOnly && isGone ? [name] : [];
  });
  if (missed.length === 0) return [];
  const [are, each] = missed.length === 1 ? ['was', 'it'] : ['were', 'them'];
  return [`${missed.join(' and ')} ${are} missing, but the chassis does without ${each}`];
}

function saidBy({ rails }: Plan, evidence: readonly Evidence[]): string {
  if (evidence.some(({ statusWord, voutVolts }) => statusWord !== null || voutVolts !== null))
    return 'no device says what it was';
  if (evidence.length > 0) return 'no device could be read';
  return rails.some(({ observable, isLogOnly }) => observable && !isLogOnly)
    ? 'every rail that has a good signal was good'
    : 'no rail has a signal of its own';
}

function volt(volts: number): string {
  return `${volts.toFixed(3)} V`;
}
