import type { Clock } from '../../hw/ports.ts';
import { type Chassis, isHost, isPage, type Net, netAsserted, type Rail, withFaults } from './circuit.ts';
import type { HazardKind } from './events.ts';
import { untoldOf } from './settings.ts';

/** A shorter pulse on an enable is a glitch: no regulator follows it. */
const GLITCH_MS = 1;

/** The rules whose breach can damage a real chassis. Only what the BMC does is held against it. */
export interface DamageRules {
  /** The BMC switches a rail; called before anything has changed. */
  railSwitched(rail: Rail, wanted: boolean): void;
  /** The BMC releases a reset; called before anything has changed. */
  resetReleased(chassis: Chassis, reset: Net): void;
  /** The BMC tells the device of a rail something of its output. */
  railTold(rail: Rail): void;
}

type Report = (kind: HazardKind, chassis: Chassis, name: string, text: string) => void;

/**
 * @param reactionMs time in which nobody can have noticed a fault
 * @param report takes each breach, with the rail or reset that it happened to
 */
export function createDamageRules(clock: Clock, reactionMs: number, report: Report): DamageRules {
  const recently = (atMs: number): boolean => clock.nowMs() - atMs <= reactionMs;

  /** Its good signal says good, or nothing could say that it is not. */
  const seemsGood = (rail: Rail): boolean => {
    if (rail.board.good === undefined) return rail.faults.length > 0 || (rail.enable?.faults.length ?? 0) > 0;
    return rail.goodNet === undefined ? withFaults(rail.goodFaults, rail.good) : netAsserted(rail.goodNet);
  };

  const railSwitched = (rail: Rail, wanted: boolean): void => {
    const { chassis, name } = rail;
    const nowMs = clock.nowMs();
    const sinceMs = nowMs - rail.wantedAtMs;
    if (sinceMs < GLITCH_MS && !unswitchable(rail)) {
      const verb = wanted ? 'off and on' : 'on and off';
      report('enableGlitch', chassis, name, `the enable of ${name} went ${verb} within ${sinceMs} ms`);
    }
    if (wanted) {
      judgeUntold(rail, report);
      for (const need of rail.needs) {
        if (need.good || seemsGood(need) || recently(need.failedAtMs)) continue;
        report(
          'enabledTooEarly',
          chassis,
          name,
          `${name} was enabled though ${need.name}, which it needs, is not good`,
        );
      }
      return;
    }
    if (rail.good) {
      const before = [
        ...switchedBehind(rail).map((other) => ({ other, why: 'which needs it' })),
        ...rail.offAfter.map((other) => ({ other, why: 'which goes off before it' })),
      ];
      for (const { other, why } of before) {
        if (!other.wanted || unswitchable(other)) continue;
        const text = `${name} was disabled though ${other.name}, ${why}, is still enabled`;
        report('needRemoved', chassis, other.name, text);
      }
    }
    if (!chassis.pgood) return;
    for (const reset of chassis.resets) {
      if (netAsserted(reset) || reset.failures > 0 || reset.faults.length > 0) continue;
      report(
        'resetWithoutPgood',
        chassis,
        reset.name,
        `${name} was disabled while reset ${reset.name} was released`,
      );
    }
  };

  const resetReleased = (chassis: Chassis, reset: Net): void => {
    const { seen, heldResets } = chassis;
    if (heldResets.get(reset)?.() === false)
      report(
        'resetBeforeHost',
        chassis,
        reset.name,
        `reset ${reset.name} was released too early for the host`,
      );
    const failed = !chassis.pgood && !seen && !recently(chassis.failedAtMs);
    // A good chassis whose pgood has said otherwise long enough to be noticed.
    const ignored = chassis.pgood && !seen && !recently(chassis.seenSinceMs);
    if (!failed && !ignored) return;
    report(
      'resetWithoutPgood',
      chassis,
      reset.name,
      `reset ${reset.name} was released though pgood is not good`,
    );
  };

  return { railSwitched, resetReleased, railTold: (rail) => judgeTold(rail, report) };
}

function judgeUntold({ chassis, name, settings }: Rail, report: Report): void {
  const untold = settings === undefined ? '' : untoldOf(settings).join(', ');
  if (untold === '') return;
  report('enabledUnset', chassis, name, `${name} was enabled though its device has not taken ${untold}`);
}

function judgeTold({ chassis, name, enabled, wanted }: Rail, report: Report): void {
  if (!enabled && !wanted) return;
  report('setUpWhileOn', chassis, name, `the device of ${name} was set up while ${name} was enabled`);
}

/** Rails with an enable that need it, be it through some that are only watched. */
function switchedBehind(rail: Rail, found = new Set<Rail>()): readonly Rail[] {
  for (const dependent of rail.neededBy) {
    if (found.has(dependent)) continue;
    found.add(dependent);
    if (dependent.enable === undefined) switchedBehind(dependent, found);
  }
  return [...found].filter(({ enable }) => enable !== undefined);
}

/** A fault keeps the BMC from switching it. */
function unswitchable({ enable }: Rail): boolean {
  if (enable === undefined) return false;
  if (enable.faults.length > 0) return true;
  if (isPage(enable)) return enable.device.failures > enable.failuresSeen;
  if (!isHost(enable)) return enable.failures > 0;
  const { button, deafFaults } = enable;
  return button.failures + button.faults.length + deafFaults.length > 0;
}
