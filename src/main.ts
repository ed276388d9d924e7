#!/usr/bin/env node
import { mayDrive, runCommandLine } from './cli/main.ts';
import { runProcess } from './compose.ts';

void runProcess({ name: 'chassis-power', run: runCommandLine, mayDrive });
