import { deferred } from '../../hw/waiting.ts';
import type { Job } from '../run/jobs.ts';
import type { Wanted } from './chassis-view.ts';

/** How far an operation is: it waits for another process that drives the chassis, moves the power, or has switched it. */
export type Progress = 'waiting' | 'moving' | 'switched';

/** A power sequence that was asked for. Both reject with what `expectDone` throws, CHASSIS_LOCKED or INTERRUPTED. */
export interface Operation {
  /** Every enable is asserted, or deasserted: what the first of the two oneshots does. */
  readonly switched: Promise<void>;
  readonly done: Promise<void>;
  /** To be asked while it is not done. */
  progress(): Progress;
  /** Gives up, unless it has begun. */
  withdraw(reason: string): void;
}

/** What the chart of the resident keeps of an operation. */
export interface PowerRequest {
  readonly wanted: Wanted;
  readonly job: Job;
  readonly operation: Operation;
  /** Aborted once it has to come to an end. */
  readonly signal: AbortSignal;
  interrupt(reason: string): void;
  settleSwitched(): void;
  /** @param error null when it was carried out */
  settle(error: unknown): void;
}

/** @param face what of the operation only the chart knows */
export function createPowerRequest(
  wanted: Wanted,
  job: Job,
  face: (request: PowerRequest) => Pick<Operation, 'progress' | 'withdraw'>,
): PowerRequest {
  const controller = new AbortController();
  const switched = deferred();
  const done = deferred();
  // Whoever asked may have gone: then nobody hears of it here, and the record has it all the same.
  switched.promise.catch(() => undefined);
  done.promise.catch(() => undefined);
  const request: PowerRequest = {
    wanted,
    job,
    operation: {
      switched: switched.promise,
      done: done.promise,
      progress: () => face(request).progress(),
      withdraw: (reason) => face(request).withdraw(reason),
    },
    signal: controller.signal,
    interrupt: (reason) => controller.abort(reason),
    settleSwitched: switched.resolve,
    settle(error) {
      for (const { resolve, reject } of [switched, done]) {
        if (error === null) resolve();
        else reject(error);
      }
    },
  };
  return request;
}
