// What can be done with a dream in the Studio, on its way and afterwards, and the small ones of the looks; studio.mjs runs it.

import assert from "node:assert/strict";

import { accessible, checkers, DREAM, expectSoon, headers, open, posted, url } from "./studio_page.mjs";

// A dream on its way is paused, changed from its next octave on, and resumed; a reload finds it as it was.
export async function onItsWay() {
  const { page, complaints } = await open(1440, "light");
  const job = async () => (await page.request.get(`${url}/v1/jobs/${new URL(page.url()).hash.slice(1)}`, { headers })).json();
  const words = (pattern) => page.waitForFunction((pattern) => RegExp(pattern).test(document.getElementById("words").textContent), pattern);
  await page.click("#sample");
  await page.click('.look:has-text("Animals")');
  await page.click("#form summary");
  await page.selectOption("#edge", "640");
  await page.fill("#iterations", "8");
  assert.ok(await page.isHidden("#pause"));
  await page.click("#dream");
  await page.waitForSelector("#pause:not([hidden])");
  await page.locator("body").press("p");
  await words("^Paused ");
  assert.equal((await job()).status, "paused");
  assert.equal(await page.textContent("#pause"), "Resume");
  await page.reload();
  await words("^Paused ");
  // Without a network it says so, and goes on when there is one again.
  await page.context().setOffline(true);
  await page.click("#pause");
  await page.waitForSelector("#steer-problem:not([hidden])");
  assert.match(await page.textContent("#steer-problem"), /cannot be reached/);
  await page.context().setOffline(false);
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
  assert.equal(await page.textContent("#changes"), `From octave ${(await job()).steering.octave} on: Stained glass, step 2`);
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
  assert.deepEqual(complaints.filter((one) => !/422|ERR_INTERNET_DISCONNECTED/.test(one)), []);
  await page.context().close();
}

// The beginning of a dream stays, and the rest is dreamed anew.
export async function forks() {
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
export async function looksOnOwn() {
  const { page, complaints } = await open(1440, "light");
  const spec = { iterations: 1, octaves: 1, noise: { width: 64, height: 48 } };
  const older = await posted(page, { data: { spec } });
  // Somebody's dream is shown, were it as meek as those of the looks.
  const meek = await posted(page, { data: { spec, priority: -10, deadline_seconds: 60 } });
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
  await page.waitForSelector(`#history a[href="#${meek.id}"]`);
  // Of an older dream the usual ones are shown.
  await page.click(`#history a[href="#${older.id}"]`);
  await page.waitForFunction((usual) => document.querySelector(".look img").src.endsWith(usual), usual);
  const left = async () => {
    const { jobs } = await (await page.request.get(`${url}/v1/jobs?limit=100`, { headers })).json();
    return jobs.filter((one) => one.priority === -10 && one.id !== meek.id && Date.parse(one.created_at) >= began);
  };
  await expectSoon(async () => (await left()).length === 0, "small dreams are left behind");
  // Of the addresses of pictures the one that is shown is left: that of the dream, which had no picture before it.
  await page.waitForSelector("#actions:not([hidden])");
  const addresses = () => page.evaluate(() => [...window.addresses].map((one) => document.querySelector(`[src="${one}"]`)?.id ?? one));
  await expectSoon(async () => `${await addresses()}` === "after", "addresses of pictures are left behind");
  assert.ok((await page.evaluate(() => window.addressesMade)) > 8);
  assert.deepEqual(complaints, []);
  // Nor does one that is at work when the page is left.
  await page.setInputFiles("#file", { name: "photo.png", mimeType: "image/png", buffer: Buffer.from(await checkers(page), "base64") });
  await page.waitForRequest((request) => request.headers().prefer === "wait=4");
  await page.goto("about:blank");
  await expectSoon(async () => (await left()).length === 0, "the small dream of a page that was left is there");
  await page.context().close();
}
