// Adds up the results of the tiers. A tier without results, and a skipped test, count as failures.
import { existsSync, readFileSync } from 'node:fs';

let passed = 0;
let failed = 0;
for (const tier of ['unit', 'faults', 'cli', 'systemd', 'bmc']) {
  const path = `build/results-${tier}.json`;
  if (!existsSync(path)) {
    console.log(`no results of the ${tier} tier`);
    failed += 1;
    continue;
  }
  const results = JSON.parse(readFileSync(path, 'utf8'));
  passed += results.numPassedTests;
  failed += results.numFailedTests;
  // A suite that failed before its tests has none that failed.
  for (const suite of results.testResults) {
    if (suite.status === 'failed' && suite.assertionResults.every(({ status }) => status !== 'failed')) {
      console.log(`failed before its tests: ${suite.name}`);
      failed += 1;
    }
    for (const { status, fullName } of suite.assertionResults) {
      if (status === 'passed' || status === 'failed') continue;
      console.log(`not run (${status}): ${fullName}`);
      failed += 1;
    }
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
