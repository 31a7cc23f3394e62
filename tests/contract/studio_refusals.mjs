// What the Studio does where the server refuses: `node studio_refusals.mjs URL CHROMIUM KEY`, with a server that takes little (one waiting
// job, bodies of 400 kB, jobs of 1000 seconds). Fails with what does not hold.

import assert from "node:assert/strict";

import { accessible, browser, checkers, DREAM, expectSoon, headers, open, url } from "./studio_page.mjs";

/** Waits until the page tells a problem in these words. @returns {Promise<string>} */
async function told(page, pattern) {
  await page.waitForFunction((pattern) => RegExp(pattern).test(document.querySelector("#problem:not([hidden])")?.textContent ?? ""), pattern, { timeout: DREAM });
  return page.textContent("#problem");
}

// A file that is too long, one that is no picture, and a dream that takes too long.
async function tooMuch() {
  const { page, complaints } = await open(375, "dark");
  const noise = await page.evaluate(() => {
    const sheet = Object.assign(document.createElement("canvas"), { width: 600, height: 400 });
    const context = sheet.getContext("2d");
    const pixels = context.createImageData(600, 400);
    for (let at = 0; at < pixels.data.length; at++) pixels.data[at] = at % 4 === 3 ? 255 : Math.random() * 256;
    context.putImageData(pixels, 0, 0);
    return sheet.toDataURL("image/png").split(",")[1];
  });
  await page.setInputFiles("#file", { name: "long.png", mimeType: "image/png", buffer: Buffer.from(noise, "base64") });
  await page.click("#dream");
  assert.match(await told(page, "400"), /bytes|kB|MB/);
  await accessible(page, "413");
  // The picture is still there, and can be sent smaller.
  assert.ok(await page.isVisible("#before") && await page.isEnabled("#dream"));
  const [sent] = await Promise.all([
    page.waitForResponse((answer) => answer.url() === `${url}/v1/jobs` && answer.status() === 202),
    page.click('#problem button:has-text("Dream it at 300×200")'),
  ]);
  await page.request.delete(`${url}/v1/jobs/${(await sent.json()).id}`, { headers });
  await page.setInputFiles("#file", { name: "text.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
  await page.click("#dream");
  await told(page, "not an image");
  // What the browser cannot show, either, is said in place of the picture.
  assert.ok(await page.isVisible("#unseen") && await page.isHidden("#before"));
  await page.evaluate(() => document.getElementById("sample").click());
  await page.waitForFunction(() => document.getElementById("before").naturalWidth === 768);
  await page.click("#form summary");
  await page.fill("#iterations", "40");
  await page.fill("#frames", "1000");
  await page.click("#dream");
  await told(page, "at most 1000 seconds");
  // Smaller, it is sent again; whether it fits then is the server's prediction, which may have changed meanwhile.
  const [answer] = await Promise.all([
    page.waitForResponse((answer) => answer.url() === `${url}/v1/jobs` && answer.request().method() === "POST", { timeout: DREAM }),
    page.click('#problem button:has-text("Dream it at")'),
  ]);
  // It would keep the server from the others.
  if (answer.ok()) await page.request.delete(`${url}/v1/jobs/${(await answer.json()).id}`, { headers });
  assert.deepEqual(complaints.filter((one) => !/41[35]|422/.test(one)), []);
  await page.context().close();
}

// A full queue: the looks wait without a word, a dream is refused with the time, and both go on once there is room.
async function fullQueue() {
  const { page, complaints } = await open(375, "light");
  const spec = { preset: "naive", noise: { width: 128, height: 128 }, iterations: 1000 };
  const post = async (spec) => (await page.request.post(`${url}/v1/jobs`, { headers, data: { spec } })).json();
  const running = await post(spec);
  await expectSoon(async () => (await (await page.request.get(`${url}/v1/jobs/${running.id}`, { headers })).json()).status === "running", "nothing runs");
  const waiting = await post({ ...spec, iterations: 1 });
  assert.equal(waiting.status, "queued", JSON.stringify(waiting));
  const refused = page.waitForResponse((answer) => answer.url() === `${url}/v1/jobs` && answer.status() === 429);
  await page.setInputFiles("#file", { name: "photo.png", mimeType: "image/png", buffer: Buffer.from(await checkers(page), "base64") });
  await refused;
  assert.ok(await page.isHidden("#problem"));
  assert.equal(await page.locator('.look img[src^="blob:"]').count(), 0);
  assert.ok(await page.locator(".look img").first().evaluate((image) => image.complete && image.naturalWidth > 0));
  await page.fill("#iterations", "2");
  await page.click("#dream");
  assert.match(await told(page, "The server takes more in \\d+ s"), /queue/);
  assert.ok(await page.isEnabled("#dream"));
  await accessible(page, "429");
  for (const { id } of [waiting, running]) assert.ok((await page.request.delete(`${url}/v1/jobs/${id}`, { headers })).ok());
  await page.waitForFunction(() => document.querySelectorAll('.look img[src^="blob:"]').length >= 1, null, { timeout: DREAM });
  await page.click("#dream");
  await page.waitForSelector("#actions:not([hidden])", { timeout: DREAM });
  assert.ok(await page.isHidden("#problem"));
  assert.deepEqual(complaints.filter((one) => !one.includes("429")), []);
  await page.context().close();
}

// A full queue would change what the others are told.
await tooMuch();
await fullQueue();
await browser.close();
