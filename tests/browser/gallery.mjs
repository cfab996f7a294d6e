// Opens galleries in a real Chromium and uses them. Arguments: the browser, the scenes, a folder for screenshots.
import assert from 'node:assert/strict';
import { readFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [executablePath, scenes, shots] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
mkdirSync(shots, { recursive: true });
const profile = mkdtempSync(join(tmpdir(), 'rcsync-browser-'));
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'];

/** Opens a scene; whatever it asks for, shows or complains of is kept. */
const open = async (context, scene) => {
  const page = await context.newPage();
  const seen = { requests: [], dialogs: [], complaints: [] };
  const home = `${pathToFileURL(join(scenes, scene))}/`;
  page.on('request', (request) => seen.requests.push(request.url()));
  page.on('dialog', async (dialog) => {
    seen.dialogs.push(dialog.message());
    await dialog.dismiss();
  });
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) seen.complaints.push(message.text());
  });
  page.on('pageerror', (error) => seen.complaints.push(String(error)));
  await page.goto(`${home}index.html`);
  const assertQuiet = () => {
    assert.deepEqual(seen.dialogs, []);
    assert.deepEqual(seen.complaints, []);
    const foreign = seen.requests.filter((url) => !url.startsWith(home) && !url.startsWith('blob:'));
    assert.deepEqual(foreign, [], 'nothing outside of the folder is asked for');
  };
  return { page, seen, home, assertQuiet };
};

const choose = (page, view) => page.locator(`input[name=view][value=${view}]`).check({ force: true });

