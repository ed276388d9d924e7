import { entriesOf } from '../../report/kept-entries.ts';
import { bootOf, headOf, traceText } from '../../report/run-text.ts';
import { EXIT } from '../exit.ts';
import { keptRuns, runNumbered } from '../kept-runs.ts';
import type { Verb } from '../verb.ts';
import { writePicture } from '../write-picture.ts';

/** Shows what happened in a run that is kept. Asks no line, and needs no board file. */
export const trace: Verb = {
  async run(invocation, world) {
    const run = runNumbered(await keptRuns(invocation, world), invocation.operands[0], 'run');
    const boot = bootOf(world.bootId());
    if (invocation.json) world.stdout.write(`${JSON.stringify(run)}\n`);
    else if (run === null) world.stdout.write(`no run of chassis ${invocation.chassis} is kept\n`);
    else world.stdout.write(traceText(run, boot));
    const path = invocation.option('svg');
    if (run === null || path === undefined) return EXIT.ok;
    const isDrawn = await writePicture(path, entriesOf(run), run, headOf(run, boot), world);
    if (isDrawn && !invocation.json) world.stdout.write(`timing diagram: ${path}\n`);
    return isDrawn ? EXIT.ok : EXIT.cannotCreate;
  },
};
