// The page of the contract, `/docs`, in a real browser; studio.mjs runs it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { browser, key, url } from "./studio_page.mjs";

/** Pieces of text that lie under something else that is written, or beyond the right edge of the window. */
const hidden = () => {
  const pieces = [];
  const walker = document.createTreeWalker(document.getElementById("swagger-ui"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { currentNode: node } = walker;
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest("pre, textarea, select, svg") || !parent.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    // Letters fill the middle of a line; the back of code is as large as its box.
    for (const { left, right, top, bottom } of range.getClientRects()) {
      const air = (bottom - top) * 0.2;
      pieces.push({ node, left, right, top: top + air, bottom: bottom - air, text: node.data.trim() });
    }
    const code = parent.closest("code");
    for (const { left, right, top, bottom } of code?.getClientRects() ?? []) pieces.push({ node: code, left, right, top, bottom, text: code.textContent });
  }
  pieces.sort((one, other) => one.top - other.top);
  const found = pieces.filter(({ right }) => right > innerWidth).map(({ text }) => `beyond the edge: ${text}`);
  pieces.forEach((one, at) => {
    for (let next = at + 1; next < pieces.length && pieces[next].top < one.bottom - 1; next++) {
      const other = pieces[next];
      const isOwn = one.node.contains(other.node) || other.node.contains(one.node);
      if (!isOwn && other.left < one.right - 1 && one.left < other.right - 1) found.push(`${one.text} / ${other.text}`);
    }
  });
  return found;
};

// At every width, nothing that is written lies over something else, and the page is no wider than its window. It takes a photo as it
// comes: what it fills in by itself is right.
export async function pageOfTheContract() {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, isMobile: true, hasTouch: true });
  const page = await context.newPage();
  await page.goto(`${url}/docs/`);
  const operation = page.locator("#operations-jobs-submitJob");
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".opblock-section-request-body select").selectOption("multipart/form-data");
  const image = operation.locator('tr[data-property-name="image"] input[type=file]');
  await image.waitFor();
  for (const width of [1440, 768, 375]) {
    await page.setViewportSize({ width, height: 900 });
    await page.waitForFunction((width) => innerWidth === width && document.documentElement.scrollWidth <= width, width);
    assert.deepEqual(await page.evaluate(hidden), [], `${width} pixels`);
  }
  await page.click(".auth-wrapper .authorize");
  await page.fill(".auth-container input", key);
  await page.click(".auth-btn-wrapper .authorize");
  await page.click(".auth-btn-wrapper .btn-done");
  await image.setInputFiles({ name: "photo.jpg", mimeType: "image/jpeg", buffer: readFileSync(new URL("../../assets/sample.jpg", import.meta.url)) });
  const [answer] = await Promise.all([
    page.waitForResponse((response) => response.url() === `${url}/v1/jobs`),
    operation.locator(".execute").click(),
  ]);
  assert.equal(answer.status(), 202, await answer.text());
  await page.request.delete(`${url}${answer.headers().location}`, { headers: { authorization: `Bearer ${key}` } });
  await context.close();
}
