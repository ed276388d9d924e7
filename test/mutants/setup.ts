import fc from 'fast-check';
import { inject, vi } from 'vitest';

// The worker has run another mutant before this one, and Stryker switches to the new one when the tests begin: until then,
// while the test files are read, none is active.
const { __stryker__ } = globalThis as { __stryker__?: { activeMutant?: string | undefined } };
if (__stryker__ !== undefined && inject('mutantActivation' as never) !== 'static') {
  __stryker__.activeMutant = undefined;
}

// That a case fails says all that is asked here; the smallest one that fails says no more.
fc.configureGlobal({ ...fc.readConfigureGlobal(), endOnFailure: true });

// Who sets a timeout has the whole configuration kept, and given back after each file: the thread lives on, and every later
// mutant would meet the tests that were chosen for this one.
vi.setConfig = () => undefined;
