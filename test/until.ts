/** Far above what a machine that is four times overloaded needs: nothing is measured by it. */
const LIMIT_MS = 60_000;

/** Waits, in real time, for what another process does. Rejects with `what` when it did not happen within a minute. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + LIMIT_MS; !(await holds()); ) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${LIMIT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
