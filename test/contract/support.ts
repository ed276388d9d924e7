import { expect, it } from 'vitest';

/** What every suite needs of the world around a backend. */
export interface SettlingWorld {
  /**
   * Lets effects come through, and lets at least `ms` pass on the backend's clock: virtual time
   * advances, real time is waited for. Short: suites call it again until what they wait for is there.
   */
  settle(ms?: number): Promise<void>;
}

/** Step in which `finish` and `eventually` let time pass. */
const STEP_MS = 10;

/**
 * The outcome of `promise`, with time passing until it is there. Fails after `limitMs` of it, so that a
 * promise that never settles is told as such.
 */
export async function finish<T>(world: SettlingWorld, promise: Promise<T>, limitMs = 10_000): Promise<T> {
  let settled = false;
  const mark = () => {
    settled = true;
  };
  promise.then(mark, mark);
  for (let passedMs = 0; !settled; passedMs += STEP_MS) {
    if (passedMs > limitMs) throw new Error(`nothing was settled within ${limitMs} ms`);
    await world.settle(STEP_MS);
  }
  return promise;
}

/** Waits until `condition` holds, with time passing; fails after `limitMs`. */
export async function eventually(
  world: SettlingWorld,
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 2_000,
): Promise<void> {
  for (let passedMs = 0; !(await condition()); passedMs += STEP_MS) {
    if (passedMs > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await world.settle(STEP_MS);
  }
}

/**
 * Expects a rejection with this code. By the property and not by the class: a backend in another
 * process or machine rebuilds its errors.
 */
export async function expectCode(
  world: SettlingWorld,
  promise: Promise<unknown>,
  code: string,
): Promise<void> {
  await expect(finish(world, promise)).rejects.toMatchObject({ code });
}

/** The same with the words: documents quote them, whatever backend they were seen with. */
export async function expectError(
  world: SettlingWorld,
  promise: Promise<unknown>,
  code: string,
  words: RegExp,
): Promise<void> {
  await expect(finish(world, promise)).rejects.toMatchObject({
    code,
    message: expect.stringMatching(words),
  });
}

/**
 * `it`, unless the world lacks what the test needs: it is left out then, not skipped, because a skipped test is
 * a failure in CI. What a world lacks stands in the title of its suite (`titleWith`).
 */
export function itUnless(lacking: string | undefined, title: string, run: () => Promise<void>): void {
  if (lacking === undefined) it(title, run);
}

/** The title of a suite, with what is left out of it and why. */
export function titleWith(title: string, lacks: Readonly<Record<string, string | undefined>>): string {
  const parts = Object.entries(lacks).flatMap(([part, why]) =>
    why === undefined ? [] : [`${part}: ${why}`],
  );
  return parts.length === 0 ? title : `${title} [left out: ${parts.join('; ')}]`;
}
