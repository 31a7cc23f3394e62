// What the Studio's controls cannot say of a dream that is opened is not lost: it is told, goes along when the dream is dreamed again or
// copied, and can be taken out and put back; studio.mjs runs it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { accessible, checkers, expectSoon, formOf, headers, key, open, posted, url } from "./studio_page.mjs";

/** Small dreams whose specs have members of all kinds; `parts` are the pictures that come with them. */
const DREAMS = [
  {
    spec: {
      preset: "lapnorm", noise: { width: 96, height: 64 }, octaves: 1, iterations: 1, tile_size: 256, parametrization: "fourier",
      jitter_pixels: 9, random_scale: 0.1, random_rotation: 3, total_variation: 0.1, background: "#ff0000",
      objectives: [{ layer: "block5", pick: "strongest", count: 2, at: { x: 0.5, y: 0.5 } }, { layer: "block4", direction: { 3: 1, 5: -0.5 } }],
    },
    parts: [],
    told: ["preset lapnorm", "begins with noise, 96×64 pixels", "tile size 256", "random rotation 3"],
  },
  {
    spec: {
      preset: "deepdream", max_edge: 900, octaves: 1, iterations: 2, octave_scale: 3.5, jitter: false, normalization: "std", quality: 80,
      format: "webp", lossless: true, recipe: false, blend: 0.33, auto_contrast: true, l2_decay: 0.2, precision: "fp32", seed: 5,
    },
    parts: ["image"],
    told: ["preset deepdream", "jitter off", "lossless on", "blend 0.33", "normalization std"],
  },
  {
    spec: {
      octaves: 2, iterations: 1, mask: { feather: 40 }, objectives: [{ layer: "block5", channels: [3], weight: -2 }],
      schedule: [{ octave: 2, objectives: [{ layer: "block3" }], step: 2 }],
    },
    parts: ["image", "mask"],
    told: ["a painted part: paint it again (soft edge 40)", "from octave 2 on: Stained glass, step 2"],
  },
  {
    spec: {
      octaves: 1, iterations: 1, format: "gif", objectives: [{ kind: "guide", layer: "block9" }],
      motion: { frames: 2, zoom: 1.1, rotate: 3, shift_x: 4, fps: 12, playback: "boomerang" },
    },
    parts: ["image", "guide"],
    told: ["motion rotate 3, shift x 4, fps 12, playback boomerang"],
  },
];

/** What is copied, as a person pastes it. */
async function copied(page, kind) {
  await page.evaluate(() => void (document.getElementById("live").textContent = ""));
  await page.selectOption("#copy", kind);
  await page.waitForFunction(() => document.getElementById("live").textContent === "Copied");
  return page.evaluate(() => navigator.clipboard.readText());
}

