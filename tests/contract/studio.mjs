// Uses the Studio in a real browser, as a person does: `node studio.mjs URL CHROMIUM KEY`. Fails with what does not hold.
//
// Every width and theme: the sample is dreamed, compared, reloaded; nothing comes from elsewhere; the policy is not broken;
// axe finds nothing that keeps people out. Each part has a page of its own, so two go on at a time.

import assert from "node:assert/strict";

import { pageOfTheContract } from "./contract_page.mjs";
import { forks, looksOnOwn, onItsWay } from "./studio_dreams.mjs";
import { threeTapsOnAPhone } from "./studio_phone.mjs";
import { paintAndMotion, recipes } from "./studio_pictures.mjs";
import { notKnownYet, nothingIsLost } from "./studio_rest.mjs";
import { accessible, browser, DREAM, give, headers, key, open, url } from "./studio_page.mjs";

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
  await page.fill("#octaves", "2");
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
  // The picture stays in sight beside the walls, and never lies over what is below them.
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  const gap = await page.evaluate(() => {
    const box = (name) => document.querySelector(name).getBoundingClientRect();
    return box(".history").top - Math.max(box(".stage").bottom, box("#actions").bottom);
  });
  assert.ok(gap > 0, `${where}: the stage lies ${-gap} pixels over the history`);
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

// A mistake is told at its control, and a second tab sees what the first one does.
async function mistakesAndTabs() {
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
  await page.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no picture") });
  await page.waitForFunction(() => /not a picture/.test(document.querySelector("#problem:not([hidden])")?.textContent ?? ""));
  await page.context().close();
}

/** Does these one after the other, and tells how long each has taken. */
async function inTurn(...parts) {
  for (const part of parts) {
    const began = Date.now();
    await part();
    console.log(`${((Date.now() - began) / 1000).toFixed(1)} s: ${part.name || part}`);
  }
}

const began = Date.now();
// Tiles are rendered while nobody dreams, so the walls come before the others' dreams, which would put them off again and again.
await Promise.all([
  inTurn(walls),
  inTurn(pageOfTheContract),
]);
// Three people at a time: while one waits for a dream, the others click.
await Promise.all([
  inTurn(forks, () => threeTaps(375, "dark"), recipes),
  inTurn(nothingIsLost, notKnownYet, mistakesAndTabs),
  inTurn(() => threeTaps(1440, "light"), () => threeTaps(768, "dark")),
]);
await Promise.all([
  inTurn(threeTapsOnAPhone),
  inTurn(onItsWay, paintAndMotion),
]);
// A server that is busy makes none.
await inTurn(looksOnOwn);
console.log(`${((Date.now() - began) / 1000).toFixed(1)} s in all`);
await browser.close();
