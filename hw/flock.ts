import { spawn } from 'node:child_process';
import { fileProblem } from './files.ts';
import type { Clock } from './ports.ts';

/** flock(1) gave neither of its two answers. */
export interface NoAnswer {
  /** A clause about flock(1). */
  readonly why: string;
  /** Another try would fail for the same reason. */
  readonly isFinal: boolean;
  /** Error of the system, where flock(1) could not be started. */
  readonly error?: Error;
}

export interface FlockOptions {
  readonly clock: Pick<Clock, 'after'>;
  readonly limitMs: number;
  /** Ends the wait for an answer. */
  readonly signal?: AbortSignal | undefined;
}

/** Takes the lock of an open directory, unless another process has it. Node has no flock(2), so flock(1) does it. */
export function tryFlock(
  fd: number,
  { clock, limitMs, signal }: FlockOptions,
): Promise<'locked' | 'taken' | NoAnswer> {
  return new Promise((resolve) => {
    const child = spawn('flock', ['-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
    const end = (answer: 'locked' | 'taken' | NoAnswer) => {
      cancel();
      signal?.removeEventListener('abort', giveUp);
      resolve(answer);
    };
    const giveUp = () => {
      child.kill('SIGKILL');
      // A child that cannot be killed must not keep this process alive.
      child.unref();
      end({ why: `gave no answer within ${Math.round(limitMs)} ms`, isFinal: false });
    };
    const cancel = clock.after(limitMs, giveUp);
    signal?.addEventListener('abort', giveUp);
    child.once('error', (error) => {
      const why = fileProblem(error);
      end({ why: `cannot be started (${why})`, isFinal: why === 'ENOENT' || why === 'EACCES', error });
    });
    child.once('exit', (code, killedBy) => {
      if (code === 0 || code === 1) end(code === 0 ? 'locked' : 'taken');
      else end({ why: `ended with ${killedBy ?? code}`, isFinal: false });
    });
  });
}
