import type { RunnerTask } from 'vitest';
import type { Plugin } from 'vitest/config';
import {
  type PoolOptions,
  type PoolRunnerInitializer,
  type PoolWorker,
  ThreadsPoolWorker,
} from 'vitest/node';

/**
 * Keeps the one worker thread from mutant to mutant: to start one and to read all modules takes ten times as long as the
 * tests of most mutants. Of all modules only the test files are read anew for each, so a mutant of what is done once, while
 * the others are read, does nothing: `ignoreStatic` leaves those out.
 */
export function warmPool(): Plugin {
  return {
    name: 'warm-pool',
    configureVitest({ project }) {
      Object.assign(project.config, { pool: POOL.name, poolRunner: POOL });
    },
  };
}

const POOL: PoolRunnerInitializer = {
  name: 'warm',
  createPoolWorker: createWarmWorker,
};

let warm: ThreadsPoolWorker | null = null;

/** A worker over the thread that is kept: to stop it takes its listeners away, and no more. */
function createWarmWorker(options: PoolOptions): PoolWorker {
  const thread = warm ?? new ThreadsPoolWorker(options);
  const listeners: [event: string, callback: (arg: unknown) => void][] = [];
  return {
    name: POOL.name,
    on(event, callback) {
      listeners.push([event, callback]);
      thread.on(event, callback);
    },
    off: (event, callback) => thread.off(event, callback),
    send(message) {
      if (message.type !== 'stop') return thread.send(message);
      const stopped = { type: 'stopped', __vitest_worker_response__: true };
      for (const [event, callback] of listeners) if (event === 'message') callback(stopped);
    },
    deserialize: (data) => thread.deserialize(data),
    async start() {
      if (warm === null) await thread.start();
      warm = thread;
    },
    async stop() {
      for (const [event, callback] of listeners) thread.off(event, callback);
      if (!hasTimedOut(options)) return;
      warm = null;
      await thread.stop();
    },
  };
}

/** What a test that timed out was at goes on, and would be in the way of the tests of every mutant after it. */
function hasTimedOut({ project }: PoolOptions): boolean {
  const timedOut = (task: RunnerTask): boolean =>
    'tasks' in task
      ? task.tasks.some(timedOut)
      : (task.result?.errors?.some(({ message }) => message.includes('timed out')) ?? false);
  return project.vitest.state.getFiles().some(timedOut);
}
