// @ts-check
// One job: sent, followed, shown and ended. Its id is in the address from the moment that there is one, so a reload, a second tab or a
// phone that wakes up finds it again.

import { Problem, ask, blob, follow, isOver, json, submit } from "./api.js";
import { guideFile, readForm, settings } from "./form.js";
import { sizeAt, smaller } from "./picture.js";
import { explain } from "./problem.js";
import { bring, isThere, paint, paintedFor, pauseLooks, renewLooks, tellReady, unuse, use } from "./source.js";
import { reveal, show } from "./stage.js";
import { $, later, state, tell } from "./state.js";

/** @typedef {import("./types.js").Job} Job */

/** Milliseconds between two previews. */
const PREVIEW = 1000;

/** How a job ends without a dream, where the server does not say more. */
const ENDS = /** @type {Record<string, string>} */ ({
  canceled: "The dream was canceled.", expired: "The dream waited too long.", failed: "The dream failed.",
});

/** When a preview was last asked for. */
let previewed = 0;

/** Hears when a dream has ended. */
let ended = () => {};

/** @param {() => void} hear */
export const whenEnded = (hear) => void (ended = hear);

const page = {
  shown: () => state.job, see, clear: pauseLooks, resume: renewLooks, base: () => state.base,
  rebase: (/** @type {import("./types.js").Settings} */ base) => void (state.base = base),
};
const underway = later(async () => (await import("./underway.js")).startUnderway(page));
export const fork = later(async () => (await import("./fork.js")).startFork(page, (job) => {
  leave();
  state.base = settings();
  takeUp(job).catch(complain);
}));

/** Forgets the job, and what was said about it. */
export function leave() {
  state.stop.abort();
  state.stop = new AbortController();
  state.job = null;
  show("after", null);
  for (const id of ["compare", "status", "actions", "fork", "problem", "steer-problem"]) $(id).hidden = true;
  resting();
  for (const id of ["notes", "changes"]) $(id).replaceChildren();
  $("recipe").hidden = true;
  if (location.hash) history.replaceState(null, "", location.pathname);
}

/** Dreams of what is there, as the form says. */
export async function dream() {
  const { picture } = state;
  if (!isThere()) return;
  leave();
  const cleared = pauseLooks();
  paint(false);
  const signal = state.stop.signal;
  const { spec, edge } = readForm();
  state.base = settings();
  working(true);
  scrollTo({ top: 0 });
  say("Getting the picture ready", 0);
  try {
    const image = picture && (await smaller(picture.file, edge));
    const mask = picture && (await paintedFor(edge));
    // How a mask is used is said with one only.
    if (!mask) delete spec.mask;
    const submission = { spec, image, guide: guideFile(), mask };
    await cleared;
    const job = await submit(submission, (share) => say("Sending the picture", share), signal);
    if (!signal.aborted) await takeUp(job);
  } catch (error) {
    if (signal.aborted) return;
    complain(error);
    renewLooks();
  }
}

/** Follows a job, whose id is in the address from now on. @param {Job} job */
async function takeUp(job) {
  location.hash = job.id;
  await watch(job, state.stop.signal);
}

/** Takes up a job that exists. @param {string} id */
export async function attach(id) {
  if (state.job?.id === id) return;
  leave();
  // Whatever happens now, a reload finds it.
  history.replaceState(null, "", `#${id}`);
  const signal = state.stop.signal;
  try {
    const job = /** @type {Job} */ (await json(`/v1/jobs/${encodeURIComponent(id)}`));
    if (signal.aborted) return;
    state.job = job;
    location.hash = job.id;
    const { showSpec } = await import("./spec.js");
    await showSpec(job.spec, isOver(job) ? null : job.steering, () => !signal.aborted);
    if (signal.aborted) return;
    state.base = settings();
    unuse();
    $("invite").hidden = true;
    $("frame").classList.replace("empty", "full");
    if (job.links.input) blob(job.links.input).then((file) => signal.aborted || use(file, "picture"), () => {});
    await takeUp(job);
  } catch (error) {
    if (!signal.aborted) complain(error);
  }
}

/** @param {Job} job @param {AbortSignal} signal */
async function watch(job, signal) {
  see(job);
  if (!isOver(job)) await follow(job.id, see, signal);
  if (!signal.aborted && state.job) await finish(state.job);
}

