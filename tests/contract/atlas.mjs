// Opens the page of an atlas from the disk in a real browser: `node atlas.mjs PAGE CHROMIUM [SCREENSHOTS]`. Fails with what does
// not hold.
//
// Every theme and width: the tiles are there, keys and the filter lead to them, one is enlarged; nothing comes from elsewhere; axe
// finds nothing that keeps people out.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const { chromium } = createRequire(`${process.cwd()}/`)("playwright-core");
const axe = readFileSync(createRequire(`${process.cwd()}/`).resolve("axe-core/axe.min.js"), "utf8");
const [path, executablePath, screenshots] = process.argv.slice(2);
const index = JSON.parse(readFileSync(join(dirname(path), "index.json"), "utf8"));
const folder = pathToFileURL(dirname(path)).href;
const tiles = index.layers.reduce((sum, layer) => sum + layer.tiles.length, 0);

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--no-first-run"] });
for (const [colorScheme, width] of [["light", 1280], ["dark", 1280], ["light", 390]]) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  page.on("request", (request) => { if (!request.url().startsWith(folder)) complaints.push(`asked ${request.url()}`); });
  await page.goto(pathToFileURL(path).href);
  assert.equal(await page.title(), `Atlas of ${index.model.id}`);
  assert.equal(await page.locator(".tile").count(), tiles);
  // Sheets come as they are looked at.
  await page.waitForFunction(() => document.querySelector(".tile img").naturalWidth > 0);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is too wide");
  if (screenshots) await page.screenshot({ path: `${screenshots}/${colorScheme}-${width}.png` });

  // Keys move from tile to tile, enlarge one, go on from there, and come back to it.
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), index.layers[0].name);
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), index.layers[1].name);
  await page.keyboard.press("ArrowDown");
  assert.notEqual(await focused(), index.layers[1].name);
  await page.keyboard.press("ArrowUp");
  assert.equal(await focused(), index.layers[1].name);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#large[open]");
  await page.keyboard.press("ArrowRight");
  const third = index.layers[2].name;
  assert.equal(await page.textContent("#name"), third);
  assert.equal(
    await page.textContent("#command"),
    `reverie render photo.jpg -o dream.png --model ${index.model.id} --layer ${third}`,
  );
  // The tile itself is drawn, not a blank.
  await page.waitForFunction(() => document.getElementById("canvas").dataset.shows === document.getElementById("name").textContent);
  if (screenshots) await page.screenshot({ path: `${screenshots}/${colorScheme}-${width}-large.png` });
  await page.addScriptTag({ content: axe });
  const found = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(found.violations.map((one) => `${one.id}: ${one.nodes[0].html}`), []);
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.getElementById("large").open);
  assert.equal(await focused(), third);

  // The filter leaves one layer, and its channels.
  const layer = index.layers.find((one) => one.tiles.some((tile) => tile.channel !== null));
  await page.keyboard.press("/");
  await page.keyboard.type(layer.name.toUpperCase());
  const left = index.layers.filter((one) => one.name.toLowerCase().includes(layer.name.toLowerCase()));
  assert.equal(await page.locator(".tile:visible").count(), left.reduce((sum, one) => sum + one.tiles.length, 0));
  const again = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(again.violations.map((one) => `${one.id}: ${one.nodes[0].html}`), []);
  assert.deepEqual(complaints, []);
  await context.close();
}
await browser.close();
