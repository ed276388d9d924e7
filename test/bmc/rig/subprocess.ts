/** Programs on the host: run with a time limit, and with an error that shows what they said. */
import { spawn } from 'node:child_process';

export interface RunOptions {
  timeoutMs: number;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  stdin?: string;
  /** Passes on what it says on stderr as it comes. */
  echo?: boolean;
}

export interface RunResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end and returns what it printed; any exit code but 0 is an error. */
export async function run(program: string, args: readonly string[], options: RunOptions): Promise<string> {
  const { code, stdout, stderr } = await tryRun(program, args, options);
  if (code === 0) return stdout;
  throw new Error(`${program} ended with ${code ?? 'a signal'}: ${(stderr || stdout).trim().slice(-3000)}`);
}

/** The same for programs whose exit code is an answer. When the time is over its whole process group is killed. */
export async function tryRun(
  program: string,
  args: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  const child = spawn(program, args, {
    cwd: options.cwd,
    // Some of the programs are in sbin, which is not in everybody's PATH.
    env: { ...(options.env ?? process.env), PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C' },
    stdio: [options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    detached: true,
  });
  const kill = () => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  };
  process.once('exit', kill);
  child.stdin?.end(options.stdin);
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    if (options.echo) process.stderr.write(text);
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill();
  }, options.timeoutMs);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (late)
      throw new Error(`${program} still ran after ${options.timeoutMs} ms: ${stderr.trim().slice(-1000)}`);
    return { code, stdout, stderr };
  } finally {
    clearTimeout(timer);
    process.removeListener('exit', kill);
  }
}

/** How often a step that goes on is told of: short enough that nobody takes it for one that hangs. */
const STILL_MS = 15_000;

export interface Progress {
  /** What goes on from now on; counted where the number of steps is known. */
  step(what: string): void;
  /** More about what goes on. */
  note(line: string): void;
  /** Nothing goes on any more. Without it the lines would go on for ever. */
  end(what?: string): void;
}

/**
 * Whole lines on stderr that say what goes on, which of how many steps it is and how long it has taken so far, and
 * again while it goes on. They are for people and for the log of a CI, and leave stdout to the reporter.
 */
export function progress(
  who: string,
  {
    steps,
    write = (line) => process.stderr.write(line),
  }: { steps?: number; write?: (line: string) => void } = {},
): Progress {
  const startMs = performance.now();
  let count = 0;
  let timer: NodeJS.Timeout | undefined;
  const say = (line: string) => {
    const seconds = Math.round((performance.now() - startMs) / 1000);
    const place = steps === undefined || count === 0 ? '' : ` ${count}/${steps}`;
    write(`${who}${place} ${String(seconds).padStart(4)} s  ${line}\n`);
  };
  return {
    step(what) {
      clearInterval(timer);
      count += 1;
      say(what);
      const stepMs = performance.now();
      timer = setInterval(() => {
        say(`still at it: ${what} (${Math.round((performance.now() - stepMs) / 1000)} s)`);
      }, STILL_MS);
      // A process that has nothing else to do ends.
      timer.unref();
    },
    note: say,
    end(what) {
      clearInterval(timer);
      if (what !== undefined) say(what);
    },
  };
}
