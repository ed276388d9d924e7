import type { Recorded } from '../run/record.ts';
import { faultText } from '../sequence/causes.ts';
import type { Watched } from '../sequence/plan.ts';
import type { Fault, Miss, RailPhase, State } from '../sequence/state.ts';
import type { UnitState } from '../system/ports.ts';
import { evidenceText, voltsText } from './lines.ts';

type Evidence = Extract<Recorded, { type: 'evidence' }>['evidence'][number];

/** All that there is to see of a chassis. What could not be read is null, with the reason in `unread`. */
export interface ChassisReport {
  readonly chassis: number;
  /** `unknown` where something that decides it could not be read. */
  readonly state: State;
  /** What the last process that drove the chassis made of it; null where none of this boot did. */
  readonly stage: State | null;
  readonly pgood: boolean | null;
  /** Its signals where it has several. */
  readonly pgoodSources: readonly PgoodReport[];
  readonly powerStillApplied: boolean;
  readonly fault: Fault | null;
  readonly contradictions: readonly string[];
  readonly rails: Readonly<Record<string, RailReport>>;
  readonly resetsAsserted: Readonly<Record<string, boolean | null>>;
  /** The signal of the host that a reset waits for, of those that are asserted though the chassis is on. */
  readonly resetsHeldUntil: Readonly<Record<string, string>>;
  readonly devices: readonly Evidence[];
  readonly unread: readonly { readonly reason: string; readonly code: string }[];
  /** Of the units that systemd knows; null where it does not run here. */
  readonly units: readonly UnitState[] | null;
  readonly noUnits: string | null;
  readonly warning: string | null;
}

/** One of several signals of pgood. */
export interface PgoodReport {
  /** `pgood 2`. */
  readonly role: string;
  readonly good: boolean | null;
  /** Why it could not be read, null where it was. */
  readonly reason: string | null;
  /** For people: the line or the PMBus page. */
  readonly shownBy: string;
}

export interface RailReport {
  /** Its part is not there: nothing was asked of it. */
  readonly absent: boolean;
  /** Null also of a rail that is only watched. */
  readonly enabled: boolean | null;
  /** Of a rail without a signal: whether it is enabled. */
  readonly good: boolean | null;
  readonly phase: RailPhase;
  /** How a rail goes that has no enable: with what it needs, or as the supply of the chassis; null: it has one. */
  readonly watched: Watched | null;
  readonly isObservable: boolean;
  /** The chassis does without it where it fails. */
  readonly logOnly: boolean;
  /** What was told of it since the last power-on began; null where nothing was, or it counts. */
  readonly missed: Miss | null;
  /** For people: the line or the PMBus page that switches it, and the one that shows it; null where none does. */
  readonly enabledBy: string | null;
  readonly shownBy: string | null;
  /** Null where nothing measures it, or it could not be read. */
  readonly voutVolts: number | null;
  /** Those of the board file and of the device, the nearest first. */
  readonly limits: readonly Margin[];
}

/** A limit, and how far the voltage is on the right side of it; negative on the wrong one. */
export interface Margin {
  readonly limit: string;
  readonly volts: number;
  readonly marginVolts: number;
}

/**
 * What is measured of a rail, with the margins to its limits.
 * @param said of its page, undefined where it has none
 * @param ofBoard limits of the board file, null where it has none
 */
export function measured(
  said: Evidence | undefined,
  ofBoard: { readonly minVolts: number; readonly maxVolts?: number | undefined } | null,
): Pick<RailReport, 'voutVolts' | 'limits'> {
  const voutVolts = said?.voutVolts ?? null;
  if (said === undefined || voutVolts === null) return { voutVolts, limits: [] };
  const limits = said.limits.map(({ limit, volts, wrong }) => ({ limit, volts, wrong }));
  if (ofBoard !== null) {
    const { minVolts, maxVolts } = ofBoard;
    limits.push({ limit: 'minVolts', volts: minVolts, wrong: 'below' });
    if (maxVolts !== undefined) limits.push({ limit: 'maxVolts', volts: maxVolts, wrong: 'above' });
  }
  const margins = limits.map(({ limit, volts, wrong }): Margin => {
    const marginVolts = wrong === 'below' ? voutVolts - volts : volts - voutVolts;
    return { limit, volts, marginVolts };
  });
  return { voutVolts, limits: margins.sort((a, b) => a.marginVolts - b.marginVolts) };
}

