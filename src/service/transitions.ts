import { CodedError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import type { UnitManager } from '../system/ports.ts';

/**
 * Between power off and power on of one request. phosphor-dbus-interfaces, State/Chassis.interface.yaml has it for
 * PowerCycle; phosphor-state-manager's host-reboot has the same for Reboot.
 */
export const CYCLE_PAUSE_MS = 5_000;

export interface TransitionsOptions {
  readonly chassis: number;
  readonly units: Pick<UnitManager, 'startUnit'>;
  readonly clock: Clock;
  /** @param severity as syslog counts it (RFC 5424, table 2) */
  readonly log: (severity: number, text: string) => void;
}

/** Power requests that are targets of systemd, one after the other. */
export interface Transitions {
  /**
   * Starts `targets`, each with mode `replace` and when the one before is done, a pause between them. Whatever is
   * under way gives way: what it has not started yet, it never starts. Resolves when it is over: whether every
   * target was reached, which went to the journal if not; null when another request took its place.
   * @param name for the journal
   * @param onStart is called before each target is started
   */
  run(name: string, targets: readonly string[], onStart?: (target: string) => void): Promise<boolean | null>;
  /** Nothing is started any more. What systemd is at goes on. */
  stop(): void;
}

export function createTransitions({ chassis, units, clock, log }: TransitionsOptions): Transitions {
  let turn = 0;
  let endPause: () => void = () => undefined;

  const pause = () =>
    new Promise<void>((resolve) => {
      const cancel = clock.after(CYCLE_PAUSE_MS, resolve);
      endPause = () => {
        cancel();
        resolve();
      };
    });

  /** Null when it was started and done, else what came of it. */
  const start = async (target: string): Promise<string | null> => {
    try {
      const result = await units.startUnit(target, 'replace');
      return result === 'done' ? null : result;
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      return error.message;
    }
  };

  return {
    async run(name, targets, onStart) {
      turn += 1;
      const mine = turn;
      const isReplaced = () => mine !== turn;
      endPause();
      for (const [index, target] of targets.entries()) {
        if (index > 0) await pause();
        if (isReplaced()) return null;
        log(5, `chassis ${chassis}: ${name}: starting ${target}`);
        onStart?.(target);
        const failure = await start(target);
        if (isReplaced()) return null;
        if (failure === null) continue;
        const left = targets.slice(index + 1).map((unit) => `, and ${unit} is not started`);
        log(3, `chassis ${chassis}: ${name}: ${target} was not reached: ${failure}${left.join('')}`);
        return false;
      }
      return true;
    },

    stop() {
      turn += 1;
      endPause();
    },
  };
}
