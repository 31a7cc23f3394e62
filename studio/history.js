// @ts-check
// The dreams of this server, newest first.

import { blob, json } from "./api.js";
import { others } from "./mine.js";
import { pictureOf } from "./stage.js";

/** @typedef {import("./types.js").Job} Job */

/** Dreams of a page. */
const PAGE = 12;

const WORDS = /** @type {Record<string, string>} */ ({
  queued: "waiting", running: "dreaming", paused: "paused", failed: "failed", canceled: "canceled", expired: "expired",
});

/**
 * @param {HTMLElement} list
 * @param {HTMLButtonElement} more
 * @param {(id: string) => void} open
 */
export function startHistory(list, more, open) {
  let next = "";

  /** @param {Job} job */
  function item(job) {
    const row = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { href: `#${job.id}` });
    link.onclick = (event) => {
      event.preventDefault();
      open(job.id);
      scrollTo({ top: 0 });
    };
    const when = new Date(job.created_at).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    const layer = job.spec.objectives?.[0]?.layer ?? "";
    const words = Object.assign(document.createElement("span"), {
      textContent: `${WORDS[job.status] ?? layer} · ${when}`,
    });
    const blank = Object.assign(document.createElement("div"), { className: "blank" });
    link.append(blank, words);
    if (job.links.thumbnail) {
      const thumbnail = job.links.thumbnail;
      // Only what is looked at is fetched.
      const watcher = new IntersectionObserver((seen) => {
        if (!seen.some((entry) => entry.isIntersecting)) return;
        watcher.disconnect();
        blob(thumbnail).then((file) => blank.replaceWith(pictureOf(file, `A dream of ${layer}`)), (error) => {
          // Another page has deleted it, as it does with the small dreams of its looks.
          if (error.status === 404) row.remove();
        });
      });
      watcher.observe(link);
    }
    row.append(link);
    return row;
  }

  /** @param {string} path @param {boolean} first */
  async function page(path, first) {
    const { jobs, links } = await json(path);
    if (first) list.replaceChildren();
    list.append(...others(/** @type {Job[]} */ (jobs)).map(item));
    next = links.next ?? "";
    more.hidden = !next;
  }

  more.onclick = () => page(next, false).catch(() => {});
  return {
    /** Reads the first page anew. */
    renew: () => page(`/v1/jobs?limit=${PAGE}`, true).catch(() => {}),
  };
}
