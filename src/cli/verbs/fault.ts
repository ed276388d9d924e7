import { PowerError } from '../../errors.ts';
import { bootOf, runLine, runText, withoutTrace } from '../../report/run-text.ts';
import { hasFailed } from '../../store/black-box.ts';
import { EXIT } from '../exit.ts';
import { keptRuns, runNumbered } from '../kept-runs.ts';
import type { Verb } from '../verb.ts';

/** Shows the runs that failed, of this boot and of earlier ones. Asks no line, and needs no board file. */
export const fault: Verb = {
  async run(invocation, world) {
    const [action, number] = invocation.operands;
    const boot = bootOf(world.bootId());
    const failed = (await keptRuns(invocation, world)).filter(hasFailed);
    if (action === 'list') {
      if (number !== undefined) throw new PowerError('USAGE', `fault list takes no number, not "${number}"`);
      world.stdout.write(
        invocation.json
          ? `${JSON.stringify(failed.map(withoutTrace))}\n`
          : failed.map((run) => runLine(run, boot)).join('') || nothing(invocation.chassis),
      );
      return EXIT.ok;
    }
    if (action !== 'show') {
      throw new PowerError('USAGE', `fault takes show or list, not "${action}": see --help`);
    }
    const run = runNumbered(failed, number, 'a failure');
    if (invocation.json) world.stdout.write(`${JSON.stringify(run && withoutTrace(run))}\n`);
    else world.stdout.write(run === null ? nothing(invocation.chassis) : runText(run, boot));
    return EXIT.ok;
  },
};

function nothing(chassis: number): string {
  return `no failure of chassis ${chassis} is kept\n`;
}
