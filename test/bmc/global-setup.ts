/** Boots the emulated BMC once for all test files of the project `bmc`; tests take it with `attachBmc(inject('bmc'))`. */
import type { TestProject } from 'vitest/node';
import { type BmcHandle, bootBmc, type NoBmc } from './rig/guest.ts';

declare module 'vitest' {
  interface ProvidedContext {
    bmc: BmcHandle | NoBmc;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  try {
    const bmc = await bootBmc();
    project.provide('bmc', bmc.handle);
    return () => bmc.shutdown();
  } catch (error) {
    // Thrown here it would end the run without a result: every test file has to say why it did not run.
    const reason = error instanceof Error ? error.message : String(error);
    project.provide('bmc', { reason });
    return async () => undefined;
  }
}
