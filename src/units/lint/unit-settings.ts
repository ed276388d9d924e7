/** What the settings of a unit say: which value is in force, and what is known of a command line. */
import type { Setting } from '../unit-file.ts';
import { type Unit, words } from '../unit-graph.ts';

// systemd ignores a setting that it cannot parse, or that is empty: the one before stays in force.
// Only a list such as ExecStart= is emptied by an empty assignment, and dependencies are not
// (systemd.unit(5)).

export function lastValid(unit: Unit, keys: readonly string[], valid: RegExp): Setting | undefined {
  return unit.settings.findLast(
    ({ section, key, value }) => section === 'Service' && keys.includes(key) && valid.test(value),
  );
}

const TYPES = /^(simple|exec|forking|oneshot|dbus|notify|notify-reload|idle)$/;
const TRUE = /^(1|yes|y|true|t|on)$/i;
const BOOLEAN = /^(1|0|yes|no|y|n|true|false|t|f|on|off)$/i;
export const TIME_SPAN = /^(infinity|(\d+(\.\d+)?\s*([a-zµμ]+\s*|\s+|$))+)$/i;

export function typeSetting(unit: Unit): Setting | undefined {
  return lastValid(unit, ['Type'], TYPES);
}

/** The effective `Type=` of a service. */
export function serviceType(unit: Unit): string {
  const given = typeSetting(unit)?.value;
  if (given !== undefined) return given;
  if (lastValid(unit, ['BusName'], /./)) return 'dbus';
  return commands(unit).length > 0 ? 'simple' : 'oneshot';
}

export function isOneshot(unit: Unit): boolean {
  return unit.type === 'service' && serviceType(unit) === 'oneshot';
}

export function remainSetting(unit: Unit): Setting | undefined {
  return lastValid(unit, ['RemainAfterExit'], BOOLEAN);
}

export function remains(unit: Unit): boolean {
  return TRUE.test(remainSetting(unit)?.value ?? 'no');
}

/** Every `ExecStart=` command line that is in force. */
export function commands(unit: Unit): readonly string[] {
  const lines = unit.settings.filter(({ section, key }) => section === 'Service' && key === 'ExecStart');
  const reset = lines.findLastIndex(({ value }) => value === '');
  return lines.slice(reset + 1).map(({ value }) => value);
}

export function hasDefaultDependencies(unit: Unit): boolean {
  const given = unit.settings.findLast(
    ({ section, key, value }) => section === 'Unit' && key === 'DefaultDependencies' && BOOLEAN.test(value),
  );
  return given === undefined || TRUE.test(given.value);
}

/** Programs whose end is the result, so that there is something to wait for. */
const ENDING =
  /^(true|false|busctl|systemctl|dbus-send|mapper|pgood_wait|touch|mkdir|rm|ln|cp|mv|chmod|chown|echo|logger|sleep|test|\[|gpioget|i2cget|i2cset|i2ctransfer|modprobe)$/;
const STAGES = ['start', 'wait-on', 'stop', 'wait-off'];

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The words of a command line, without the characters that systemd takes before the program's path. */
function argv(command: string): readonly string[] {
  return words(command.replace(/^[@:+!|-]+/, ''));
}

/** The name of the program that a command line runs. */
export function programOf(command: string): string {
  return baseName(argv(command)[0] ?? '');
}

function runsStage(args: readonly string[]): boolean {
  const program = args.findIndex((arg) => /^chassis-power(-sim)?(\.mjs)?$/.test(baseName(arg)));
  return program >= 0 && args.slice(program + 1).some((arg) => STAGES.includes(arg));
}

/** Switches power or waits for it: a stage of this program or of its service, or OpenBMC's calls for the same. */
export function isPowerStep(command: string): boolean {
  return runsStage(argv(command)) || /\b(setPowerState|pgood_wait|chassis_power\.Sequence1)\b/.test(command);
}

/** True for a command line that certainly ends by itself. */
export function ends(command: string): boolean {
  const args = argv(command);
  const program = programOf(command);
  if (/^(ba|da|a)?sh$/.test(program)) {
    const flag = args.findIndex((arg) => /^-[a-z]*c$/.test(arg));
    const script = (args[flag + 1] ?? '').replace(/`[^`]*`|\$\([^()]*\)/g, 'x');
    const steps = script.split(/;|&&|\|\|?|\n/).filter((step) => step.trim() !== '');
    return flag >= 0 && steps.length > 0 && !/&(?!&)/.test(script.replaceAll('&&', '')) && steps.every(ends);
  }
  if (program === 'busctl' && args.some((arg) => /^(monitor|capture)$/.test(arg))) return false;
  return ENDING.test(program) || runsStage(args);
}
