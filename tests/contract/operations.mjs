// Uses the operators' page in a real browser: `node operations.mjs URL CHROMIUM KEY [FOLDER]`. Fails with what does not hold; where a folder is
// given, pictures of the page are put there.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.cwd()}/`)("playwright-core");
const axe = readFileSync(createRequire(`${process.cwd()}/`).resolve("axe-core/axe.min.js"), "utf8");
const [url, executablePath, key, folder] = process.argv.slice(2);
const headers = { authorization: `Bearer ${key}` };
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--no-first-run"] });

const api = await (await browser.newContext()).newPage();
const asked = async (method, path, data) => {
  const answer = await api.request.fetch(`${url}${path}`, { method, headers, ...(data && { data }) });
  return answer.status() === 204 ? null : answer.json();
};
/** A job from noise that takes long. */
const long = () => asked("POST", "/v1/jobs", { spec: { preset: "naive", noise: { width: 256, height: 256 }, iterations: 1000 } });
// Whatever was there before is no longer.
for (const status of ["queued", "running"]) {
  const { jobs } = await asked("GET", `/v1/operations/jobs?status=${status}&limit=100`);
  for (const { job } of jobs) await asked("POST", `/v1/operations/jobs/${job.id}/cancel`);
}
// A key that may not see this.
const { key: reader } = await asked("POST", "/v1/keys", { tenant: "reader", scopes: ["jobs:read"] });
const jobs = [await long(), await long()];

for (const [width, colorScheme] of [[1440, "light"], [768, "dark"], [375, "light"]]) {
  const where = `${width} pixels, ${colorScheme}`;
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => request.url().startsWith(url) || complaints.push(`asked ${request.url()}`));
  await page.goto(`${url}/#/operations`);
  await page.waitForURL(`${url}/studio/operations.html`);
  for (const answer of [reader, key]) {
    await page.waitForSelector("#ask[open]");
    await page.fill("#key", answer);
    await page.click("#ask button");
  }
  await page.waitForSelector("#tenants td");
  assert.match(await page.textContent("#queue"), /queued\d+running\d+.*oldest waits/);
  // What runs, and what waits behind it.
  await page.selectOption("#state", "running");
  await page.waitForSelector(`#jobs tr:has-text("${jobs[0].id}")`);
  await page.selectOption("#state", "queued");
  await page.waitForSelector(`#jobs tr:has-text("${jobs[1].id}")`);
  await page.waitForSelector('#workers td:has-text("cpu")');
  const { violations } = await page.evaluate(`${axe};axe.run(document, { resultTypes: ["violations"] })`);
  assert.deepEqual(violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.target.join(" "))]), [], where);
  const overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  assert.ok(overflow <= 0, `${where}: the page is ${overflow} pixels too wide`);
  if (folder) await page.screenshot({ path: `${folder}/operations-${width}-${colorScheme}.png`, fullPage: true });
  if (width === 375) {
    // By keyboard: the one that waits, then the one that runs.
    await page.locator(`#do-${jobs[1].id}`).press("Enter");
    await page.waitForFunction(() => document.getElementById("live")?.textContent?.endsWith("is canceled"));
    await page.selectOption("#state", "running");
    await page.locator(`#do-${jobs[0].id}`).press("Enter");
    await page.waitForSelector(`#jobs:not(:has-text("${jobs[0].id}"))`);
  }
  assert.deepEqual(complaints, [], where);
  await context.close();
}
for (const { id } of jobs) {
  const { status } = await asked("GET", `/v1/jobs/${id}`);
  assert.ok(["canceled", "running"].includes(status), status);
  // Whoever comes next does not find them.
  await asked("DELETE", `/v1/jobs/${id}`);
}
await browser.close();