/** @param {Job} job */
function see(job) {
  state.job = job;
  working(!isOver(job));
  const { progress, links } = job;
  if (job.status === "queued") {
    const waiting = job.queue_position ? `place ${job.queue_position}` : "waiting";
    say(`In the queue: ${waiting}${left(job)}`, progress?.fraction ?? 0);
  } else if (job.status === "paused") {
    const told = progress ? `Paused at ${place(progress).toLowerCase()}` : "Paused before it began";
    say(progress ? `${told}, which begins again when you resume it.` : told, progress?.fraction ?? 0);
    tell(told);
  } else if (progress) {
    const told = place(progress);
    say(job.pause_requested ? `${told}, about to pause` : `${told}${left(job)}`, progress.fraction);
    tell(told);
  } else {
    say(`Beginning${left(job)}`, 0);
  }
  underway().then(({ renew }) => renew());
  const now = Date.now();
  if (links.preview && !isOver(job) && now - previewed >= PREVIEW) {
    previewed = now;
    blob(links.preview).then((file) => state.job?.id === job.id && !isOver(state.job) && reveal(file), () => {});
  }
}

/** @param {NonNullable<Job["progress"]>} progress */
const place = ({ frame, frames, octave, octaves }) => (frames ? `Frame ${frame} of ${frames}` : `Octave ${octave} of ${octaves}`);

/** @param {Job} job */
function left(job) {
  return job.eta_seconds ? `, about ${Math.max(1, Math.round(job.eta_seconds))} s` : "";
}

/** @param {Job} job */
async function finish(job) {
  working(false);
  $("status").hidden = true;
  ended();
  renewLooks();
  if (job.status !== "succeeded" || !job.links.result) {
    return complain(new Problem(0, job.error?.detail ?? ENDS[job.status] ?? job.status));
  }
  const file = await blob(job.links.result);
  // Another dream may have been opened meanwhile.
  if (state.job?.id !== job.id) return;
  reveal(file);
  $("mask").hidden = true;
  tell("The dream is finished");
  $("actions").hidden = false;
  $("download").href = $("film").src || $("after").src;
  $("download").download = `dream-${job.id.slice(-6)}.${(job.result?.media_type ?? "image/png").split("/")[1]}`;
  const { frames, octaves } = job.progress ?? {};
  $("fork").hidden = ((job.spec.motion ? frames : octaves) ?? 1) < 2;
  $("fork").open = false;
  $("notes").replaceChildren(...job.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
}

/** Ends the dream at work. */
export async function cancel() {
  const job = state.job;
  if (!job || isOver(job)) return;
  if (job.links.cancel) {
    await ask(job.links.cancel, { method: "POST" }).catch(complain);
  }
}

/** @param {string} words @param {number} share */
function say(words, share) {
  $("status").hidden = false;
  $("words").textContent = words;
  $("bar").value = share;
}

/** Has no controls of a dream at work. */
function resting() {
  for (const id of ["cancel", "pause", "steer", "steer-late"]) $(id).hidden = true;
}

/** @param {boolean} on */
function working(on) {
  if (on) $("dream").disabled = true;
  else tellReady();
  if (on) $("cancel").hidden = false;
  else resting();
  $("frame").setAttribute("aria-busy", String(on));
}

/** @param {{ width: number, height: number }} size */
const halfOf = ({ width, height }) => ({ width: Math.ceil(width / 2), height: Math.ceil(height / 2) });

/** Says what is wrong, at the control that is to blame if there is one. @param {any} error */
export async function complain(error) {
  working(false);
  $("status").hidden = true;
  if (error instanceof Problem && error.status === 401) return void $("ask").showModal();
  const box = $("problem");
  explain(box, error);
  // Of a picture that is too long to send, half the edges have about a quarter of the bytes.
  const isTooLong = error.status === 413 && $("before").naturalWidth > 1;
  const largest = isTooLong ? halfOf(sizeAt($("before"), readForm().edge)) : error.body?.prediction?.largest;
  if (!largest) return;
  const shrink = Object.assign(document.createElement("button"), {
    type: "button", textContent: `Dream it at ${largest.width}×${largest.height}`,
  });
  shrink.onclick = async () => {
    const { picture } = state;
    if (picture) bring(await smaller(picture.file, Math.max(largest.width, largest.height)), picture.name);
    dream();
  };
  box.append(shrink);
}
