import { deferred } from '../../hw/waiting.ts';
import type { Job } from '../run/jobs.ts';
import type { Wanted } from './chassis-view.ts';

/** Progress of an operation: it waits for another process that drives the chassis, switches the enables, or has switched them. */
export type Progress = 'waiting' | 'moving' | 'switched';

/** A power sequence that was requested. Its promises reject with what `expectDone` throws, CHASSIS_LOCKED or INTERRUPTED. */
export interface Operation {
  /** Resolves when every enable is asserted, or deasserted: the work of the first of the two oneshots. */
  readonly switched: Promise<void>;
  readonly done: Promise<void>;
  /** To be called before `done` is settled. */
  progress(): Progress;
  /** Gives the operation up, unless it has begun to drive. */
  withdraw(reason: string): void;
}

/** An operation in the chart of the resident. */
export interface PowerRequest {
  readonly wanted: Wanted;
  /** Who asked first, for people. */
  readonly by: string;
  readonly job: Job;
  readonly operation: Operation;
  /** Aborted when the operation has to end early. */
  readonly signal: AbortSignal;
  interrupt(reason: string): void;
  settleSwitched(): void;
  /** @param error null when it was carried out */
  settle(error: unknown): void;
}

/** @param viewOf the part of an operation that only the chart knows */
export function createPowerRequest(
  wanted: Wanted,
  by: string,
  job: Job,
  viewOf: (request: PowerRequest) => Pick<Operation, 'progress' | 'withdraw'>,
): PowerRequest {
  const controller = new AbortController();
  const switched = deferred();
  const done = deferred();
  // The requester may have gone. The record has the failure all the same.
  switched.promise.catch(() => undefined);
  done.promise.catch(() => undefined);
  const request: PowerRequest = {
    wanted,
    by,
    job,
    operation: {
      switched: switched.promise,
      done: done.promise,
      progress: () => viewOf(request).progress(),
      withdraw: (reason) => viewOf(request).withdraw(reason),
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
