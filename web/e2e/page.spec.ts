// The page as a reader uses it: by keyboard and pointer alone.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, type Locator, type Page, test } from '@playwright/test';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Nothing may be said on the console, and nobody else may be asked. */
const said = new WeakMap<Page, string[]>();
test.beforeEach(async ({ page, baseURL }) => {
  const lines: string[] = [];
  said.set(page, lines);
  page.on('console', (line) => lines.push(line.text()));
  page.on('pageerror', (error) => lines.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(baseURL ?? '') && !request.url().startsWith('blob:')) lines.push(`asked ${request.url()}`);
  });
  await page.goto('/');
  await expect(page.locator('#iotlb')).toBeVisible();
});
test.afterEach(({ page }) => expect(said.get(page)).toEqual([]));

const lab = (page: Page) => page.getByRole('button', { name: 'Lab', exact: true }).click();

/** A scenario of the lab. */
async function choose(page: Page, scenario: string): Promise<void> {
  await lab(page);
  await page.selectOption('#scenario', scenario);
}

const field = (page: Page, name: string) => page.locator(`#composer [name="${name}"]`);
const live = async (page: Page) => Number(await page.locator('canvas.grid').getAttribute('data-live'));
const moment = (page: Page) => page.locator('#moment').innerText();

/** Everything that the panels say. */
async function state(page: Page): Promise<string> {
  for (const id of ['iotlb', 'band', 'queue']) {
    const details = page.locator(`#${id} > details`);
    if (await details.getAttribute('open') === null) await details.locator('summary').first().click();
    await expect(details.locator('table')).toBeVisible();
  }
  return page.locator('main').innerText();
}

async function drag(page: Page, canvas: Locator, from: readonly [number, number], to: readonly [number, number]): Promise<void> {
  await canvas.scrollIntoViewIfNeeded();
  const box = await canvas.boundingBox();
  if (box === null) throw new Error('nothing to drag');
  await page.mouse.move(box.x + from[0], box.y + from[1]);
  await page.mouse.down();
  await page.mouse.move(box.x + (from[0] + to[0]) / 2, box.y + to[1], { steps: 4 });
  await page.mouse.move(box.x + to[0], box.y + to[1], { steps: 4 });
  await page.mouse.up();
}

test('the tour from start to end, each part ticked off as it is done', async ({ page }) => {
  const done = page.locator('#parts .done');
  const then = page.locator('#then');
  const next = page.locator('#next');
  const cell = page.locator('canvas.grid');
  const read = page.locator('#guest').getByRole('button', { name: 'DMA read' });
  const send = page.getByRole('button', { name: 'Send' });
  // What a TLB holds.
  await read.click();
  await expect(done).toHaveCount(1);
  await read.click();
  await expect(done).toHaveCount(2);
  await cell.focus();
  while (await page.locator('output.said').innerText().then((said) => !said.includes('→'))) await page.keyboard.press('ArrowRight');
  await expect(then).toContainText('One miss, four reads');
  await next.click();
  // A table changes.
  await page.getByRole('button', { name: 'Unmap it' }).click();
  await expect(done).toHaveCount(1);
  await read.click();
  await expect(then).toContainText('no longer name');
  await next.click();
  // Invalidation.
  await send.click();
  await expect(done).toHaveCount(1);
  await page.getByRole('button', { name: '+ CMD_SYNC' }).click();
  await expect(page.locator('#message')).toContainText('CMD_SYNC is done');
  await expect(then).toContainText('one page is taken back');
  await next.click();
  // A storm.
  await page.locator('.lesson .noun', { hasText: 'Run' }).click(); // the word presses the button
  await expect(then).toContainText('262,144 commands (and 1 CMD_SYNC)', { timeout: 45_000 });
  await expect(page.locator('#counters')).toContainText('with 1 CMD_SYNC');
  await next.click();
  // One range.
  await field(page, 'scale').fill('18');
  await expect(done).toHaveCount(1);
  await send.click();
  await expect(then).toContainText('(NUM 0 + 1) · 2^18 · 4 KiB = 1 GiB');
  await expect(then).not.toContainText('But');
  await expect(page.locator('.steps .done')).toHaveCount(5);
  await next.click();
  // TTL.
  await cell.focus();
  await page.keyboard.press('ArrowRight');
  await expect(done).toHaveCount(1);
  await field(page, 'ttl').selectOption('2');
  await expect(done).toHaveCount(2);
  await field(page, 'ttl').selectOption('0');
  await expect(then).toContainText('TTL only narrows');
  await next.click();
  // Leaf.
  await send.click();
  await expect(done).toHaveCount(1);
  await read.click();
  await expect(page.locator('#access')).toContainText('STALE');
  await field(page, 'leaf').uncheck();
  await send.click();
  await expect(page.locator('#message')).toContainText('1 entry of the IOTLB dropped, and 3 tables of the walk cache');
  await expect(done).toHaveCount(3);
  await read.click();
  await expect(then).toContainText('only Leaf = 0 is enough');
  await next.click();
  // Why: go through the slots until every reason has been seen.
  await cell.focus();
  for (let n = 0; n < 120 && await done.count() < 3; n++) await page.keyboard.press(n % 8 === 7 ? 'ArrowDown' : 'ArrowRight');
  await expect(then).toContainText('why it survives');
  await next.click();
  // The lab has the same scene, and the tour is still done.
  await expect(page.locator('#scenario')).toHaveValue('tour-why');
  await page.getByRole('button', { name: 'Explain', exact: true }).click();
  await expect(page.locator('.steps .done')).toHaveCount(8);
  await expect(done).toHaveCount(3);
});