const NOT_READ = 'not read';

/** The report for people. */
export function chassisText(report: ChassisReport): string {
  const { chassis, state, stage, pgood, fault, rails, unread, units, noUnits, warning } = report;
  const known = unread.length > 0 && stage !== null ? ` (last known: ${stage})` : '';
  const lines = [`chassis ${chassis}  ${state}${known}  pgood ${either(pgood, 'asserted', 'not asserted')}`];
  if (fault) lines.push(`  fault: ${faultText(fault)}`);
  if (report.powerStillApplied) lines.push('  POWER IS STILL APPLIED');
  for (const contradiction of report.contradictions) lines.push(`  contradiction: ${contradiction}`);
  for (const { reason } of unread) lines.push(`  not read: ${reason}`);
  for (const { role, good, reason, shownBy } of report.pgoodSources) {
    const why = reason === null || unread.some((each) => each.reason === reason) ? '' : `: ${reason}`;
    lines.push(`  ${role}  ${either(good, 'asserted', 'not asserted')}  ${shownBy}${why}`);
  }
  const width = Math.max(...Object.keys(rails).map((name) => name.length));
  for (const [name, rail] of Object.entries(rails)) {
    const enabled = switchText(rail).padEnd(8);
    const good = rail.absent ? '' : rail.isObservable ? either(rail.good, 'good', 'not good') : 'no signal';
    const by = new Set([rail.enabledBy, rail.shownBy].filter((name) => name !== null));
    const note = rail.logOnly ? `  ${logOnlyText(rail)}` : '';
    lines.push(
      `  rail ${name.padEnd(width)}  ${enabled}  ${good.padEnd(9)}  ${[...by].join(', ')}${voltageText(rail)}${note}`,
    );
  }
  for (const [reset, asserted] of Object.entries(report.resetsAsserted)) {
    const signal = report.resetsHeldUntil[reset];
    const why = signal === undefined ? '' : `  waits for ${signal} of the host`;
    lines.push(`  reset ${reset}  ${either(asserted, 'asserted', 'released')}${why}`);
  }
  const isNews = ({ error }: Evidence) =>
    !unread.some(({ reason }) => error !== null && reason.endsWith(error));
  const troubled = report.devices.filter((device) => isTroubled(device) && isNews(device));
  for (const device of troubled) lines.push(`  ${evidenceText(device)}`);
  for (const { unit, activeState, subState } of units ?? [])
    lines.push(`  ${unit}  ${activeState} (${subState})`);
  if (noUnits !== null) lines.push(`  units: ${noUnits}`);
  if (warning !== null) lines.push(`  ${warning}`);
  return `${lines.join('\n')}\n`;
}

/** A device that only says that its output is off needs no row. */
function isTroubled({ status, error }: Evidence): boolean {
  return error !== null || status.some(({ register }) => register !== 'STATUS_WORD');
}

function either(is: boolean | null, yes: string, no: string): string {
  if (is === null) return NOT_READ;
  return is ? yes : no;
}

function switchText({ absent, watched, enabled }: RailReport): string {
  if (absent) return 'absent';
  if (watched !== null) return watched === 'supply' ? 'supply' : 'watched';
  return either(enabled, 'enabled', 'disabled');
}

function logOnlyText({ missed }: RailReport): string {
  const told = { late: 'did not come in time', lost: 'has dropped' };
  return missed === null ? 'log only' : `log only: ${told[missed]}`;
}

/** It is to have its voltage. */
function isMeant({ watched, enabled, phase }: RailReport): boolean {
  if (watched === null) return enabled === true;
  return watched === 'supply' || phase === 'rising' || phase === 'up';
}

/** `: 1.203 V, 103 mV from minVolts 1.100 V`. A rail that is off is below its limits, which tells nothing. */
function voltageText(rail: RailReport): string {
  const {
    voutVolts,
    limits: [nearest],
  } = rail;
  if (voutVolts === null) return '';
  const volts = `: ${voltsText(voutVolts)}`;
  if (nearest === undefined || !isMeant(rail)) return volts;
  const { limit, marginVolts } = nearest;
  const side = marginVolts < 0 ? 'beyond' : 'from';
  return `${volts}, ${Math.abs(marginVolts * 1000).toFixed(0)} mV ${side} ${limit} ${voltsText(nearest.volts)}`;
}