export async function nothingIsLost() {
  const { page, complaints } = await open(768, "light");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const picture = await checkers(page);
  const folder = mkdtempSync(join(tmpdir(), "reverie-studio-"));
  const said = async () => JSON.parse(await page.inputValue("#spec"));
  for (const { spec, parts, told } of DREAMS) {
    const job = await posted(page, formOf(picture, spec, parts));
    assert.equal(job.status, "succeeded", JSON.stringify(job));
    await page.goto(`${url}/#${job.id}`);
    await page.waitForSelector("#actions:not([hidden])");
    await page.waitForSelector("#rest li");
    const words = await page.locator("#rest li span").allTextContents();
    for (const one of told) assert.ok(words.includes(one), `"${one}" in ${JSON.stringify(words)}`);
    // What is at its default is not told: "precision auto" and the like say nothing to a person.
    assert.ok(!words.some((one) => /precision auto|tiling|laplacian levels/.test(one)), `${words}`);
    // The server makes the same spec of what the form says.
    const again = async (data) => {
      const answer = await page.request.post(`${url}/v1/dry-run`, { headers, ...data });
      assert.equal(answer.status(), 200, await answer.text());
      return (await answer.json()).spec;
    };
    assert.deepEqual(await again(formOf(picture, await said(), parts)), job.spec);
    // So it does of what is copied.
    assert.deepEqual(JSON.parse(await copied(page, "json")), await said());
    const curl = await copied(page, "curl");
    const sent = execFileSync("sh", ["-c", curl.replace(/^curl/, "printf '%s\\n'")], { encoding: "utf8", env: { REVERIE_KEY: key } });
    assert.deepEqual(JSON.parse(/^spec=(.*)$/m.exec(sent)[1]), await said());
    assert.deepEqual([...sent.matchAll(/^(image|mask|guide)=@/gm)].map(([, part]) => part), parts);
    const [write, render] = (await copied(page, "cli")).split(" && ");
    execFileSync("sh", ["-c", write], { cwd: folder });
    assert.deepEqual(JSON.parse(readFileSync(join(folder, "dream.json"), "utf8")), await said());
    assert.match(render, /^reverie render .*--spec dream\.json$/);
    const python = await copied(page, "python");
    assert.deepEqual(JSON.parse(JSON.parse(/json\.loads\((".*")\)/.exec(python)[1])), await said());
  }
  rmSync(folder, { recursive: true });

  // What the form does not know, of a later version or of a recipe, is carried and told like the rest.
  const job = await posted(page, formOf(picture, { octaves: 1, iterations: 1 }, ["image"]));
  await page.route(`**/v1/jobs/${job.id}`, async (route) => {
    const answer = await route.fetch();
    const later = await answer.json();
    later.spec.swirl = { turns: [1, 2], to_left: true };
    await route.fulfill({ response: answer, json: later });
  });
  await page.goto(`${url}/#${job.id}`);
  await page.waitForSelector("#rest-swirl");
  assert.deepEqual(await page.locator("#rest li span").allTextContents(), ["swirl turns 1, 2, to left on"]);
  assert.deepEqual((await said()).swirl, { turns: [1, 2], to_left: true });
  // The server that does not know it says so there.
  await page.waitForSelector("#dream:not([disabled])");
  await page.click("#dream");
  await page.waitForSelector("#problem:not([hidden])");
  assert.match(await page.textContent("#problem"), /swirl/);
  assert.equal(await page.getAttribute("#rest-swirl", "aria-invalid"), "true");
  // By keyboard it is taken out, and put back.
  await page.locator("#rest-swirl").press("Enter");
  await page.waitForSelector("#gone:not([hidden])");
  assert.equal(await page.textContent("#gone-words"), "Taken out: swirl.");
  assert.equal((await said()).swirl, undefined);
  assert.equal(await page.evaluate("document.activeElement.id"), "gone-undo");
  await accessible(page, "taken out");
  // Copying it is no change: what was taken out can still be put back. The focus goes along.
  assert.equal(JSON.parse(await copied(page, "json")).swirl, undefined);
  assert.ok(await page.isVisible("#gone"));
  await page.locator("#gone-undo").press("Enter");
  await page.waitForSelector("#rest-swirl");
  assert.ok((await said()).swirl && (await page.isHidden("#gone")));
  assert.equal(await page.evaluate("document.activeElement.id"), "rest-swirl");

  // Another look takes out what it decides, says so, and gives it back.
  const first = { octaves: 1, iterations: 1, step: 3, objectives: [{ layer: "block5", pick: "weakest" }], schedule: [] };
  const third = await posted(page, formOf(picture, first, ["image"]));
  await page.goto(`${url}/#${third.id}`);
  await page.waitForSelector("#rest-objectives");
  const before = await said();
  await page.click('.look:has-text("Stained glass")');
  assert.deepEqual([(await said()).look, (await said()).objectives, (await said()).step], ["glass", undefined, 3]);
  await page.waitForSelector("#gone:not([hidden])");
  assert.equal(await page.textContent("#gone-words"), "Taken out: objectives.");
  assert.ok(await page.isHidden("#rest-box"));
  await page.click("#gone-undo");
  await page.waitForSelector("#rest-objectives");
  assert.deepEqual(await said(), before);
  assert.equal(await page.locator("input[name=look]:checked").count(), 0);
  assert.equal(await page.evaluate("document.activeElement.id"), "rest-objectives");
  // So does another model, which comes back with it.
  await page.evaluate(() => void (document.getElementById("model").closest("details").open = true));
  const model = await page.inputValue("#model");
  await page.selectOption("#model", await page.locator(`#model option:not([value="${model}"])`).first().getAttribute("value"));
  await page.waitForSelector("#gone:not([hidden])");
  assert.notEqual(await page.inputValue("#model"), model);
  await page.click("#gone-undo");
  await page.waitForSelector("#rest-objectives");
  assert.deepEqual([await page.inputValue("#model"), await said()], [model, before]);
  assert.deepEqual(complaints.filter((one) => !one.includes("422")), []);
  await page.context().close();
}