test('a range dragged in the tour becomes exactly what was unmapped, and what was sent is what is told', async ({ page }) => {
  await page.locator('.steps button').nth(4).click();
  await field(page, 'scale').fill('17');
  const canvas = page.locator('canvas.band');
  const box = await canvas.boundingBox();
  if (box === null) throw new Error('no band');
  const edges: number[] = [];
  for (let x = 70; x < box.width; x += 4) {
    await canvas.hover({ position: { x, y: 100 } });
    if (await canvas.evaluate((element) => element.style.cursor) === 'ew-resize') edges.push(x);
  }
  const [left, right] = [Math.min(...edges), Math.max(...edges)];
  // A little less than twice as long.
  await drag(page, canvas, [right - 6, 100], [right - 6 + (right - left) - 7, 100]);
  await expect(page.locator('#composer .range')).toContainText('2^18 · 4 KiB = 1 GiB');
  await page.getByRole('button', { name: 'Send' }).click();
  await expect(page.locator('#then')).toContainText('(NUM 0 + 1) · 2^18 · 4 KiB = 1 GiB');
  await page.getByRole('button', { name: 'Again' }).click();
  await field(page, 'num').fill('16');
  await field(page, 'scale').fill('18');
  await page.getByRole('button', { name: 'Send' }).click();
  await expect(page.locator('#then')).toContainText('(NUM 16 + 1) · 2^18 · 4 KiB = 17 GiB');
  await expect(page.locator('#then')).toContainText('names 16 GiB more than was unmapped');
});

test('a slot of the tour says why its entry stays, and of another address space no more than that', async ({ page }) => {
  await page.locator('.steps button').nth(4).click();
  await expect(page.locator('output.said')).toHaveText('Choose a slot to see why its entry stays or goes.');
  await page.locator('canvas.grid').focus();
  const said = page.locator('output.said');
  for (let n = 0; n < 128 && !(await said.innerText()).includes('ASID 7'); n++) await page.keyboard.press(n % 8 === 7 ? 'ArrowRight' : 'ArrowDown');
  await expect(said).toContainText('It stays: it belongs to another ASID.');
  await expect(said).not.toContainText('stale');
});

test('going on with something undone is asked for twice', async ({ page }) => {
  await expect(page.locator('#read')).toHaveCSS('outline-style', 'solid'); // the button that is asked for
  await page.locator('#next').click();
  await expect(page.locator('#message')).toContainText('part 1 of this step is not done yet');
  await expect(page.locator('#lesson-title')).toHaveText('What a TLB holds');
  await page.locator('#next').click();
  await expect(page.locator('#lesson-title')).toHaveText('A table changes, the TLB does not');
});

test('a word of the glossary says what it means', async ({ page }) => {
  await page.locator('.steps button').nth(2).click();
  const term = page.locator('.lesson .term', { hasText: 'ASID' }).first();
  await expect(term.locator('.meaning')).toBeHidden();
  await term.focus();
  await expect(term.locator('.meaning')).toContainText('address space');
  await expect(field(page, 'ttl')).toHaveCount(0); // not explained yet
});

