import { jsonReporter, lineReporter } from '../../report/lines.ts';
import { createRestFile } from '../../store/rest.ts';
import { EXIT } from '../exit.ts';
import type { Invocation, Verb } from '../verb.ts';
import type { World } from '../world.ts';

/** All that a run needs which may have something to do. */
const whole = async (): Promise<Verb> => (await import('./power.ts')).power;

/**
 * The two stages of a power-on. On a chassis that is on, and that everybody has left as it was when such a stage last found nothing
 * to do, they see just that, and load nothing of what drives: decision 60.
 */
export const atRest: Verb = {
  async run(invocation, world) {
    if (await tellAtRest(invocation, world)) return EXIT.ok;
    return (await whole()).run(invocation, world);
  },

  async afterError(error, invocation, world) {
    await (await whole()).afterError?.(error, invocation, world);
  },
};

/** Says what the whole verb would say, where it would do nothing. */
async function tellAtRest(
  { verb, boardPath, chassis, runDir, json, option }: Invocation,
  world: World,
): Promise<boolean> {
  // Beside a systemd that did not start this process its units may have to be told, and a picture has to be drawn.
  if (world.systemd === 'present' || option('svg') !== undefined) return false;
  const here = { build: world.build(), bootId: world.bootId(), boardPath };
  const observation = await createRestFile(runDir, chassis, here).still(world.picture);
  if (observation === null || world.signal.aborted) return false;
  const report = json ? jsonReporter(world.stdout) : lineReporter(world.stdout, chassis);
  report({ type: 'reconciled', state: 'pgood', hint: 'pgood', ...observation, atMs: world.clock.nowMs() });
  if (verb === 'start') {
    const request = { type: 'request', request: 'POWER_ON', outcome: 'unchanged', reason: '' } as const;
    report({ ...request, atMs: world.clock.nowMs() });
  }
  return true;
}
