import type { CodedError } from '../../../hw/errors.ts';
import { lineReporter } from '../../report/lines.ts';
import type { Recorder } from '../../run/record.ts';
import { tellEnd, tellEvent, tellMiss } from '../tell-event.ts';
import type { World } from '../world.ts';

/** Tells what happens to a chassis of the service: lines as it goes on, and an event for each end of a request, and each rail that it does without. */
export interface ResidentEvents {
  readonly record: Recorder;
  /** @param severity as syslog counts it (RFC 5424, table 2) */
  failed(severity: number, error: CodedError): void;
  /** Resolves when every event is told that there was until now. Each takes a second at most. */
  settled(): Promise<void>;
}

export function createResidentEvents(chassis: number, world: World): ResidentEvents {
  const { stdout, clock } = world;
  const line = lineReporter(stdout, chassis);
  /** When the request under way was taken; null where none is, as when power is lost. */
  let beganMs: number | null = null;
  /** The power that goes off is that of a host which switched itself off. */
  let isHostOff = false;
  const takeElapsedMs = (): number | null => {
    const elapsedMs = beganMs === null ? null : clock.nowMs() - beganMs;
    beganMs = null;
    return elapsedMs;
  };
  const pending = new Set<Promise<void>>();
  // Only the end of the service waits for it: what happens meanwhile has lines of its own.
  const keep = (telling: Promise<void>): void => {
    const kept = telling.finally(() => pending.delete(kept));
    pending.add(kept);
  };

  return {
    record(entry) {
      line(entry);
      if (entry.type === 'request' && entry.outcome !== 'unchanged') beganMs = entry.atMs;
      if (entry.type === 'missed' && stdout.journal) {
        keep(tellMiss(entry, { chassis, verb: null, elapsedMs: null }, world));
      }
      if (entry.type === 'hostOff') {
        beganMs = entry.atMs;
        isHostOff = true;
      }
      if (entry.type !== 'state' || (entry.to !== 'pgood' && entry.to !== 'off')) return;
      const elapsedMs = takeElapsedMs();
      if (!stdout.journal || elapsedMs === null) return;
      const end = isHostOff ? 'hostOff' : entry.to;
      isHostOff = false;
      keep(tellEnd(end, { chassis, verb: null, elapsedMs }, world));
    },
    failed(severity, error) {
      isHostOff = false;
      const elapsedMs = takeElapsedMs();
      keep(
        tellEvent(stdout, severity, error.message, world, ({ failureFields }) =>
          failureFields(error, { chassis, verb: null, elapsedMs }),
        ),
      );
    },
    async settled() {
      await Promise.all(pending);
    },
  };
}
