#!/usr/bin/env node
// `chassis-power` from a checkout, as npx and npm link find it: what npm run build made, in this very process.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const program = join(
  dirname(fileURLToPath(import.meta.url)),
  '..',
  'dist',
  'chassis-power',
  'chassis-power.cjs',
);
if (existsSync(program)) createRequire(import.meta.url)(program).run();
else {
  process.stderr.write(`chassis-power: ${program} is not built yet: run "npm run build" in the checkout\n`);
  // EX_UNAVAILABLE of sysexits.h.
  process.exitCode = 69;
}
