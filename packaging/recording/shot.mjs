// Takes a picture of a gallery in a real Chromium. Arguments: the browser, the page, the PNG.
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [executablePath, page, png] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
const view = await browser.newPage({ viewport: { width: 1000, height: 640 } });
await view.goto(String(pathToFileURL(page)));
await view.waitForLoadState('networkidle');
await view.screenshot({ path: png });
await browser.close();
