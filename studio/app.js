// @ts-check
// The page: what is on the screen follows from the picture, the form and one job. The job's id is in the address from the
// moment that there is one, so a reload, a second tab or a phone that wakes up finds it again.

import { Problem, ask, blob, follow, hasKey, inForce, isOver, json, submit, useKey } from "./api.js";
import { startCost } from "./cost.js";
import { guideFile, readForm, settings, showSpec, startForm } from "./form.js";
import { startHistory } from "./history.js";
import { startInputs } from "./inputs.js";
import { sizeAt, smaller } from "./picture.js";
import { compare, reveal, show } from "./stage.js";

/** @typedef {import("./types.js").Job} Job */

/** Milliseconds between two previews. */
const PREVIEW = 1000;

/** How a job ends without a dream, where the server does not say more. */
const ENDS = /** @type {Record<string, string>} */ ({
  canceled: "The dream was canceled.", expired: "The dream waited too long.", failed: "The dream failed.",
});

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

const state = {
  /** @type {{ file: Blob, name: string } | null} */
  picture: null,
  /** The picture, if it was brought and is none of an older dream. @type {Blob | null} */
  brought: null,
  /** @type {Job | null} */
  job: null,
  /** Ends what is sent or followed. */
  stop: new AbortController(),
  /** When a preview was last asked for. */
  preview: 0,
  /** What the controls said when the job was taken up. */
  base: settings(),
};

/**
 * A part of the page that is loaded when it is first wanted: most visits need few of them.
 * @template T
 * @param {() => Promise<T>} load
 */
function later(load) {
  /** @type {Promise<T> | undefined} */
  let loading;
  return () => (loading ??= load());
}

const history_ = startHistory($("history"), $("more"), (id) => attach(id));
/** The brush, once it was taken. @type {ReturnType<typeof import("./mask.js").startMask> | null} */
let mask = null;
const cost = startCost($("cost"), () => {
  const { spec, edge } = readForm();
  const known = state.picture && $("before").naturalWidth;
  return { size: known ? sizeAt($("before"), edge) : null, spec, guide: guideFile() };
});

const page = { shown: () => state.job, see, clear: async () => { if (state.brought) await (await own()).pause(); }, base: () => state.base, rebase: (/** @type {any} */ base) => void (state.base = base) };
const underway = later(async () => (await import("./underway.js")).startUnderway(page));
const fork = later(async () => (await import("./fork.js")).startFork(page, (job) => {
  leave();
  state.base = settings();
  takeUp(job).catch(complain);
}));
/** Looks on the picture; null while they have to wait. */
const onOwn = () => (state.job && !isOver(state.job) ? null : state.brought);
const own = later(async () => (await import("./own.js")).startOwn($("looks"), onOwn, () => state.brought));
const wall = later(async () => {
  const { openLink, startWall } = await import("./wall.js");
  startWall(() => !state.job || isOver(state.job));
  return openLink;
});

// ---- the picture

/** @param {Blob | null | undefined} file @param {string} name */
function take(file, name) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) {
    return complain(new Problem(0, `${name || "this"} is not a picture`));
  }
  leave();
  use(file, name);
  offer(file);
  state.brought = file;
  own().then(({ renew }) => renew());
}

/** Asks what a dream with a recipe is for. @param {Blob} file */
async function offer(file) {
  // Most pictures have none, and need none of the means to read one.
  if (!(await file.text()).includes("reverie")) return;
  const { recipeOf } = await import("./recipe.js");
  const spec = await recipeOf(file);
  if (!spec || state.picture?.file !== file) return;
  (await import("./offer.js")).offer(spec, { unuse, changed: () => cost.renew() });
}

/** Has a picture to dream on. @param {Blob} file @param {string} name */
function use(file, name) {
  state.picture = { file, name: name || "picture.png" };
  show("before", file);
  $("frame").classList.replace("empty", "full");
  $("invite").hidden = true;
  $("dream").disabled = Boolean(state.job && !isOver(state.job));
  $("tools").hidden = false;
}

/** Has no picture any more. */
function unuse() {
  if (state.brought) own().then(({ renew }) => renew());
  state.picture = state.brought = null;
  show("before", null);
  $("frame").classList.replace("full", "empty");
  $("invite").hidden = false;
  $("dream").disabled = true;
  $("tools").hidden = true;
  cost.renew();
}

/** Begins or ends painting. @param {boolean} on */
function paint(on) {
  $("paint").setAttribute("aria-pressed", String(on));
  const isPainted = mask?.isPainted();
  $("paint").textContent = isPainted ? "Change where it may grow" : "Paint where it may grow";
  $("brushes").hidden = !on;
  $("unpaint").hidden = !on && !isPainted;
  $("mask").hidden = !on && !isPainted;
  $("mask").style.pointerEvents = on ? "" : "none";
}