test('a step of the tour shows the few panels that it is about', async ({ page }) => {
  for (let n = 1; n <= 8; n++) {
    await page.locator('.steps button').nth(n - 1).click();
    const panels = await page.locator('.stage .panel').count();
    expect(panels >= 2 && panels <= 5).toBe(true);
    await expect(page.locator('#parts .done')).toHaveCount(0);
  }
  await page.locator('.lesson .noun', { hasText: 'The table' }).click(); // a noun leads to its panel
  await expect(page.locator('#why')).toBeFocused();
});

test('a range composed by typing drops what was previewed', async ({ page }) => {
  await choose(page, 'first');
  await field(page, 'tg').selectOption('1');
  await field(page, 'num').fill('7');
  await field(page, 'ttl').selectOption('3');
  await expect(page.locator('#preview')).toContainText('would drop 8 entries');
  const before = await live(page);
  await field(page, 'num').press('Enter');
  await expect.poll(() => live(page)).toBe(before - 8);
});

test('a range composed by dragging drops what was previewed', async ({ page }) => {
  await choose(page, 'range');
  await field(page, 'scale').fill('14');
  const canvas = page.locator('canvas.band');
  const sentence = await page.locator('#preview').innerText();
  const box = await canvas.boundingBox();
  if (box === null) throw new Error('no band');
  // Of the two edges, the right one: find it under the pointer.
  let edge = 0;
  for (let x = 70; x < box.width / 3; x += 2) {
    await canvas.hover({ position: { x, y: 100 } });
    if (await canvas.evaluate((element) => element.style.cursor) === 'ew-resize') edge = x;
  }
  expect(edge).toBeGreaterThan(0);
  await drag(page, canvas, [edge - 6, 100], [edge + 200, 100]);
  const dragged = await page.locator('#preview').innerText();
  expect(dragged).not.toBe(sentence);
  const count = Number(/would drop (\d+)/.exec(dragged)?.[1]);
  expect(count).toBeGreaterThan(1);
  const before = await live(page);
  await page.getByRole('button', { name: 'Send' }).click();
  await expect.poll(() => live(page)).toBe(before - count);
});

test('the storm against the range', async ({ page }) => {
  await page.getByRole('button', { name: 'Compare' }).click();
  await page.getByLabel('pace').selectOption({ label: 'at once' });
  await page.locator('#race').click();
  await expect(page.locator('#result')).toContainText('262,144 commands against 1', { timeout: 30_000 });
});

test('a step back restores every panel', async ({ page }) => {
  await choose(page, 'wrap');
  await page.keyboard.press('Escape');
  await page.locator('h1').click();
  for (let n = 0; n < 3; n++) await page.keyboard.press('.');
  const seen = [await state(page)];
  for (let n = 0; n < 8; n++) {
    await page.getByRole('button', { name: 'Step ▸' }).click();
    seen.push(await state(page));
  }
  const bare = (text: string) => text.replace(/of \d+.*$/gm, '');
  for (let n = 8; n > 0; n--) {
    expect(bare(await state(page))).toBe(bare(seen[n] ?? ''));
    await page.getByRole('button', { name: 'Back' }).click();
  }
  expect(bare(await state(page))).toBe(bare(seen[0] ?? ''));
});

