// Uses the Studio in a real browser, as a person does: `node studio.mjs URL CHROMIUM KEY`. Fails with what does not hold.
//
// Every width and theme: the sample is dreamed, compared, reloaded; nothing comes from elsewhere; the policy is not broken;
// axe finds nothing that keeps people out. Each part has a page of its own, so two go on at a time.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
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

/** A PNG with squares, in base64. */
const checkers = (page) => page.evaluate(() => {
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

/** Waits until something holds. */
async function expectSoon(holds, what) {
  const end = Date.now() + DREAM;
  while (!(await holds())) {
    assert.ok(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function accessible(page, where) {
  // The policy forbids scripts from elsewhere, and lets a debugger run what it likes.
  const { violations } = await page.evaluate(`${axe};axe.run(document, { resultTypes: ["violations"] })`);
  assert.deepEqual(violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.target.join(" "))]), [], where);
}

/** Three taps lead to a dream at this width, and nothing keeps people out. */
async function threeTaps(width, theme) {
  const where = `${width} pixels, ${theme}`;
  const { page, complaints } = await open(width, theme);
  await accessible(page, where);
  const overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  assert.ok(overflow <= 0, `${where}: the page is ${overflow} pixels too wide`);
  // Three taps: picture, look, dream. What it takes is told before.
  await page.click("#sample");
  await page.waitForFunction(() => /^About \d+ (s|min)/.test(document.getElementById("cost")?.textContent ?? ""));
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
  // The original is there again, and the dream is among the others.
  await page.waitForSelector("#compare:not([hidden])");
  await page.locator(`#history a[href="#${id}"]`).scrollIntoViewIfNeeded();
  await page.waitForFunction((id) => {
    const image = document.querySelector(`#history a[href="#${id}"] img`);
    return image instanceof HTMLImageElement && image.naturalWidth > 0 && image.naturalWidth <= 320;
  }, id);
  assert.equal(new URL(page.url()).hash.slice(1), id);
  assert.deepEqual(complaints, [], where);
  await page.context().close();
}

// Layers and channels are chosen by looking, with the mouse or the keyboard alone; each choice has its link.
async function walls() {
  const { page, complaints } = await open(1440, "dark");
  const spec = async () => JSON.parse(await page.inputValue("#spec"));
  const shown = (box, count) => page.waitForFunction(([box, count]) => {
    const images = [...document.querySelectorAll(`#${box} img`)];
    return images.filter((image) => image.naturalWidth === 128).length >= count;
  }, [box, count], { timeout: DREAM });
  await page.locator("#layer-tiles").scrollIntoViewIfNeeded();
  const { featured_layers: featured } = await (await page.request.get(`${url}/v1/models/${await page.inputValue("#model")}`, { headers })).json();
  await shown("layer-tiles", 3);
  assert.deepEqual(await page.locator("#layer-tiles > *").evaluateAll((all) => all.map((one) => one.dataset.name)), featured);
  await page.click(`#layer-tiles [data-name="${featured[1]}"]`);
  // A look that is this layer and nothing else is meant, too.
  assert.equal(await page.inputValue("#layer"), featured[1]);
  assert.equal(await page.getAttribute(`#layer-tiles [data-name="${featured[1]}"]`, "aria-selected"), "true");
  assert.ok(new URL(page.url()).hash.endsWith(`/${featured[1]}/`), page.url());
  await page.locator("#channels-title").scrollIntoViewIfNeeded();
  await shown("channel-tiles", 2);
  // One stop of the Tab key, moved by the arrows.
  assert.equal(await page.locator("#channel-tiles [tabindex='0']").count(), 1);
  await page.locator("#channel-tiles [tabindex='0']").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press(" ");
  await page.keyboard.press("End");
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  const channels = (await spec()).objectives.map((one) => [one.kind, one.layer, ...one.channels, one.weight ?? 1]);
  assert.deepEqual(channels, [["mean", featured[1], 1, 1], ["mean", featured[1], 0, 1]]);
  await page.locator("#weight-0").focus();
  for (let step = 0; step < 15; step++) await page.keyboard.press("ArrowLeft");
  assert.equal((await spec()).objectives[1].weight, -0.5);
  await accessible(page, "walls");
  // Paged: more come into view with the end.
  const before = await page.locator("#channel-tiles > *").count();
  await page.evaluate(() => document.getElementById("channel-scroll").scrollTo(0, 100_000));
  await page.waitForFunction((before) => {
    const box = document.getElementById("channel-tiles");
    return box.childElementCount > before || document.getElementById("more-channels").hidden;
  }, before);
  const link = page.url();
  await page.reload();
  await page.waitForFunction(() => document.querySelectorAll("#channel-tiles [aria-selected=true]").length === 2);
  assert.deepEqual((await spec()).objectives.map((one) => [one.channels[0], one.weight ?? 1]), [[1, 1], [0, -0.5]]);
  assert.equal(page.url(), link);
  // A look takes over, and a dream of channels goes through.
  await page.click('.look:has-text("Stained glass")');
  assert.equal((await spec()).objectives, undefined);
  await page.goto(`${url}/`);
  await page.waitForSelector(".look");
  await page.goto(link);
  await page.waitForFunction(() => document.querySelectorAll("#channel-tiles [aria-selected=true]").length === 2);
  await page.click("#sample");
  await page.fill("#iterations", "2");
  await page.click("#dream");
  await page.waitForSelector("#actions:not([hidden])", { timeout: DREAM });
  const job = await (await page.request.get(`${url}/v1/jobs/${new URL(page.url()).hash.slice(1)}`, { headers })).json();
  assert.deepEqual(job.spec.objectives.map((one) => [one.kind, one.channels[0], one.weight]), [["mean", 1, 1], ["mean", 0, -0.5]]);
  assert.deepEqual(complaints, []);
  await page.context().close();
}

// A dream on its way is paused, changed from its next octave on, and resumed; a reload finds it as it was.
async function onItsWay() {
  const { page, complaints } = await open(1440, "light");
  const job = async () => (await page.request.get(`${url}/v1/jobs/${new URL(page.url()).hash.slice(1)}`, { headers })).json();
  const words = (pattern) => page.waitForFunction((pattern) => RegExp(pattern).test(document.getElementById("words").textContent), pattern);
  await page.click("#sample");
  await page.click('.look:has-text("Animals")');
  await page.click("#form summary");
  await page.selectOption("#edge", "640");
  await page.fill("#iterations", "20");
  assert.ok(await page.isHidden("#pause"));
  await page.click("#dream");
  await page.waitForSelector("#pause:not([hidden])");
  await page.locator("body").press("p");
  await words("^Paused ");
  assert.equal((await job()).status, "paused");
  assert.equal(await page.textContent("#pause"), "Resume");
  await page.reload();
  await words("^Paused ");
  // Nothing differs yet, and what may not change on the way offers nothing.
  assert.ok(await page.isHidden("#steer"));
  await page.fill("#blend", "0.5");
  assert.ok(await page.isHidden("#steer"));
  // What is wrong is told at its control.
  await page.click("#form summary");
  await page.fill("#channels", "99999");
  await page.click("#steer");
  await page.waitForSelector("#steer-problem:not([hidden])");
  assert.match(await page.textContent("#steer-problem"), /channel/);
  assert.equal(await page.getAttribute("#channels", "aria-invalid"), "true");
  await page.click('.look:has-text("Stained glass")');
  await page.fill("#step", "2");
  assert.ok(await page.isHidden("#steer-problem"));
  await accessible(page, "paused");
  await page.click("#steer");
  await page.waitForSelector("#changes li");
  assert.equal(await page.textContent("#changes"), "From the next octave on: Stained glass, step 2");
  assert.ok(await page.isHidden("#steer"));
  assert.deepEqual([(await job()).steering.objectives[0].layer, (await job()).steering.step], ["block3", 2]);
  await page.click("#pause");
  await page.waitForFunction(() => /^From octave \d on: Stained glass, step 2$/.test(document.getElementById("changes").textContent), null, { timeout: DREAM });
  await page.waitForSelector("#actions:not([hidden])", { timeout: DREAM });
  assert.ok(await page.isHidden("#pause") && await page.isVisible("#dream"));
  const { spec } = await job();
  assert.deepEqual([spec.objectives[0].layer, spec.schedule.map((one) => one.objectives[0].layer)], ["block13", ["block3"]]);
  assert.match(await page.textContent("#changes"), /^From octave \d on/);
  // Refusals are told by the browser, too.
  assert.deepEqual(complaints.filter((one) => !one.includes("422")), []);
  await page.context().close();
}

// The beginning of a dream stays, and the rest is dreamed anew.
async function forks() {
  const { page, complaints } = await open(375, "light");
  const job = async () => (await page.request.get(`${url}/v1/jobs/${new URL(page.url()).hash.slice(1)}`, { headers })).json();
  await page.click("#sample");
  await page.click("#form summary");
  await page.selectOption("#edge", "640");
  await page.fill("#iterations", "2");
  await page.fill("#octaves", "3");
  await page.click("#dream");
  await page.waitForSelector("#fork:not([hidden])", { timeout: DREAM });
  const first = await job();
  await page.click("#fork > summary");
  // As it stands, nothing would be different.
  await page.waitForFunction(() => document.getElementById("kept").textContent === "Octave 1 of 3");
  assert.ok(await page.isDisabled("#fork-go"));
  await page.locator("#octave").press("ArrowRight");
  assert.equal(await page.textContent("#kept"), "Octaves 1 to 2 of 3");
  await page.fill("#channels", "99999");
  await page.click("#fork-go");
  await page.waitForSelector("#fork-problem:not([hidden])");
  assert.match(await page.textContent("#fork-problem"), /channel/);
  assert.equal(await page.getAttribute("#channels", "aria-invalid"), "true");
  await page.click('.look:has-text("Stained glass")');
  await page.waitForFunction(() => /^Then: Stained glass\. About \d+ s$/.test(document.getElementById("fork-words").textContent));
  await accessible(page, "fork");
  await page.click("#fork-go");
  await page.waitForFunction((id) => location.hash.slice(1) && location.hash.slice(1) !== id, first.id);
  await page.waitForSelector("#actions:not([hidden])", { timeout: DREAM });
  const second = await job();
  assert.deepEqual([second.status, second.spec.objectives, second.spec.schedule.map((one) => [one.octave, one.objectives[0].layer])],
    ["succeeded", first.spec.objectives, [[3, "block3"]]]);
  assert.equal(await page.textContent("#changes"), "From octave 3 on: Stained glass");
  // The picture is compared with the new dream, and that one can be forked again.
  assert.ok(await page.isVisible("#compare") && await page.isVisible("#fork"));
  assert.deepEqual(complaints.filter((one) => !one.includes("422")), []);
  await page.context().close();
}

// The looks are shown on the picture that was brought, and leave no jobs behind.
async function looksOnOwn() {
  const { page, complaints } = await open(1440, "light");
  const began = Date.now();
  const usual = await page.getAttribute(".look img", "src");
  await page.setInputFiles("#file", { name: "photo.png", mimeType: "image/png", buffer: Buffer.from(await checkers(page), "base64") });
  await page.waitForFunction(() => document.querySelectorAll('.look img[src^="blob:"]').length >= 2, null, { timeout: DREAM });
  const sizes = await page.locator('.look img[src^="blob:"]').evaluateAll((all) => Promise.all(all.map(async (one) => (await one.decode(), one.naturalWidth))));
  assert.ok(sizes.every((width) => width === 160), `${sizes}`);
  // A dream comes first, and they go on after it.
  await page.fill("#iterations", "2");
  await page.click("#dream");
  await page.waitForSelector("#actions:not([hidden])", { timeout: DREAM });
  const ready = page.locator('.look img[src^="blob:"]');
  const before = await ready.count();
  await page.waitForFunction((before) => document.querySelectorAll('.look img[src^="blob:"]').length > before, before, { timeout: DREAM });
  // Of an older dream the usual ones are shown.
  await page.locator("#history a").last().click();
  await page.waitForFunction((usual) => document.querySelector(".look img").src.endsWith(usual), usual);
  const left = async () => {
    const { jobs } = await (await page.request.get(`${url}/v1/jobs?limit=100`, { headers })).json();
    return jobs.filter((one) => one.priority === -10 && Date.parse(one.created_at) >= began);
  };
  await expectSoon(async () => (await left()).length === 0, "small dreams are left behind");
  assert.deepEqual(complaints, []);
  // Nor does one that is at work when the page is left.
  await page.setInputFiles("#file", { name: "photo.png", mimeType: "image/png", buffer: Buffer.from(await checkers(page), "base64") });
  await page.waitForRequest((request) => request.headers().prefer === "wait=4");
  await page.goto("about:blank");
  await expectSoon(async () => (await left()).length === 0, "the small dream of a page that was left is there");
  await page.context().close();
}

// A mistake is told at its control, and a second tab sees what the first one does.
async function oneVisit() {
  const { page } = await open(1440, "light");
  await page.click("#sample");
  await page.click("#form summary");
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

  // A dream that is dropped in says how it was made; its settings can be taken, and given back.
  const asked = { objectives: [{ kind: "l2", layer: "block5", channels: [3] }], iterations: 3, octaves: 2, seed: 7 };
  for (const format of ["png", "jpeg", "webp"]) {
    const spec = { ...asked, format, noise: { width: 64, height: 48 } };
    const { id } = await (await page.request.post(`${url}/v1/jobs`, { headers, data: { spec } })).json();
    const told = { headers: { ...headers, prefer: "wait=60" } };
    assert.equal((await (await page.request.get(`${url}/v1/jobs/${id}`, told)).json()).status, "succeeded");
    const dream = await (await page.request.get(`${url}/v1/jobs/${id}/result`, { headers })).body();
    await page.setInputFiles("#file", { name: `dream.${format}`, mimeType: `image/${format}`, buffer: dream });
    await page.waitForSelector("#recipe:not([hidden])");
    const before = await page.inputValue("#spec");
    await page.click("#use-both");
    await page.waitForSelector("#undo-recipe:not([hidden])");
    const taken = JSON.parse(await page.inputValue("#spec"));
    // What the controls cannot say stays as it was.
    assert.equal(taken.objectives[0].kind, "l2", format);
    assert.deepEqual([taken.objectives[0].layer, taken.iterations, taken.seed], ["block5", 3, 7], format);
    assert.match(await page.textContent("#recipe-words"), /iterations: .* → 3/);
    await page.click("#undo-recipe");
    assert.equal(await page.inputValue("#spec"), before, format);
  }
  // One made to do harm does nothing.
  const text = JSON.stringify({
    spec: {
      objectives: [{ layer: "<img src=x onerror=alert(1)>", weight: 2, channels: ["1; echo"] }, { layer: "block5'; echo", channels: 5 }],
      seed: "<b>", motion: { frames: 2, playback: "once; echo", "x; echo": 1 },
    },
  });
  const chunk = Buffer.concat([Buffer.from("iTXtreverie\0\0\0\0\0"), Buffer.from(text)]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(chunk.length - 4);
  const pixel = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
  const hostile = Buffer.concat([pixel.subarray(0, 33), length, chunk, Buffer.alloc(4), pixel.subarray(33)]);
  await page.setInputFiles("#file", { name: "harm.png", mimeType: "image/png", buffer: hostile });
  await page.waitForSelector("#recipe:not([hidden])");
  await page.click("#use-recipe");
  await page.waitForSelector("#undo-recipe:not([hidden])");
  assert.equal(await page.evaluate("document.querySelectorAll('img[src=x]').length"), 0);
  const dangerous = JSON.parse(await page.inputValue("#spec"));
  assert.deepEqual(dangerous.motion, { frames: 2 });
  assert.deepEqual(dangerous.objectives[0].channels, []);
  // A shell reads what is copied as one command with words.
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.selectOption("#copy", "cli");
  await page.waitForFunction(() => document.getElementById("live").textContent === "Copied");
  const line = await page.evaluate(() => navigator.clipboard.readText());
  const words = execFileSync("sh", ["-c", `set -- ${line}; printf '%s\n' "$@"`], { encoding: "utf8" });
  assert.ok(!/^echo$|^\s+$/m.test(words) && words.includes("block5'; echo"), words);
  await page.click("#undo-recipe");

  // Painted, it grows there only; a guide lends its forms.
  await page.setViewportSize({ width: 1440, height: 1200 });
  await page.setInputFiles("#file", { name: "photo.png", mimeType: "image/png", buffer: Buffer.from(await checkers(page), "base64") });
  await page.waitForFunction(() => document.querySelector("#before").naturalWidth === 160 && document.querySelector("#before").complete);
  await page.click("#paint");
  const box = await page.locator("#mask:not([hidden])").boundingBox();
  assert.ok(box);
  await page.mouse.move(box.x + box.width * 0.3, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.35, box.y + box.height / 2);
  await page.mouse.up();
  await page.setInputFiles("#guidefile", { name: "guide.png", mimeType: "image/png", buffer: Buffer.from(await checkers(page), "base64") });
  assert.match(await page.textContent("#guided"), /guide.png/);
  await page.fill("#iterations", "2");
  await page.click("#dream");
  await page.waitForSelector("#actions:not([hidden])", { timeout: DREAM });
  const guided = await (await page.request.get(`${url}/v1/jobs/${new URL(page.url()).hash.slice(1)}`, { headers })).json();
  assert.equal(guided.spec.objectives[0].kind, "guide");
  assert.ok(guided.spec.mask, JSON.stringify(guided.spec));
  const changed = await page.evaluate(async () => {
    const pixels = async (id) => {
      const image = document.getElementById(id);
      await image.decode();
      const sheet = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
      const context = sheet.getContext("2d");
      context.drawImage(image, 0, 0);
      return context.getImageData(0, 0, sheet.width, sheet.height);
    };
    const [one, other] = [await pixels("before"), await pixels("after")];
    const differ = (x, y) => [0, 1, 2].some((c) => one.data[(y * one.width + x) * 4 + c] !== other.data[(y * one.width + x) * 4 + c]);
    const share = (from, to) => {
      let count = 0;
      for (let x = from; x < to; x++) for (let y = 0; y < one.height; y++) count += Number(differ(x, y));
      return count / ((to - from) * one.height);
    };
    return [share(40, 64), share(110, 160)];
  });
  assert.ok(changed[0] > 0.1 && changed[1] === 0, `changed where painted: ${changed[0]}, elsewhere: ${changed[1]}`);
  // It moves, where a number of frames is given.
  await page.click("#unguide");
  await page.fill("#frames", "3");
  await page.fill("#zoom", "1.1");
  await page.click("#dream");
  await page.waitForFunction((old) => location.hash.slice(1) !== old, guided.id);
  await page.waitForSelector("#actions:not([hidden])", { timeout: DREAM });
  const moving = await (await page.request.get(`${url}/v1/jobs/${new URL(page.url()).hash.slice(1)}`, { headers })).json();
  assert.deepEqual([moving.spec.motion.frames, moving.spec.motion.zoom, moving.result.media_type], [3, 1.1, "image/webp"]);
  assert.match(await page.getAttribute("#download", "download"), /\.webp$/);
  await page.fill("#frames", "");
  await page.fill("#zoom", "");

  await page.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no picture") });
  await page.waitForFunction(() => /not a picture/.test(document.querySelector("#problem:not([hidden])")?.textContent ?? ""));
  await page.context().close();
}

// The page of the contract takes a photo as it comes: what it fills in by itself is right.
async function pageOfTheContract() {
  const { page } = await open(1440, "light");
  const docs = await page.context().newPage();
  await docs.goto(`${url}/docs/`);
  await docs.click(".auth-wrapper .authorize");
  await docs.fill(".auth-container input", key);
  await docs.click(".auth-btn-wrapper .authorize");
  await docs.click(".auth-btn-wrapper .btn-done");
  const operation = docs.locator("#operations-jobs-submitJob");
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".opblock-section-request-body select").selectOption("multipart/form-data");
  const photo = { name: "photo.png", mimeType: "image/png", buffer: Buffer.from(await checkers(page), "base64") };
  await operation.locator('tr[data-property-name="image"] input[type=file]').setInputFiles(photo);
  const [answer] = await Promise.all([
    docs.waitForResponse((response) => response.url() === `${url}/v1/jobs`),
    operation.locator(".execute").click(),
  ]);
  assert.equal(answer.status(), 202, await answer.text());
  await page.context().close();
}

/** Does these one after the other. */
async function inTurn(...parts) {
  for (const part of parts) await part();
}

// Two people at a time: while one waits for a dream, the other clicks. Tiles are rendered between dreams, so there are few beside the walls.
await Promise.all([
  walls(),
  inTurn(() => threeTaps(375, "light"), () => threeTaps(375, "dark")),
]);
await Promise.all([
  inTurn(() => threeTaps(1440, "light"), () => threeTaps(768, "dark"), onItsWay, forks, pageOfTheContract),
  oneVisit(),
]);
// A server that is busy makes none.
await looksOnOwn();
await browser.close();
