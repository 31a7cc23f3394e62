// @ts-check
// The looks on one's own picture: a small dream of each, at the lowest priority, one after the other, while nothing else is to do. The
// pictures that the server has stand until then. What was made for it is deleted at once, and where the server is busy or a key may do
// little, there is none.

import { Problem, ask, blob, json, send } from "./api.js";
import { chosenModel } from "./form.js";
import { remember } from "./mine.js";
import { smaller } from "./picture.js";

/** Longest edge of the small dreams, in pixels. */
const EDGE = 224;

/** How they are dreamed: so small a picture has room for one octave by itself, which shows little. Three of few long steps show what a large
 * dream is like. */
const SMALL = { max_edge: EDGE, octaves: 3, iterations: 6, step: 4, format: "jpeg", recipe: false };

/** Bytes of a picture that is small; one that the browser cannot make smaller is not sent a dozen times. */
const MOST = 500_000;

/** Milliseconds without a change before the first. */
const PAUSE = 800;

/** Seconds after which a small dream that has not come is given up, and those for which the server is left alone then. */
const WAIT = 4;
const BUSY = 30;

/** Seconds for which a server that takes no more is left alone, unless it says that it will be longer. */
const FULL = 3;

/** After so many that have not come or were not taken, a picture's looks stay as the server has them. */
const MOST_LATE = 3;

/** Members of a submission beside its spec: behind everybody else's, and given up by itself if this page goes while it waits or runs. */
const MEEK = { priority: "-10", deadline_seconds: "30" };

/** What is remembered of a look of the chosen model. @param {string} look */
const nameOf = (look) => `${chosenModel().model.id} ${look}`;

/**
 * @param {HTMLElement} list of the looks
 * @param {() => Blob | null} free the picture to dream on; null while something else is to do
 * @param {() => Blob | null} shown the picture whose looks are shown; null: the server's pictures are
 */
export function startOwn(list, free, shown) {
  let timer = 0;
  let stop = new AbortController();
  /** The jobs that are still to be deleted: that at work, and perhaps one before it. */
  const jobs = /** @type {Set<string>} */ (new Set());
  /** The small dream at work; it resolves when its job is gone. */
  let atWork = /** @type {Promise<unknown>} */ (Promise.resolve());
  /** The picture of which something was dreamed, and the addresses of that by model and look. */
  let made = { file: /** @type {Blob | null} */ (null), addresses: /** @type {Map<string, string>} */ (new Map()) };
  /** Until when the server is left alone, in milliseconds since 1970. */
  let quietUntil = 0;
  /** How often a small dream did not come in time or was not taken, for each picture. */
  const late = /** @type {WeakMap<Blob, number>} */ (new WeakMap());

  /** Deletes a job, once. @param {string} path */
  async function forget(path) {
    if (jobs.delete(path)) await ask(path, { method: "DELETE", keepalive: true }).catch(() => {});
  }

  /** Ends what is at work; it is gone when this resolves. */
  async function pause() {
    clearTimeout(timer);
    stop.abort();
    stop = new AbortController();
    // At once where there is a job, as the page may be left; one that is just being sent is deleted when its answer comes.
    await Promise.all([...jobs].map(forget));
    await atWork;
  }

  /** A small dream; null where the server is busy. @param {Blob} image @param {object} spec @param {AbortSignal} signal */
  async function dream(image, spec, signal) {
    // Not cut off while it is sent: the answer says what to delete.
    const { id, links, queue_position } = await send("/v1/jobs", { spec, image, ...MEEK });
    remember(id);
    jobs.add(links.self);
    try {
      if (signal.aborted || queue_position > 1) return null;
      const job = await json(links.self, { headers: { prefer: `wait=${WAIT}` }, signal });
      return job.links.result ? await blob(job.links.result) : null;
    } finally {
      await forget(links.self);
    }
  }

  /** Shows what there is, and lets go of what was dreamed of another picture.
   * @returns {{ look: string, place: HTMLImageElement, isMade: boolean }[]} */
  function show() {
    const file = shown();
    const old = made.file === file ? [] : made.addresses.values();
    if (made.file !== file) made = { file, addresses: new Map() };
    const places = [...list.querySelectorAll("img")].map((place) => {
      const look = /** @type {HTMLInputElement} */ (place.parentElement?.querySelector("input")).value;
      const small = made.addresses.get(nameOf(look));
      place.dataset.usual ??= place.src;
      place.src = small ?? place.dataset.usual;
      return { look, place, isMade: Boolean(small) };
    });
    for (const address of old) URL.revokeObjectURL(address);
    return places;
  }

  /** Tries again, so many seconds later and each time later than before. @param {Blob} file @param {number} seconds */
  function later(file, seconds) {
    const times = (late.get(file) ?? 0) + 1;
    late.set(file, times);
    quietUntil = Date.now() + seconds * times * 1000;
    // A server that is slow by itself would only be kept busy.
    if (times < MOST_LATE) renew();
  }

  /** @param {Blob} file @param {AbortSignal} signal */
  async function work(file, signal) {
    const image = await smaller(file, EDGE);
    if (image.size > MOST || signal.aborted) return;
    for (const { look, place, isMade } of show()) {
      if (isMade) continue;
      if (signal.aborted || free() !== file) return;
      const name = nameOf(look);
      const dreaming = dream(image, { model: chosenModel().model.id, look, ...SMALL }, signal);
      atWork = dreaming.catch(() => {});
      const small = await dreaming;
      if (signal.aborted) return;
      if (!small) return later(file, BUSY);
      const address = URL.createObjectURL(small);
      made.addresses.set(name, address);
      place.src = address;
    }
  }

  /** Begins anew, a moment later. */
  function renew() {
    pause();
    show();
    const { signal } = stop;
    const wait = Math.max(PAUSE, quietUntil - Date.now());
    timer = setTimeout(async () => {
      await atWork;
      const file = document.hidden || signal.aborted ? null : free();
      // A refusal is no mistake of the person: the pictures stay as they are, and a server that is full is asked again.
      if (file) work(file, signal).catch((error) => {
        if (!signal.aborted && error instanceof Problem && error.status === 429) later(file, Math.max(FULL, error.retryAfter));
      });
    }, wait);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : renew()));
  addEventListener("pagehide", pause);
  return { pause, renew };
}