// As long as the server has not said what is usual, nothing is told as if it differed, and all goes along; then the same is told as always.
export async function notKnownYet() {
  const { page, complaints } = await open(768, "dark");
  const { spec, parts, told } = DREAMS[1];
  const picture = await checkers(page);
  const job = await posted(page, formOf(picture, spec, parts));
  const said = async () => JSON.parse(await page.inputValue("#spec"));
  const sent = async () => (await (await page.request.post(`${url}/v1/dry-run`, { headers, ...formOf(picture, await said(), parts) })).json()).spec;
  const words = () => page.locator("#rest li span").allTextContents();
  const shown = async () => {
    await page.waitForFunction((seed) => document.getElementById("seed").value === seed, String(spec.seed));
    await page.waitForSelector("#actions:not([hidden])");
  };
  /** What is asked for the page's own sake: a spec of a model and a preset alone. */
  let answer = (route) => route.fulfill({ status: 503, json: { detail: "not now" } });
  await page.route("**/v1/dry-run", (route) => (/"iterations"/.test(route.request().postData()) ? route.continue() : answer(route)));

  // Refused.
  await page.goto(`${url}/#${job.id}`);
  await shown();
  assert.deepEqual([await words(), await page.isHidden("#rest-box")], [[], true]);
  assert.deepEqual(await sent(), job.spec);
  // With the next change it is asked again, and held back.
  const held = [];
  answer = (route) => void held.push(route);
  await page.locator("#seed").evaluate((one) => one.closest("details").setAttribute("open", ""));
  await page.fill("#seed", "6");
  await expectSoon(() => held.length === 2, "what is usual is not asked for again");
  assert.deepEqual([await words(), await page.isHidden("#rest-box")], [[], true]);
  assert.deepEqual(await sent(), { ...job.spec, seed: 6 });
  // Known.
  for (const route of held) await route.continue();
  await page.waitForSelector("#rest li");
  for (const one of told) assert.ok((await words()).includes(one), `"${one}" in ${await words()}`);
  assert.ok(!(await words()).some((one) => /precision auto|tiling|laplacian levels/.test(one)), `${await words()}`);
  assert.deepEqual(await sent(), { ...job.spec, seed: 6 });
  const known = await words();
  await page.fill("#seed", "5");

  // Of a recipe, too: its changes are told once they are known.
  await page.goto(`${url}/`);
  await page.waitForSelector(".look");
  answer = (route) => void held.push(route);
  held.length = 0;
  const recipe = await posted(page, formOf(picture, { ...spec, format: "png", lossless: undefined, quality: undefined, recipe: true }, parts));
  const file = await (await page.request.get(`${url}/v1/jobs/${recipe.id}/result`, { headers })).body();
  await page.setInputFiles("#file", { name: "dream.png", mimeType: "image/png", buffer: file });
  await page.waitForSelector("#recipe:not([hidden])");
  await page.locator("#use-both").press("Enter");
  await page.waitForSelector("#undo-recipe:not([hidden])");
  assert.equal(await page.textContent("#recipe-words"), "Its settings are in the form now.");
  assert.equal(await page.evaluate("document.activeElement.id"), "undo-recipe");
  assert.deepEqual(await words(), []);
  for (const route of held) await route.continue();
  await page.waitForFunction(() => /octave scale: as usual → 3.5/.test(document.getElementById("recipe-words").textContent));
  assert.ok(!/tiling|laplacian/.test(await page.textContent("#recipe-words")));
  assert.deepEqual((await words()).filter((one) => !known.includes(one)), []);
  assert.ok((await words()).includes("jitter off"));
  await page.keyboard.press("Enter");
  await page.waitForSelector("#recipe", { state: "hidden" });
  assert.equal(await page.evaluate("document.activeElement.className"), "stage");
  assert.deepEqual(complaints.filter((one) => !one.includes("503")), []);
  await page.context().close();
}
