// Uses the Studio in a real browser, as a person does: `node studio.mjs URL CHROMIUM KEY`. Fails with what does not hold.
//
// Every width and theme: the sample is dreamed, compared, reloaded; nothing comes from elsewhere; the policy is not broken;
// axe finds nothing that keeps people out.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.cwd()}/`)("playwright-core");
const axe = readFileSync(createRequire(`${process.cwd()}/`).resolve("axe-core/axe.min.js"), "utf8");
const [url, executablePath, key] = process.argv.slice(2);
const headers = { authorization: `Bearer ${key}` };
const DREAM = 60_000;

const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const browser = await chromium.launch({ executablePath, args: QUIET });

/** Answers the page's question for a key. */
async function give(page, answer) {
  await page.fill("#key", answer);
  await page.click("#ask button");
}

/** A page whose complaints are collected. */
async function open(width, colorScheme) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // A preview that is asked for while the job ends is answered with 409; the browser tells that, and the page goes on.
    const late = message.location().url.endsWith("/preview") && message.text().includes("409");
    if (message.type() === "error" && !late) complaints.push(message.text());
  });
  page.on("request", (request) => {
    const foreign = !request.url().startsWith(url) && !/^(blob|data):/.test(request.url());
    if (foreign) complaints.push(`asked ${request.url()}`);
  });
  await page.goto(`${url}/`);
  // The page asks for a key, and again for one that opens nothing.
  await page.waitForSelector("#ask[open]");
  await give(page, "rvk_0123456789abcdef_nothing");
  await page.waitForFunction(() => document.querySelector("#ask[open]") && !document.getElementById("key")?.value);
  await give(page, key);
  await page.waitForSelector(".look");
  // A browser tells of every answer that is a refusal.
  complaints.length = 0;
  return { page, complaints };
}

async function accessible(page, where) {
  // The policy forbids scripts from elsewhere, and lets a debugger run what it likes.
  const { violations } = await page.evaluate(`${axe};axe.run(document, { resultTypes: ["violations"] })`);
  assert.deepEqual(violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.target.join(" "))]), [], where);
}

for (const [width, theme] of [[1440, "light"], [768, "dark"], [375, "light"], [375, "dark"]]) {
  const where = `${width} pixels, ${theme}`;
  const { page, complaints } = await open(width, theme);
  await accessible(page, where);
  const overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  assert.ok(overflow <= 0, `${where}: the page is ${overflow} pixels too wide`);
  // Three taps: picture, look, dream.
  await page.click("#sample");
  await page.click('.look:has-text("Stained glass")');
  await page.fill("#iterations", "2");
  await page.click("#dream");
  await page.waitForSelector("#actions:not([hidden])", { timeout: DREAM });
  await accessible(page, `${where}, finished`);
  const id = new URL(page.url()).hash.slice(1);
  const job = await (await page.request.get(`${url}/v1/jobs/${id}`, { headers })).json();
  assert.deepEqual([job.status, job.spec.objectives[0].layer, job.spec.iterations], ["succeeded", "block3", 2]);
  const shown = await page.evaluate("(({ width, naturalWidth }) => [width, naturalWidth])(document.getElementById('after'))");
  assert.ok(shown[0] > 100 && shown[1] === job.result.width, `${where}: the dream is shown ${shown} pixels wide`);
  await page.reload();
  await page.waitForSelector("#actions:not([hidden])", { timeout: DREAM });
  assert.equal(new URL(page.url()).hash.slice(1), id);
  assert.deepEqual(complaints, [], where);
  await page.context().close();
}

// A mistake is told at its control, and a second tab sees what the first one does.
const { page } = await open(1440, "light");
await page.click("#sample");
await page.click("summary");
await page.fill("#channels", "99999");
await page.click("#dream");
await page.waitForSelector("#problem:not([hidden])");
assert.match(await page.textContent("#problem"), /channel/);
await page.fill("#channels", "");
await page.fill("#iterations", "40");
await page.keyboard.press("Control+Enter");
await page.waitForFunction(() => location.hash.length > 10);
// A tab of its own has a session of its own.
const second = await page.context().newPage();
await second.goto(page.url());
await second.waitForSelector("#ask[open]");
await give(second, key);
await second.waitForSelector("#cancel:not([hidden])");
await second.click("#cancel");
for (const tab of [page, second]) {
  await tab.waitForSelector("#problem:not([hidden])", { timeout: DREAM });
  assert.match(await tab.textContent("#problem"), /canceled/);
}
await page.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no picture") });
assert.match(await page.textContent("#problem"), /not a picture/);
await browser.close();