const assertAccessible = async (page, what) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const told = violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes[0].html.slice(0, 160)} (${nodes.length})`);
  assert.deepEqual(told.filter((line) => /^(serious|critical)/.test(line)), [], what);
  if (told.length) console.log(`  axe-core on ${what}, minor: ${told.join('; ')}`);
};

const tests = {
  async 'hostile prompts are text: no dialog, no request'(context) {
    const { page, assertQuiet } = await open(context, 'hostile');
    for (const view of ['grid', 'step', 'compare']) {
      await choose(page, view);
      await page.waitForTimeout(200);
    }
    await choose(page, 'grid');
    assert.equal(await page.locator('h1').textContent(), '<img src=x onerror=alert(8)>"\'&');
    assert.match(await page.locator('.error').textContent(), /<script>alert\(9\)<\/script>/);
    const prompts = await page.locator('#grid tbody .prompt').allTextContents();
    assert.equal(prompts.length, 9);
    assert.equal(prompts[0], '<img src=x onerror=alert(1)>');
    await page.locator('#grid a.shot').first().click();
    assert.equal(await page.locator('#viewer .prompt').textContent(), prompts[0]);
    for (let prompt = 1; prompt < prompts.length; prompt += 1) {
      await page.keyboard.press('ArrowDown');
      assert.equal(await page.locator('#viewer .prompt').textContent(), prompts[prompt]);
    }
    assert.equal(await page.locator('script').count(), 1);
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).display), 'block');
    assertQuiet();
  },

  async 'the policy stops what would get through'(context) {
    const { page, seen } = await open(context, 'hostile');
    const stopped = await page.evaluate(async () => {
      const directives = [];
      document.addEventListener('securitypolicyviolation', (event) => directives.push(event.effectiveDirective));
      try { document.body.innerHTML += '<img src=x onerror=alert(1)>'; } catch (error) { directives.push(error.name); }
      const image = new Image();
      image.src = 'http://127.0.0.1:9/x.png';
      document.body.append(image);
      document.body.append(Object.assign(document.createElement('style'), { textContent: 'body { color: red }' }));
      await fetch('http://127.0.0.1:9/').catch(() => {});
      const frame = document.createElement('iframe');
      frame.src = 'http://127.0.0.1:9/';
      document.body.append(frame);
      await new Promise((done) => { setTimeout(done, 300); });
      return directives;
    });
    for (const part of ['TypeError', 'img-src', 'style-src-elem', 'connect-src', 'frame-src']) {
      assert.ok(stopped.includes(part), `${part}: ${stopped}`);
    }
    assert.deepEqual(seen.dialogs, []);
  },

  async 'the slider goes through the steps, by keyboard too'(context) {
    const { page, assertQuiet } = await open(context, 'story');
    await choose(page, 'step');
    const slider = page.locator('#first');
    const last = await slider.getAttribute('aria-valuetext');
    assert.match(last, /^step \d+$/);
    const source = () => page.locator('#stage img').first().getAttribute('src');
    const before = await source();
    await slider.focus();
    await page.keyboard.press('ArrowLeft');
    assert.notEqual(await slider.getAttribute('aria-valuetext'), last);
    assert.notEqual(await source(), before);
    await page.keyboard.press('Home');
    assert.equal(await slider.getAttribute('aria-valuetext'), 'step 0');
    assert.equal(await page.locator('#stage .card').count(), 2);
    assert.match(await page.locator('#stage figcaption').first().textContent(), /seed \d+/);
    await page.locator('#stage img').first().evaluate((image) => image.decode());
    assertQuiet();
  },

  async 'two steps stand side by side'(context) {
    const { page, assertQuiet } = await open(context, 'story');
    await choose(page, 'compare');
    const heads = await page.locator('#stage .card').first().locator('h4').allTextContents();
    assert.equal(heads.length, 2);
    assert.equal(heads[0], 'step 0');
    assert.notEqual(heads[0], heads[1]);
    const [left, right] = await page.locator('#stage .card').first().locator('img').all();
    const boxes = [await left.boundingBox(), await right.boundingBox()];
    assert.ok(Math.abs(boxes[0].y - boxes[1].y) < 2 && boxes[0].x + boxes[0].width <= boxes[1].x, 'beside each other');
    await page.locator('#second').focus();
    await page.keyboard.press('Home');
    assert.equal(await page.locator('#stage h4').nth(1).textContent(), 'step 0');
    assertQuiet();
  },

  async 'everything can be reached and left by keyboard'(context) {
    const { page, assertQuiet } = await open(context, 'story');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
    const link = page.locator('#grid a.shot').first();
    await link.focus();
    await page.keyboard.press('Enter');
    assert.ok(await page.locator('#viewer').evaluate((viewer) => viewer.open));
    assert.match(await page.locator('#viewer-title').textContent(), /^Step 0, prompt 1 of 2$/);
    await page.keyboard.press('ArrowRight');
    assert.doesNotMatch(await page.locator('#viewer-title').textContent(), /^Step 0,/);
    await page.keyboard.press('ArrowDown');
    assert.match(await page.locator('#viewer-title').textContent(), /prompt 2 of 2/);
    await page.keyboard.press('Escape');
    assert.ok(!await page.locator('#viewer').evaluate((viewer) => viewer.open));
    assert.ok(await link.evaluate((element) => element === document.activeElement), 'back where it was');
    await page.locator('input[name=view][value=grid]').focus();
    await page.keyboard.press('ArrowRight');
    assert.ok(await page.locator('#stage').isVisible());
    assertQuiet();
  },

  async 'a hash is copied'(context) {
    const { page, assertQuiet } = await open(context, 'story');
    const button = page.locator('.copy').first();
    await button.click();
    await page.locator('#said', { hasText: 'Copied' }).waitFor({ state: 'attached' });
    const pasted = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(pasted, await button.getAttribute('data-copy'));
    assert.match(pasted, /^[0-9a-f]{64}$/);
    assertQuiet();
  },

  async 'stops and resumes are shown'(context) {
    const { page } = await open(context, 'story');
    const turns = (await page.locator('.turns li').allTextContents()).join('\n');
    assert.match(turns, /stopped before its last step/);
    assert.match(turns, /resumed|waits for a GPU/);
    assert.equal(await page.locator('.chart .stop').count(), 1);
    assert.ok(await page.locator('.chart .line').evaluate((line) => line.points.numberOfItems > 5));
  },

  async 'films and sounds play'(context) {
    const { page, assertQuiet } = await open(context, 'media');
    await page.locator('#grid a.video video').first().waitFor({ state: 'attached' });
    await choose(page, 'step');
    for (const kind of ['video', 'audio']) {
      const time = await page.locator(`#stage ${kind}`).first().evaluate(async (player) => {
        player.muted = true;
        await player.play();
        await new Promise((done) => { player.addEventListener('timeupdate', () => player.currentTime > 0 && done()); });
        return player.currentTime;
      });
      assert.ok(time > 0, kind);
    }
    await choose(page, 'grid');
    await page.locator('#grid a.video').first().click();
    await page.locator('#viewer video').waitFor();
    await page.screenshot({ path: join(shots, 'media-viewer.png') });
    assertQuiet();
  },

  async 'two thousand samples are loaded as they are seen'(context) {
    const began = Date.now();
    const { page, seen, assertQuiet } = await open(context, 'many');
    const ready = Date.now() - began;
    assert.ok(await page.locator('#grid img').count() >= 2000);
    await page.waitForTimeout(500);
    const asked = new Set(seen.requests.filter((url) => url.includes('/samples/'))).size;
    console.log(`  ready after ${ready} ms, ${asked} of ${await page.locator('#grid img').count()} pictures asked for`);
    assert.ok(asked < 600, `${asked} asked for`);
    const last = page.locator('#grid tbody tr').last().locator('img').last();
    await last.scrollIntoViewIfNeeded();
    await last.evaluate((image) => image.decode());
    assert.ok(ready < 10000, `${ready} ms`);
    await choose(page, 'step');
    const moved = await page.evaluate(async () => {
      const slider = document.querySelector('#first');
      const start = performance.now();
      for (let at = 0; at < 20; at += 1) {
        slider.value = at * 10;
        slider.dispatchEvent(new Event('input'));
        await new Promise(requestAnimationFrame);
      }
      return (performance.now() - start) / 20;
    });
    console.log(`  a move of the slider takes ${moved.toFixed(1)} ms`);
    assert.ok(moved < 250, `${moved} ms`);
    assertQuiet();
  },

  async 'twenty runs are compared: slider, two side by side, filter, sorting'(context) {
    const began = Date.now();
    const { page, seen, assertQuiet } = await open(context, 'runs');
    console.log(`  twenty runs ready after ${Date.now() - began} ms, ${await page.locator('#grid .shot').count()} samples`);
    assert.ok(await page.locator('#grid .shot').count() >= 9000);
    assert.ok(Date.now() - began < 10000);
    const asked = () => new Set(seen.requests.filter((url) => url.includes('/samples/'))).size;
    await page.waitForTimeout(500);
    assert.ok(asked() < 600, `${asked()} asked for`);
    const slider = page.locator('#step');
    await slider.focus();
    await page.keyboard.press('Home');
    assert.equal(await slider.getAttribute('aria-valuetext'), 'step 0');
    assert.equal(await page.locator('#grid .at').first().textContent(), 'step 0');
    const moved = await page.evaluate(async () => {
      const slider = document.querySelector('#step');
      const start = performance.now();
      for (let at = 0; at < 20; at += 1) {
        slider.value = at * 2;
        slider.dispatchEvent(new Event('input'));
        await new Promise(requestAnimationFrame);
      }
      return (performance.now() - start) / 20;
    });
    console.log(`  a move of the slider takes ${moved.toFixed(1)} ms`);
    assert.ok(moved < 250, `${moved} ms`);
    await page.locator('#none').click();
    assert.equal(await page.locator('#grid thead th:visible').count(), 1);
    await page.locator('#table tbody input').nth(0).check();
    await page.locator('#table tbody input').nth(3).check();
    assert.equal(await page.locator('#grid thead th:visible').count(), 3);
    assert.ok(await page.locator('#grid').evaluate((grid) => grid.classList.contains('two')));
    await page.screenshot({ path: join(shots, 'runs-two.png') });
    await page.locator('#every').click();
    await page.locator('#filter').fill('dog_rank_64');
    assert.equal(await page.locator('#table tbody tr:visible').count(), 4);
    assert.equal(await page.locator('#grid thead th:visible').count(), 5);
    await page.locator('#filter').fill('');
    const head = page.locator('#table thead th').nth(3);
    await head.locator('button').click();
    assert.equal(await head.getAttribute('aria-sort'), 'ascending');
    const totals = (await page.locator('#table tbody tr td:nth-child(4)').allTextContents()).map(Number);
    assert.deepEqual(totals, [...totals].sort((a, b) => a - b));
    assert.ok(await page.locator('#settings tbody tr').count() > 0);
    for (const colorScheme of ['light', 'dark']) {
      for (const width of [360, 900, 1600]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 1000 });
        await page.waitForTimeout(150);
        if (width === 360 && colorScheme === 'light') await assertAccessible(page, `runs ${colorScheme} ${width}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `runs ${width}: the page is ${wide} pixels too wide`);
        await page.screenshot({ path: join(shots, `runs-${colorScheme}-${width}.png`) });
      }
    }
    assertQuiet();
  },

  async 'without scripts the grid is there'(context) {
    const browser = await chromium.launch({ executablePath, args });
    const plain = await browser.newContext({ javaScriptEnabled: false });
    const page = await plain.newPage();
    await page.goto(`${pathToFileURL(join(scenes, 'story'))}/index.html`);
    assert.ok(await page.locator('#grid img').first().isVisible());
    assert.ok(!await page.locator('#tools').isVisible() && !await page.locator('.copy').first().isVisible());
    await browser.close();
  },

  async 'axe-core finds nothing serious, and screenshots are taken'(context) {
    for (const scene of ['story', 'hostile', 'media']) {
      const { page } = await open(context, scene);
      for (const colorScheme of ['light', 'dark']) {
        for (const width of [360, 900, 1600]) {
          await page.emulateMedia({ colorScheme });
          await page.setViewportSize({ width, height: width < 500 ? 760 : 1000 });
          for (const view of ['grid', 'step', 'compare']) {
            await choose(page, view);
            await page.waitForTimeout(150);
            if (width !== 900) await assertAccessible(page, `${scene} ${colorScheme} ${width} ${view}`);
            const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
            assert.ok(wide <= 0, `${scene} ${width} ${view}: the page is ${wide} pixels too wide`);
            await page.screenshot({ path: join(shots, `${scene}-${colorScheme}-${width}-${view}.png`), fullPage: true });
          }
          await choose(page, 'grid');
          await page.locator('#grid a.shot').first().click();
          await page.waitForTimeout(150);
          if (width !== 900) await assertAccessible(page, `${scene} ${colorScheme} ${width} viewer`);
          await page.screenshot({ path: join(shots, `${scene}-${colorScheme}-${width}-viewer.png`) });
          await page.keyboard.press('Escape');
        }
      }
      await page.close();
    }
  },
};

let failures = 0;
const context = await chromium.launchPersistentContext(profile, {
  executablePath, args, headless: true, permissions: ['clipboard-read', 'clipboard-write'],
});
for (const [name, test] of Object.entries(tests)) {
  try {
    await test(context);
    console.log(`ok      ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
  for (const page of context.pages().slice(1)) await page.close();
}
await context.close();
rmSync(profile, { recursive: true, force: true });
console.log(`${Object.keys(tests).length - failures} of ${Object.keys(tests).length} passed; screenshots in ${shots}`);
process.exitCode = failures ? 1 : 0;
