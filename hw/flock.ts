import { spawn } from 'node:child_process';
import { fileProblem } from './files.ts';
import type { Flock, NoLockAnswer } from './ports.ts';

/** Node has no flock(2), so flock(1) locks the descriptor that it inherits. */
export const tryFlock: Flock = (fd, { clock, limitMs, signal }) =>
  new Promise((resolve) => {
    const child = spawn('flock', ['-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
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
    child.once('error', (error) => {
      const why = fileProblem(error);
      end({ why: `cannot be started (${why})`, isFinal: why === 'ENOENT' || why === 'EACCES', error });
    });
    child.once('exit', (code, killedBy) => {
      if (code === 0 || code === 1) end(code === 0 ? 'locked' : 'taken');
      else end({ why: `ended with ${killedBy ?? code}`, isFinal: false });
    });
  });