test('a link into the tour keeps what has been done', async ({ page, browser }) => {
  await page.locator('.steps button').nth(6).click();
  await page.getByRole('button', { name: 'Send' }).click();
  await page.locator('#guest').getByRole('button', { name: 'DMA read' }).click();
  await expect(page.locator('#parts .done')).toHaveCount(2);
  await page.getByRole('button', { name: 'Copy link' }).click();
  await expect(page).toHaveURL(/#v1\./);
  const other = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
  await other.goto(page.url());
  await expect(other.locator('#parts .done')).toHaveCount(2);
  expect(await other.locator('main').innerText()).toBe(await page.locator('main').innerText());
  await other.close();
});

test('a link opened elsewhere shows the same state', async ({ page, browser }) => {
  await choose(page, 's2ipa');
  await page.locator('h1').click();
  await page.keyboard.press('.');
  await page.keyboard.press('.');
  await page.getByRole('button', { name: 'Send' }).click();
  await page.getByRole('button', { name: 'Copy link' }).click();
  await expect(page).toHaveURL(/#v1\./);
  expect(page.url().length).toBeLessThan(2048);
  const other = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
  await other.goto(page.url());
  await expect(other.locator('#iotlb')).toBeVisible();
  expect(await state(other)).toBe(await state(page));
  expect(await moment(other)).toBe(await moment(page));
  await other.close();
});

test('what is exported can be imported, and a broken file changes nothing', async ({ page }, info) => {
  await choose(page, 'ttl');
  await page.getByRole('button', { name: '▸|' }).click();
  const waiting = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export' }).click();
  const file = info.outputPath('exported.jsonl');
  await (await waiting).saveAs(file);
  const before = await live(page);
  const give = async (path: string) => {
    const chooser = page.waitForEvent('filechooser');
    await page.getByRole('button', { name: 'Import' }).click();
    await (await chooser).setFiles(path);
  };
  const broken = info.outputPath('broken.jsonl');
  writeFileSync(broken, readFileSync(file, 'utf8').replace('"iova"', '"iovaa"'));
  const seen = await state(page);
  await give(broken);
  await expect(page.locator('#message')).toContainText(/line \d+: `dma` lacks `iova`/);
  expect(await state(page)).toBe(seen);
  // What was seen is a test: the model agrees with it outside of the page.
  expect(execFileSync('cargo', ['run', '--quiet', '-p', 'smmuv3-tests', '--bin', 'replay', '--', file], { cwd: '..' }).toString()).toContain('1 passed, 0 failed, 0 skipped');
  await give(file);
  await expect(page.locator('#message')).toContainText('imported');
  await page.getByRole('button', { name: '▸|' }).click();
  expect(await live(page)).toBe(before);
});

test('every scenario and every fix runs to its end', async ({ page }) => {
  await lab(page);
  const ids = await page.locator('#scenario option').evaluateAll((options) => options.map((option) => option.getAttribute('value') ?? ''));
  expect(ids.length).toBeGreaterThan(18);
  for (const id of ids) {
    await choose(page, id);
    await page.getByRole('button', { name: '▸|' }).click();
    await expect(page.locator('#moment')).toContainText('over');
    if (await page.locator('#fix').isVisible()) {
      await page.locator('#fix').click();
      await page.getByRole('button', { name: '▸|' }).click();
      await expect(page.locator('#moment')).toContainText('over');
      await expect(page.locator('#iotlb > header')).not.toContainText('stale');
    }
  }
});

test('tables hold what canvases show', async ({ page }) => {
  await choose(page, 'linux');
  await page.getByRole('button', { name: '▸|' }).click();
  const shown = await live(page);
  for (const id of ['iotlb', 'band']) {
    await page.locator(`#${id} > details summary`).click();
    await expect(page.locator(`#${id} tbody tr`)).toHaveCount(shown);
  }
  expect(Number(await page.locator('canvas.band').getAttribute('data-entries'))).toBe(shown);
  // The ring: a row a slot, with the same states.
  await page.locator('#queue > details summary').click();
  const slots = await page.locator('#queue svg path').evaluateAll((paths) => paths.map((path) => path.getAttribute('class')?.trim().split(' ')[0]));
  expect(await page.locator('#queue tbody tr td:nth-child(2)').allInnerTexts()).toEqual(slots);
  // Plots: their last point is what the counters say.
  await page.locator('#counters > details summary').click();
  const commands = await page.locator('#counters dl div', { hasText: 'commands' }).locator('dd').innerText();
  await expect(page.locator('#counters tbody tr').last().locator('td').nth(1)).toHaveText(commands);
  // Time: a row for each stretch of it, up to the last step.
  await page.locator('#time > details summary').click();
  const end = (await moment(page)).replace(/.*of ([\d,]*\d).*/, '$1');
  await expect(page.locator('#time tbody tr').last().locator('td').first()).toContainText(end);
  // The race: what each device holds.
  await page.getByRole('button', { name: 'Compare' }).click();
  for (const lane of await page.locator('.racers section').all()) {
    await lane.locator('details summary').click();
    const count = Number(/(\d+) live/.exec(await lane.locator('canvas.grid').getAttribute('aria-label') ?? '')?.[1]);
    expect(count).toBeGreaterThan(0);
    await expect(lane.locator('tbody tr')).toHaveCount(count);
  }
});

test('the page works in a folder of any host, and as an embedded frame', async ({ page, baseURL }) => {
  await page.route(`${baseURL}/some/folder/**`, (route) => {
    const path = new URL(route.request().url()).pathname.replace('/some/folder/', '');
    return route.fulfill({ path: `dist/${path === '' ? 'index.html' : path}` });
  });
  await page.route(`${baseURL}/host.html`, (route) => route.fulfill({ contentType: 'text/html', body: '<iframe src="/some/folder/?embed" width="900" height="600"></iframe>' }));
  await page.goto('/host.html');
  const frame = page.frameLocator('iframe');
  await frame.locator('#guest').getByRole('button', { name: 'DMA read' }).click();
  await expect(frame.locator('#parts .done')).toHaveCount(1);
  await expect(frame.locator('.tools')).toBeHidden();
});

test('keys and the palette reach everything', async ({ page }) => {
  await lab(page);
  await page.keyboard.press('Control+k');
  await expect(page.getByRole('combobox', { name: 'What to do' })).toBeFocused();
  await page.keyboard.type('fix wrong ttl');
  await page.keyboard.press('Enter');
  await expect(page.locator('#story-title')).toContainText('done right');
  await page.locator('h1').click();
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Keys' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog', { name: 'Keys' })).toBeHidden();
  await page.keyboard.press('t');
  await expect(page.locator('#iotlb canvas')).toBeFocused();
  await page.keyboard.press('ArrowRight');
  await expect(page.locator('#why')).toContainText('TTL');
  const before = await moment(page);
  await page.keyboard.press('.');
  expect(await moment(page)).not.toBe(before);
  await page.keyboard.press(',');
  expect((await moment(page)).split(' of')[0]).toBe(before.split(' of')[0]);
});

