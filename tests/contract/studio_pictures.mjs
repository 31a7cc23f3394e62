// What comes with a picture: the recipe of a dream that is dropped in, a painted part, a guide, motion; studio.mjs runs it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";

import { checkers, DREAM, headers, open, url } from "./studio_page.mjs";

// A dream that is dropped in says how it was made; its settings can be taken, and given back.
export async function recipes() {
  const { page } = await open(1440, "light");
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
  assert.deepEqual(dangerous.motion, { frames: 2, playback: "once; echo" });
  assert.deepEqual(dangerous.objectives[0].channels, []);
  // A shell reads what is copied as one command with words.
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.selectOption("#copy", "cli");
  await page.waitForFunction(() => document.getElementById("live").textContent === "Copied");
  const line = await page.evaluate(() => navigator.clipboard.readText());
  const [write, render] = line.split(" && ");
  const told = write.replace(/ > dream\.json$/, "");
  const words = execFileSync("sh", ["-c", `set -- ${told} ${render}; printf '%s\n' "$@"`], { encoding: "utf8" });
  assert.ok(!/^echo$|^\s+$/m.test(words) && words.includes("block5'; echo"), words);
  await page.click("#undo-recipe");
  await page.context().close();
}

// Painted, it grows there only; a guide lends its forms; it moves, where a number of frames is given. All of it without storage.
export async function paintAndMotion() {
  const { page, complaints } = await open(1440, "light", { storage: false });
  await page.setViewportSize({ width: 1440, height: 1200 });
  await page.click("#form summary");
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
  // Formats are offered as the server has them.
  const { formats } = await (await page.request.get(`${url}/v1/formats`, { headers })).json();
  const offered = await page.$$eval("#format option", (options) => options.map(({ value, disabled, title }) => [value || "png", disabled, title]));
  assert.deepEqual(offered.sort(), formats.map(({ name, available, reason }) => [name, !available, reason ?? ""]).sort());
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
  assert.deepEqual(complaints, []);
  await page.context().close();
}
