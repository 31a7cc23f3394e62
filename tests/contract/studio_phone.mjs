// Somebody with a phone and a photo from its camera gets to a dream in three taps; studio.mjs runs it.

import assert from "node:assert/strict";

import { accessible, DREAM, headers, open, url } from "./studio_page.mjs";

/** A photo as a phone's camera makes it: twelve megapixels, stored on its side, with the orientation in its EXIF data; in base64. */
const photo = (page) => page.evaluate(async () => {
  const sample = await createImageBitmap(await (await fetch("/studio/sample.jpg")).blob());
  const sheet = Object.assign(document.createElement("canvas"), { width: 4032, height: 3024 });
  sheet.getContext("2d").drawImage(sample, 0, 0, sheet.width, sheet.height);
  const file = new Uint8Array(await (await new Promise((resolve) => sheet.toBlob(resolve, "image/jpeg", 0.9))).arrayBuffer());
  // One entry: 0x0112, a short, 6: turned by 90° to the right when it is shown.
  const exif = [0xff, 0xe1, 0, 34, ...new TextEncoder().encode("Exif\0\0MM"), 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0];
  const parts = [file.slice(0, 2), new Uint8Array(exif), file.slice(2)];
  const address = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(new Blob(parts));
  });
  return address.split(",")[1];
});

/** Whether all of an element is on the screen, above what lies over its lower end. */
const isOnScreen = (page, selector) => page.locator(selector).evaluate((one) => {
  const { top, bottom, width } = one.getBoundingClientRect();
  const over = document.querySelector(".go").getBoundingClientRect();
  return width > 0 && top >= 0 && bottom <= (one.closest(".go") ? innerHeight : over.top);
});

export async function threeTapsOnAPhone() {
  const { page, complaints } = await open(375, "light", { viewport: { width: 375, height: 812 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
  const buffer = Buffer.from(await photo(page), "base64");
  const began = Date.now();
  const seconds = () => ((Date.now() - began) / 1000).toFixed(1);
  // The first tap: the button is on the screen, and opens the phone's pictures.
  assert.ok(await isOnScreen(page, "#choose"));
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.tap("#choose")]);
  await chooser.setFiles({ name: "IMG_0001.jpg", mimeType: "image/jpeg", buffer });
  await page.waitForFunction(() => document.getElementById("before").naturalHeight === 4032);
  const shown = seconds();
  // It stands upright, and there are looks below it without scrolling.
  assert.ok(await isOnScreen(page, "#before"), "the picture is not on the screen");
  assert.ok(await isOnScreen(page, ".look >> nth=2"), "no look is on the screen");
  await page.tap(".look >> nth=2");
  // A short dream, which nobody has to wait for.
  await page.evaluate(() => Object.assign(document.getElementById("iterations"), { value: "2" }));
  assert.ok((await isOnScreen(page, "#dream")) && (await page.isEnabled("#dream")));
  await page.tap("#dream");
  await page.waitForFunction(() => !document.getElementById("after").hidden, null, { timeout: DREAM });
  const first = seconds();
  assert.ok(await isOnScreen(page, "#after"), "the dream is not on the screen");
  assert.ok(await isOnScreen(page, "#words"), "its progress is not on the screen");
  await page.waitForSelector("#actions:not([hidden])", { timeout: 2 * DREAM });
  const job = await (await page.request.get(`${url}/v1/jobs/${new URL(page.url()).hash.slice(1)}`, { headers })).json();
  assert.deepEqual([job.status, job.result.width, job.result.height], ["succeeded", 960, 1280]);
  assert.ok(await isOnScreen(page, "#after"));
  assert.ok(await isOnScreen(page, "#download"), "what to do with it is not on the screen");
  await accessible(page, "phone");
  console.log(`a phone's photo: shown after ${shown} s, the first of the dream after ${first} s, finished after ${seconds()} s`);
  assert.deepEqual(complaints, []);
  await page.context().close();
}