test('an illegal command and a wrong number are said, not sent', async ({ page }) => {
  await choose(page, 'ill');
  await expect(page.locator('#preview')).toContainText('CERROR_ILL');
  await field(page, 'asid').fill('70000');
  await expect(page.locator('#preview')).toContainText('ASID has 16 bits');
  await expect(page.getByRole('button', { name: 'Send' })).toBeDisabled();
});

for (const scheme of ['light', 'dark'] as const) {
  for (const mode of ['Lab', 'Explain', 'Compare'] as const) {
    test(`axe finds nothing in ${mode}, ${scheme}`, async ({ page }) => {
      await page.emulateMedia({ colorScheme: scheme });
      await page.getByRole('button', { name: mode, exact: true }).click();
      if (mode === 'Lab') {
        await choose(page, 'ttl');
        await page.getByRole('button', { name: '▸|' }).click();
        await page.locator('canvas.grid').click({ position: { x: 20, y: 8 } });
      }
      await page.addScriptTag({ content: axe });
      const found = await page.evaluate(async () => {
        const { violations } = await (Reflect.get(globalThis, 'axe') as { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> }).run();
        return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`);
      });
      expect(found).toEqual([]);
    });
  }
}

for (const width of [360, 1440, 3840]) {
  test(`nothing is cut off at ${width} px`, async ({ page }, info) => {
    await page.setViewportSize({ width, height: width === 360 ? 780 : width === 1440 ? 900 : 2160 });
    for (const mode of ['Explain', 'Lab', 'Compare'] as const) {
      await page.getByRole('button', { name: mode, exact: true }).click();
      expect(await page.evaluate(() => document.documentElement.scrollWidth), mode).toBeLessThanOrEqual(width);
      // Every canvas is inside of its panel, and sharp.
      for (const canvas of await page.locator('canvas').all()) {
        const [inside, sharp] = await canvas.evaluate((element: HTMLCanvasElement) => {
          const [own, panel] = [element.getBoundingClientRect(), element.closest('.panel')?.getBoundingClientRect()];
          return [panel !== undefined && own.left >= panel.left && own.right <= panel.right + 1, element.width >= element.clientWidth - 1];
        });
        expect([inside, sharp], mode).toEqual([true, true]);
      }
      await page.screenshot({ path: info.outputPath(`${mode}-${width}.png`) });
    }
  });
}
