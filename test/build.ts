import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** The bundles that the tests run as users do, made anew from the sources of this checkout. */
export default function build(): void {
  execFileSync(process.execPath, [join(import.meta.dirname, '..', 'deploy', 'build.mjs')], {
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: 120_000,
  });
}
