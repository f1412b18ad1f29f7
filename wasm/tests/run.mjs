// Runs a wasm file in which every exported function is one test: `GENERATE=… node run.mjs api.wasm`.
// `.ci/run wasm` names this file as cargo's runner for wasm32.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';

const wasm = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), 'smmuv3-'));
after(() => rmSync(folder, { recursive: true }));

execFileSync(process.env.GENERATE, [wasm, folder], { stdio: 'inherit' });
const name = join(folder, basename(wasm, '.wasm'));
const glue = await import(pathToFileURL(`${name}.js`).href);
glue.initSync({ module: readFileSync(`${name}_bg.wasm`) });

// Classes are exported as well; a test's name is in lower case.
const tests = Object.entries(glue).filter(([name]) => /^[a-z0-9_]+$/.test(name) && name !== 'default');
test('there are tests', () => { if (tests.length === 0) throw new Error(`${wasm} exports none`); });
for (const [name, run] of tests) test(name.replaceAll('_', ' '), () => run());
