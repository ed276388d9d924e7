#!/usr/bin/env node
import { runCommandLine } from './cli/main.ts';
import { composeWorld } from './compose.ts';

// A process that loses its event loop half way must not look like one that did its work.
process.exitCode = 70;
process.exitCode = await runCommandLine(process.argv.slice(2), composeWorld());
