// Ends with lines that say how the tests went, as the other runners do.

import type { Reporter, TestCase, TestResult } from '@playwright/test/reporter';

export default class Sum implements Reporter {
  readonly #counts = { pass: 0, fail: 0, skipped: 0 };

  onTestEnd(test: TestCase, result: TestResult): void {
    if (result.status !== 'passed' && result.status !== 'skipped' && result.retry < test.retries) return; // it is tried again
    if (result.status === 'skipped') this.#counts.skipped += 1;
    else if (test.ok()) this.#counts.pass += 1;
    else this.#counts.fail += 1;
  }

  onEnd(): void {
    for (const [name, count] of Object.entries(this.#counts)) console.log(`# ${name} ${count}`);
  }
}
