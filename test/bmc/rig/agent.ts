import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectPorts, type PortClient } from '../../../mocks/wire/client.ts';
import type { Bmc } from './guest.ts';

const BUILD_MS = 600_000;
const LIFE_MS = 1_800_000;
const DEADLINE_MS = 300_000;

/** Brings the drivers of hw/ into the guest, as a program that serves them. */
export async function installAgent(bmc: Bmc): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'agent-'));
  try {
    const archive = join(folder, 'agent.tar.gz');
    execFileSync(process.execPath, [join(import.meta.dirname, '..', 'agent', 'build.mjs'), archive], {
      stdio: ['ignore', 'ignore', 'inherit'],
      timeout: BUILD_MS,
    });
    await bmc.copyIn(archive, '/tmp/contract-agent.tar.gz');
  } finally {
    rmSync(folder, { recursive: true });
  }
  await bmc.sh('tar -xzf /tmp/contract-agent.tar.gz -C /');
}

/** Runs the installed agent, which ends when it is closed. `name` shows in the guest's process list. */
export async function startAgent(bmc: Bmc, name: string): Promise<PortClient> {
  const process = await bmc.spawnStream(`cd /; exec node /opt/contract-agent/agent.mjs ${name}`, {
    timeoutMs: LIFE_MS,
  });
  const agent = connectPorts(process, { deadlineMs: DEADLINE_MS, peer: `the agent "${name}"` });
  await agent.call('ping');
  return agent;
}
