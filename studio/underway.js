// @ts-check
// A dream on its way: it can be paused, and what it maximises can change from the next octave on. What the server is asked for is what
// the controls say otherwise than when the dream was taken up, and otherwise than the dream has it.

import { ask, inForce, isOver, json } from "./api.js";
import { changed, chosenModel, inWords, isSame, settings } from "./form.js";
import { explain } from "./problem.js";

/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").Settings} Settings */

/** What may change on the way, of what the controls say. */
const OPEN = ["objectives", "step"];

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** What a dream goes through. @param {Job} job */
const unit = (job) => (job.spec.motion ? "frame" : "octave");

/** Whether the last octave or frame has begun, after which nothing can change any more. @param {Job} job */
function isAtEnd({ status, progress }) {
  if (status !== "running" || !progress) return false;
  const { octave, octaves, frame, frames } = progress;
  return frames ? frame === frames : octave === octaves;
}

/** Tells the changes of a job in words. @param {HTMLElement} list @param {Job} job */
export function tellChanges(list, job) {
  const waiting = job.steering && !isOver(job) ? [job.steering] : [];
  const lines = [...job.spec.schedule ?? [], ...waiting].map((/** @type {any} */ change) =>
    `From ${unit(job)} ${change.octave ?? change.frame} on: ${inWords(change)}`);
  if (list.textContent === lines.join("")) return;
  list.replaceChildren(...lines.map((/** @type {string} */ line) => Object.assign(document.createElement("li"), { textContent: line })));
}

/**
 * @param {object} page
 * @param {() => Job | null} page.shown
 * @param {(job: Job) => void} page.see shows what the server says of the job
 * @param {() => Settings} page.base what the controls said when the job was taken up
 * @param {(base: Settings) => void} page.rebase
 */
export function startUnderway({ shown, see, base, rebase }) {
  /** What is to change now; null where nothing is, or can. */
  function change() {
    const job = shown();
    if (!job || isOver(job) || chosenModel().model?.id !== job.spec.model) return null;
    const wanted = changed(base(), settings(), OPEN);
    const has = inForce(job);
    const names = Object.keys(wanted).filter((name) => !isSame(wanted[name], has[name]));
    return names.length ? Object.fromEntries(names.map((name) => [name, wanted[name]])) : null;
  }

  /** Shows what can be done now. */
  function renew() {
    const job = shown();
    if (!job) return;
    const isWaiting = !isOver(job);
    $("pause").hidden = !isWaiting;
    $("pause").textContent = job.pause_requested || job.status === "paused" ? "Resume" : "Pause";
    const wanted = change();
    const isLate = isAtEnd(job);
    $("steer").hidden = !wanted || isLate;
    $("steer").textContent = `Change from the next ${unit(job)}`;
    $("steer-late").hidden = !wanted || !isLate;
    tellChanges($("changes"), job);
  }

  /** @param {() => Promise<Job>} request */
  async function attempt(request) {
    const asked = shown();
    $("steer-problem").hidden = true;
    try {
      const job = await request();
      // Events tell more of it; an older answer does not undo them.
      if (shown()?.id === job.id && !isOver(/** @type {Job} */ (shown()))) see(job);
    } catch (error) {
      if (shown()?.id === asked?.id) explain($("steer-problem"), error);
    }
  }

  $("pause").onclick = () => {
    const job = shown();
    const path = job && (job.pause_requested || job.status === "paused" ? job.links.resume : job.links.pause);
    if (path) attempt(async () => (await ask(path, { method: "POST" })).json());
  };
  $("steer").onclick = () => {
    const job = shown();
    const wanted = change();
    if (!job || !wanted) return;
    const said = settings();
    attempt(async () => {
      const headers = { "content-type": "application/json" };
      const steered = await json(job.links.self, { method: "PATCH", headers, body: JSON.stringify(wanted) });
      rebase(said);
      return steered;
    });
  };
  $("form").addEventListener("told", () => {
    $("steer-problem").hidden = true;
    renew();
  });
  return { renew };
}
