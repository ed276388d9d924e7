// A reporter for vitest that keeps what its JSON leaves out: why a hook of a suite failed, and why a test was skipped.
// Written to the file that REASONS_FILE names, for .ci/summary.mjs.
import { writeFileSync } from 'node:fs';

export default class Reasons {
  /**
   * @param {readonly import('vitest/node').TestModule[]} modules
   * @param {readonly import('vitest/node').SerializedError[]} unhandledErrors
   */
  onTestRunEnd(modules, unhandledErrors) {
    const failed = [];
    const skipped = [];
    for (const module of modules) {
      for (const suite of [module, ...module.children.allSuites()]) {
        for (const { message } of suite.errors()) {
          failed.push({
            file: module.moduleId,
            suite: suite.type === 'suite' ? suite.fullName : '',
            reason: message,
          });
        }
      }
      for (const test of module.children.allTests('skipped')) {
        const result = test.result();
        if (result.state === 'skipped' && result.note !== undefined)
          skipped.push({ test: test.fullName, reason: result.note });
      }
    }
    const unhandled = unhandledErrors.map(({ message }) => message);
    if (process.env.REASONS_FILE !== undefined) {
      writeFileSync(process.env.REASONS_FILE, `${JSON.stringify({ failed, skipped, unhandled }, null, 2)}\n`);
    }
  }
}
