/** Programs on the host: run with a time limit, and with an error that shows what they said. */
import { spawn } from 'node:child_process';

export interface RunOptions {
  timeoutMs: number;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  stdin?: string;
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

/** Lines on stderr that say what goes on and how many seconds it has taken so far. */
export function progress(who: string): (line: string) => void {
  const startMs = performance.now();
  return (line) => {
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    process.stderr.write(`${who} ${seconds.padStart(6)} s  ${line}\n`);
  };
}