/** Forgets the job, and what was said about it. */
function leave() {
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

// ---- the job

async function dream() {
  const picture = state.picture;
  if (!picture) return;
  leave();
  const cleared = state.brought && own().then(({ pause }) => pause());
  paint(false);
  const signal = state.stop.signal;
  const { spec, edge } = readForm();
  state.base = settings();
  working(true);
  scrollTo({ top: 0 });
  say("Getting the picture ready", 0);
  try {
    const image = await smaller(picture.file, edge);
    const size = sizeAt($("before"), edge);
    const submission = {
      spec, image, guide: guideFile(), mask: mask?.isPainted() ? await mask.file(size.width, size.height) : null,
    };
    await cleared;
    const job = await submit(submission, (share) => say("Sending the picture", share), signal);
    if (!signal.aborted) await takeUp(job);
  } catch (error) {
    if (!signal.aborted) complain(error);
  }
}

/** Follows a job, whose id is in the address from now on. @param {Job} job */
async function takeUp(job) {
  location.hash = job.id;
  await watch(job, state.stop.signal);
}

/** Takes up a job that exists. @param {string} id */
async function attach(id) {
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
    await showSpec(inForce(job));
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
  if (links.preview && !isOver(job) && now - state.preview >= PREVIEW) {
    state.preview = now;
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
  history_.renew();
  if (state.brought) own().then(({ renew }) => renew());
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

async function cancel() {
  const job = state.job;
  if (!job || isOver(job)) return;
  if (job.links.cancel) {
    await ask(job.links.cancel, { method: "POST" }).catch(complain);
  }
}

// ---- words

/** @param {string} words @param {number} share */
function say(words, share) {
  $("status").hidden = false;
  $("words").textContent = words;
  $("bar").value = share;
}

/** Tells those who do not look. @param {string} words */
function tell(words) {
  if ($("live").textContent !== words) $("live").textContent = words;
}

/** Has no controls of a dream at work. */
function resting() {
  for (const id of ["cancel", "pause", "steer", "steer-late"]) $(id).hidden = true;
}

/** @param {boolean} on */
function working(on) {
  $("dream").disabled = on || !state.picture;
  if (on) $("cancel").hidden = false;
  else resting();
  $("frame").setAttribute("aria-busy", String(on));
}

/** Says what is wrong, at the control that is to blame if there is one. @param {any} error */
async function complain(error) {
  working(false);
  $("status").hidden = true;
  if (error instanceof Problem && error.status === 401) return void $("ask").showModal();
  const signal = state.stop.signal;
  const { explain } = await import("./problem.js");
  if (signal.aborted) return;
  const box = $("problem");
  explain(box, error);
  const largest = error.body?.prediction?.largest;
  if (!largest) return;
  const shrink = Object.assign(document.createElement("button"), {
    type: "button", textContent: `Dream it at ${largest.width}×${largest.height}`,
  });
  shrink.onclick = async () => {
    const picture = state.picture;
    if (picture) take(await smaller(picture.file, Math.max(largest.width, largest.height)), picture.name);
    dream();
  };
  box.append(shrink);
}

// ---- controls

$("choose").onclick = () => $("file").click();
$("other").onclick = () => $("file").click();
$("file").onchange = () => {
  take($("file").files[0], $("file").files[0]?.name);
  $("file").value = "";
};
$("sample").onclick = () => blob("/studio/sample.jpg").then((file) => take(file, "sample.jpg"), complain);
$("again").onclick = async () => {
  const job = state.job;
  if (job?.links.result) take(await blob(job.links.result), "dream.png");
};
$("fork").ontoggle = () => $("fork").open && fork().then(({ offer }) => offer());
$("form").addEventListener("model", () => state.brought && own().then(({ renew }) => renew()));
$("cancel").onclick = cancel;
$("help").onclick = () => $("keys").showModal();
$("form").onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  dream();
};
$("paint").onclick = async () => {
  mask ??= (await import("./mask.js")).startMask($("mask"), $("before"), $("brush"));
  paint($("paint").getAttribute("aria-pressed") !== "true");
};
$("unpaint").onclick = () => {
  mask?.clear();
  paint(false);
};
$("before").onload = () => {
  mask?.clear();
  paint(false);
  compare();
  cost.renew();
};
$("form").addEventListener("input", () => cost.renew());
$("form").oninput = () => {
  for (const one of $("form").querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
};
$("copy").onchange = async () => {
  const kind = $("copy").value;
  $("copy").value = "";
  const { snippet } = await import("./snippets.js");
  const text = snippet(kind, readForm().spec, state.picture?.name ?? "photo.jpg", location.origin, hasKey());
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied");
  } catch {
    // Without HTTPS a page may not write to the clipboard; it can be marked by hand.
    $("spec").value = text;
    $("spec").closest("details").open = true;
    $("spec").select();
  }
};
$("ask").onclose = () => {
  if ($("key").value) useKey($("key").value.trim());
  $("key").value = "";
  begin();
};

addEventListener("hashchange", () => {
  toOperations();
  const id = location.hash.slice(1);
  if (id) visit(id).catch(complain);
});

/** The operators' page has an address like those of the dreams. */
function toOperations() {
  if (location.hash === "#/operations") location.replace("/studio/operations.html");
}

/** Takes up what an address says. @param {string} hash */
async function visit(hash) {
  if (hash.startsWith("/layers/")) await (await wall())(hash);
  else await attach(hash);
}

startInputs({ take, dream, cancel });

new IntersectionObserver((seen) => {
  if (seen.some((entry) => entry.isIntersecting)) wall();
}, { rootMargin: "200px" }).observe($("where"));

async function begin() {
  toOperations();
  try {
    await startForm();
    history_.renew();
    const id = location.hash.slice(1);
    if (id) await visit(id);
  } catch (error) {
    complain(error);
  }
}

begin();
