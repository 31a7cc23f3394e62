// @ts-check
// What the page is about now: one picture and one job.

import { settings } from "./form.js";

/** @typedef {import("./types.js").Job} Job */

/** @param {string} id */
export const $ = (id) => /** @type {any} */ (document.getElementById(id));

export const state = {
  /** @type {{ file: Blob, name: string } | null} */
  picture: null,
  /** The picture, if it was brought and is none of an older dream. @type {Blob | null} */
  brought: null,
  /** @type {Job | null} */
  job: null,
  /** Ends what is sent or followed. */
  stop: new AbortController(),
  /** What the controls said when the job was taken up. */
  base: settings(),
};

/**
 * A part of the page that is loaded when it is first wanted: most visits need few of them.
 * @template T
 * @param {() => Promise<T>} load
 */
export function later(load) {
  /** @type {Promise<T> | undefined} */
  let loading;
  // What could not be loaded, as without a network, is asked for again.
  return () => (loading ??= load().catch((error) => {
    loading = undefined;
    throw error;
  }));
}

/** Tells those who do not look. @param {string} words */
export function tell(words) {
  if ($("live").textContent !== words) $("live").textContent = words;
}
