import { type ChildProcess, spawn } from 'node:child_process';
import { isShortage } from './errors.ts';
import { fileProblem } from './files.ts';
import type { Flock, NoLockAnswer } from './ports.ts';

/** Node has no flock(2), so flock(1) locks the descriptor that it inherits. */
export const tryFlock: Flock = (fd, { clock, limitMs, signal }) =>
  new Promise((resolve) => {
    let child: ChildProcess;
    try {
      child = spawn('flock', ['-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
    } catch (error) {
      // Node throws some of what keeps a process from being started, as ENOMEM, and tells the rest.
      resolve(notStarted(error));
      return;
    }
    const end = (answer: 'locked' | 'taken' | NoLockAnswer) => {
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
    child.once('error', (error) => end(notStarted(error)));
    child.once('exit', (code, killedBy) => {
      if (code === 0 || code === 1) end(code === 0 ? 'locked' : 'taken');
      else end({ why: `ended with ${killedBy ?? code}`, isFinal: false });
    });
  });

function notStarted(error: unknown): NoLockAnswer {
  const errno = fileProblem(error);
  return {
    why: `cannot be started (${errno})`,
    isFinal: errno === 'ENOENT' || errno === 'EACCES',
    ...(isShortage(error) && { isShort: true }),
    ...(error instanceof Error && { error }),
  };
}
