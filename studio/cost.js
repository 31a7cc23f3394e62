// @ts-check
// What a dream would take, before it is asked for. Of the picture only the size counts, so a blank one is sent.

import { send } from "./api.js";

/** Milliseconds without a change before the server is asked. */
const PAUSE = 500;

/** Blank pictures by their sizes. */
const blanks = /** @type {Map<string, Promise<Blob | null>>} */ (new Map());

/** @param {number} width @param {number} height */
export function blank(width, height) {
  const key = `${width}x${height}`;
  const known = blanks.get(key);
  if (known) return known;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d")?.clearRect(0, 0, width, height);
  const made = /** @type {Promise<Blob | null>} */ (new Promise((resolve) => canvas.toBlob(resolve, "image/png")));
  blanks.clear();
  blanks.set(key, made);
  return made;
}

/**
 * Tells the cost in `line` a moment after `renew` was last called.
 * @param {HTMLElement} line
 * @param {() => { size: { width: number, height: number } | null, spec: Record<string, any>, guide: Blob | null }} asked
 */
export function startCost(line, asked) {
  let timer = 0;
  let stop = new AbortController();

  async function ask() {
    const { size, spec, guide } = asked();
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    if (!size && !spec.noise) return void (line.textContent = "");
    try {
      const image = size && (await blank(size.width, size.height));
      if (signal.aborted) return;
      const told = await send("/v1/dry-run", { spec, image, guide }, signal);
      const place = told.queue_position > 1 ? `, place ${told.queue_position} in the queue` : "";
      line.textContent = `About ${duration(told.eta_seconds)}${place}`;
    } catch (error) {
      // What is wrong is told when it is sent.
      if (!signal.aborted) line.textContent = "";
    }
  }

  return {
    renew() {
      clearTimeout(timer);
      timer = setTimeout(ask, PAUSE);
    },
  };
}

/** @param {number} seconds */
const duration = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);
