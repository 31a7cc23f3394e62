// A page of the Studio in a real browser, for its tests: opened with a key, its complaints collected.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.cwd()}/`)("playwright-core");
const axe = readFileSync(createRequire(`${process.cwd()}/`).resolve("axe-core/axe.min.js"), "utf8");
export const [url, executablePath, key] = process.argv.slice(2);
export const headers = { authorization: `Bearer ${key}` };
/** The longest that a dream takes, in milliseconds. */
export const DREAM = 60_000;

const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
export const browser = await chromium.launch({ executablePath, args: QUIET });

/** Answers the page's question for a key. */
export async function give(page, answer) {
  await page.fill("#key", answer);
  await page.click("#ask button");
}

/** A page whose complaints are collected; `device` is what a browser may have otherwise, such as a touch screen, or no `storage`. */
export async function open(width, colorScheme, { storage = true, ...device } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, ...device });
  // Addresses of pictures that the page has made and not ended.
  await context.addInitScript(() => {
    const { createObjectURL, revokeObjectURL } = URL;
    Object.assign(window, { addresses: new Set(), addressesMade: 0 });
    URL.createObjectURL = (file) => {
      const address = createObjectURL(file);
      window.addresses.add(address);
      window.addressesMade++;
      return address;
    };
    URL.revokeObjectURL = (address) => {
      window.addresses.delete(address);
      revokeObjectURL(address);
    };
  });
  if (!storage) {
    await context.addInitScript(() => {
      const get = () => {
        throw new DOMException("denied", "SecurityError");
      };
      for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(window, name, { get });
    });
  }
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // A preview that is asked for while the job ends is answered with 409, and a thumbnail of one that another page has deleted with 404;
    // the browser tells that, and the page goes on.
    const { url } = message.location();
    const late = (url.endsWith("/preview") && message.text().includes("409")) || (url.endsWith("/thumbnail") && message.text().includes("404"));
    if (message.type() === "error" && !late) complaints.push(`${message.text()} ${url}`);
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

/** A PNG with squares, in base64. */
export const checkers = (page) => page.evaluate(() => {
  const sheet = Object.assign(document.createElement("canvas"), { width: 160, height: 120 });
  const context = sheet.getContext("2d");
  for (let x = 0; x < 160; x += 20) {
    for (let y = 0; y < 120; y += 20) {
      context.fillStyle = `rgb(${x}, ${y * 2}, ${(x + y) % 40 ? 200 : 60})`;
      context.fillRect(x, y, 20, 20);
    }
  }
  return sheet.toDataURL("image/png").split(",")[1];
});

/** The body of a request: a spec, and the same picture, in base64, for each of these parts. */
export function formOf(picture, spec, parts) {
  const file = (name) => [name, { name: `${name}.png`, mimeType: "image/png", buffer: Buffer.from(picture, "base64") }];
  return { multipart: { ...Object.fromEntries(parts.map(file)), spec: JSON.stringify(spec) } };
}

/** A job that has ended, from such a body or from JSON. */
export async function posted(page, body) {
  const job = await (await page.request.post(`${url}/v1/jobs`, { headers: { ...headers, prefer: "wait=60" }, ...body })).json();
  assert.equal(job.status, "succeeded", JSON.stringify(job));
  return job;
}

/** Waits until something holds. */
export async function expectSoon(holds, what) {
  const end = Date.now() + DREAM;
  while (!(await holds())) {
    assert.ok(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Nothing on the page keeps people out. */
export async function accessible(page, where) {
  // The policy forbids scripts from elsewhere, and lets a debugger run what it likes.
  const { violations } = await page.evaluate(`${axe};axe.run(document, { resultTypes: ["violations"] })`);
  assert.deepEqual(violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.target.join(" "))]), [], where);
}
