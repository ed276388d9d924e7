/** Boots the emulated BMC once for all test files of the project `bmc`; tests take it with `attachBmc(inject('bmc'))`. */
import type { TestProject } from 'vitest/node';
import { type BmcHandle, bootBmc } from './rig/guest.ts';

declare module 'vitest' {
  interface ProvidedContext {
    bmc: BmcHandle;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const bmc = await bootBmc();
  project.provide('bmc', bmc.handle);
  return () => bmc.shutdown();
}
