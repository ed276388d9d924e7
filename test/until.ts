/** Far above what a machine that is four times overloaded needs: nothing is measured by it. */
const LIMIT_MS = 60_000;

/** As long as another look costs nothing: what this process does itself is over after as many. */
const TURNS = 20;

/** Waits, in real time, for what another process does. Rejects with `what` when it did not happen within a minute. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + LIMIT_MS;
  for (let looks = 0; !(await holds()); looks += 1) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${LIMIT_MS} ms`);
    await new Promise((resolve) => (looks < TURNS ? setImmediate(resolve) : setTimeout(resolve, 1)));
  }
}
