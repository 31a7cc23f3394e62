// What the Studio costs: first paint, what is transferred, the wall of layers, the looks on a picture that was brought, the server's
// processors with twenty pages open, and how soon a page answers while its dream is rendered. With a server without keys that has rendered
// no tile yet, and its process id, from .contract-tools/node:
//
//     node ../../benches/studio.mjs http://127.0.0.1:8080 /usr/bin/chromium PID
//
// Prints rows for docs/benchmarks.md. The browser runs on the same machine and takes its own share.

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.cwd()}/`)("playwright-core");
const [url, executablePath, pid] = process.argv.slice(2);
const PAGES = 20;
const SECONDS = 20;
const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const browser = await chromium.launch({ executablePath, args: QUIET });

/** Milliseconds of processor time of the server's threads that answer requests; those that render have other names. */
const answering = () => {
  let ticks = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8");
    if (!stat.includes("(tokio") && !stat.includes("(sqlx")) continue;
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10;
};

/** Milliseconds of processor time of the whole server. */
const all = () => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
};

/** @param {number[]} values */
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const row = (...cells) => console.log(`| ${cells.join(" | ")} |`);
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Opens the page in a browser that knows nothing yet, and waits until it asks for nothing more, tiles included, or not. */
async function open(isQuiet = true) {
  const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
  let bytes = 0;
  const client = await page.context().newCDPSession(page);
  await client.send("Network.enable");
  client.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await page.goto(`${url}/`);
  await page.waitForSelector(".look");
  if (isQuiet) await page.waitForLoadState("networkidle");
  return { page, bytes: () => bytes };
}

/** Milliseconds from now until each picture of these has the wanted kind of address. */
const arrivals = (page, selector, address) => page.evaluate(([selector, address]) => new Promise((resolve) => {
  const began = performance.now();
  const seen = new Map();
  const look = () => {
    const all = [...document.querySelectorAll(selector)];
    for (const one of all) if (one.querySelector("img")?.src.startsWith(address) && !seen.has(one)) seen.set(one, performance.now() - began);
    if (all.length && seen.size === all.length) resolve([...seen.values()]);
    else setTimeout(look, 20);
  };
  look();
}), [selector, address]);

{
  const before = all();
  const { page } = await open(false);
  await page.locator("#layer-tiles").scrollIntoViewIfNeeded();
  const tiles = await arrivals(page, "#layer-tiles > *", "blob:");
  row(`the wall of ${tiles.length} layers, first visit: until the last tile is there`, `${(Math.max(...tiles) / 1000).toFixed(1)} s`);
  row("… of the server's processor time", `${((all() - before) / 1000).toFixed(1)} s`);
  await page.click("#sample");
  const looks = await arrivals(page, ".look", "blob:");
  const gaps = looks.slice(1).map((time, index) => time - looks[index]);
  row("a look on a picture that was brought, median", `${median(gaps).toFixed(0)} ms`);
  row(`all ${looks.length} of them, from the picture on`, `${(Math.max(...looks) / 1000).toFixed(1)} s`);
  await page.context().close();
}

const paints = [];
let transferred = 0;
for (let time = 0; time < 5; time++) {
  const { page, bytes } = await open();
  paints.push(await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"));
  transferred = bytes();
  await page.context().close();
}
row("first paint, median of 5 visits", `${median(paints).toFixed(0)} ms`);
row("transferred at the first visit, pictures included", `${(transferred / 1000).toFixed(0)} kB`);

const pages = [];
for (let count = 0; count < PAGES; count++) pages.push((await open()).page);
const used = async () => {
  const before = answering();
  await pause(SECONDS);
  return `${((answering() - before) / SECONDS / 10).toFixed(2)} % of a core`;
};
row(`${PAGES} open pages`, await used());

const [first] = pages;
await first.click("#sample");
await first.fill("#iterations", "40");
await first.click("#dream");
await first.waitForFunction(() => location.hash.length > 10);
const hash = new URL(first.url()).hash;
for (const page of pages.slice(1)) await page.evaluate((hash) => void (location.hash = hash), hash);
await first.waitForFunction(() => /Octave/.test(document.getElementById("words")?.textContent ?? ""));
row(`${PAGES} pages that follow one dream`, await used());
for (const page of pages.slice(1)) await page.context().close();

// A slider is drawn; the next frame shows its words.
const answers = [];
for (let step = 0; step < 20; step++) {
  answers.push(await first.evaluate(() => new Promise((resolve) => {
    const slider = /** @type {HTMLInputElement} */ (document.getElementById("blend"));
    const began = performance.now();
    slider.value = String(Math.random() * 0.9);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
  })));
}
row("from a slider to the next frame while the dream is rendered, median of 20", `${median(answers).toFixed(0)} ms`);
await first.click("#cancel").catch(() => {});
await browser.close();
