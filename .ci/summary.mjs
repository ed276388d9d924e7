// Adds up the results of the tiers, and says what failed, and why what did not run did not. A tier without results, and a
// skipped test, count as failures.
import { existsSync, readFileSync } from 'node:fs';

let passed = 0;
let failed = 0;
/** @param {string} path */
const read = (path) => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null);
/** @param {string} text */
const indented = (text) => text.trim().replaceAll('\n', '\n    ');

/**
 * What deploy/reasons.mjs wrote.
 * @typedef {object} Reasons
 * @property {{ file: string, suite: string, reason: string }[]} failed
 * @property {{ test: string, reason: string }[]} skipped
 * @property {string[]} unhandled
 */

for (const tier of ['unit', 'faults', 'cli', 'systemd', 'bmc']) {
  const results = read(`build/results-${tier}.json`);
  /** @type {Reasons} */
  const reasons = read(`build/reasons-${tier}.json`) ?? { failed: [], skipped: [], unhandled: [] };
  for (const reason of reasons.unhandled) {
    console.log(`error outside of the tests of the ${tier} tier:\n    ${indented(reason)}`);
  }
  if (results === null || results.testResults.length === 0) {
    console.log(results === null ? `no results of the ${tier} tier` : `no test of the ${tier} tier ran`);
    failed += 1;
    continue;
  }
  passed += results.numPassedTests;
  failed += results.numFailedTests;
  // A suite that failed before its tests has none that failed.
  for (const suite of results.testResults) {
    const ofSuite = reasons.failed.filter(({ file }) => file === suite.name);
    for (const { suite: name, reason } of ofSuite) {
      console.log(
        `failed before or after its tests: ${suite.name}${name ? ` > ${name}` : ''}\n    ${indented(reason)}`,
      );
    }
    if (
      suite.status === 'failed' &&
      suite.assertionResults.every((/** @type {{ status: string }} */ { status }) => status !== 'failed')
    ) {
      if (ofSuite.length === 0) {
        console.log(
          `failed before its tests: ${suite.name}\n    ${indented(suite.message || 'no reason given')}`,
        );
      }
      failed += 1;
    }
    for (const { status, fullName, failureMessages } of suite.assertionResults) {
      if (status === 'passed') continue;
      if (status === 'failed') {
        // Said once more at the end: of a long output often only the end is kept.
        console.log(`failed: ${suite.name} > ${fullName}\n    ${indented(failureMessages.join('\n'))}`);
        continue;
      }
      const why = reasons.skipped.find(({ test }) => test.replaceAll(' > ', ' ') === fullName)?.reason;
      console.log(`not run (${status}): ${fullName}${why ? `: ${why}` : ''}`);
      failed += 1;
    }
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
