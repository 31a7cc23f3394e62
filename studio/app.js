// @ts-check
// The page: what is on the screen follows from the picture, the form and one job. The job's id is in the address from the
// moment that there is one, so a reload, a second tab or a phone that wakes up finds it again.

import { Problem, ask, blob, follow, hasKey, isOver, json, submit, useKey } from "./api.js";
import { startCost } from "./cost.js";
import { guideFile, readForm, showSpec, startForm } from "./form.js";
import { startHistory } from "./history.js";
import { startMask } from "./mask.js";
import { startOffer } from "./offer.js";
import { sizeAt, smaller } from "./picture.js";
import { snippet } from "./snippets.js";
import { openLink, startWall } from "./wall.js";

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
  /** @type {Job | null} */
  job: null,
  /** Ends what is sent or followed. */
  stop: new AbortController(),
  /** When a preview was last asked for. */
  preview: 0,
};

const history_ = startHistory($("history"), $("more"), (id) => attach(id));
const mask = startMask($("mask"), $("before"), $("brush"));
const cost = startCost($("cost"), () => {
  const { spec, edge } = readForm();
  const known = state.picture && $("before").naturalWidth;
  return { size: known ? sizeAt($("before"), edge) : null, spec, guide: guideFile() };
});

/** Asks what a dream with a recipe is for. */
const offer = startOffer({
  isShown: (file) => state.picture?.file === file,
  unuse: () => unuse(),
  changed: () => cost.renew(),
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
  state.picture = null;
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
  $("paint").textContent = mask.isPainted() ? "Change where it may grow" : "Paint where it may grow";
  $("brushes").hidden = !on;
  $("unpaint").hidden = !on && !mask.isPainted();
  $("mask").hidden = !on && !mask.isPainted();
  $("mask").style.pointerEvents = on ? "" : "none";
}

/** Shows a picture in one of the two places, or a video in that of the dream. @param {"before" | "after"} place @param {Blob | null} file */
function show(place, file) {
  const isVideo = file?.type.startsWith("video/") ?? false;
  put($(place), isVideo ? null : file);
  if (place === "after") {
    put($("film"), isVideo ? file : null);
    // A video is no picture to dream on.
    $("again").hidden = isVideo;
  }
}

/** @param {HTMLImageElement | HTMLVideoElement} element @param {Blob | null} file */
function put(element, file) {
  if (element.src) URL.revokeObjectURL(element.src);
  element.hidden = !file;
  if (file) element.src = URL.createObjectURL(file);
  else element.removeAttribute("src");
}

/** Forgets the job, and what was said about it. */
function leave() {
  state.stop.abort();
  state.stop = new AbortController();
  state.job = null;
  show("after", null);
  for (const id of ["compare", "status", "actions", "problem", "cancel"]) $(id).hidden = true;
  $("notes").replaceChildren();
  $("recipe").hidden = true;
  if (location.hash) history.replaceState(null, "", location.pathname);
}

// ---- the job

async function dream() {
  const picture = state.picture;
  if (!picture) return;
  leave();
  paint(false);
  const signal = state.stop.signal;
  const { spec, edge } = readForm();
  working(true);
  scrollTo({ top: 0 });
  say("Getting the picture ready", 0);
  try {
    const image = await smaller(picture.file, edge);
    const size = sizeAt($("before"), edge);
    const submission = {
      spec, image, guide: guideFile(), mask: mask.isPainted() ? await mask.file(size.width, size.height) : null,
    };
    const job = await submit(submission, (share) => say("Sending the picture", share), signal);
    location.hash = job.id;
    await watch(job, signal);
  } catch (error) {
    if (!signal.aborted) complain(error);
  }
}

/** Takes up a job that exists. @param {string} id */
async function attach(id) {
  if (state.job?.id === id) return;
  leave();
  const signal = state.stop.signal;
  try {
    const job = /** @type {Job} */ (await json(`/v1/jobs/${encodeURIComponent(id)}`));
    if (signal.aborted) return;
    location.hash = job.id;
    await showSpec(job.spec);
    if (signal.aborted) return;
    unuse();
    $("invite").hidden = true;
    $("frame").classList.replace("empty", "full");
    if (job.links.input) blob(job.links.input).then((file) => signal.aborted || use(file, "picture"), () => {});
    await watch(job, signal);
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
    const place = job.queue_position ? `place ${job.queue_position}` : "waiting";
    say(`In the queue: ${place}${left(job)}`, 0);
  } else if (job.status === "paused") {
    say("Paused", progress?.fraction ?? 0);
  } else if (progress) {
    const octave = `Octave ${progress.octave} of ${progress.octaves}`;
    const told = progress.frames ? `Frame ${progress.frame} of ${progress.frames}` : octave;
    say(`${told}${left(job)}`, progress.fraction);
    if ($("live").textContent !== told) $("live").textContent = told;
  } else {
    say(`Beginning${left(job)}`, 0);
  }
  const now = Date.now();
  if (links.preview && !isOver(job) && now - state.preview >= PREVIEW) {
    state.preview = now;
    blob(links.preview).then((file) => state.job?.id === job.id && !isOver(state.job) && reveal(file), () => {});
  }
}

/** @param {Job} job */
function left(job) {
  return job.eta_seconds ? `, about ${Math.max(1, Math.round(job.eta_seconds))} s` : "";
}

/** @param {Job} job */
async function finish(job) {
  working(false);
  $("status").hidden = true;
  history_.renew();
  if (job.status !== "succeeded" || !job.links.result) {
    return complain(new Problem(0, job.error?.detail ?? ENDS[job.status] ?? job.status));
  }
  const file = await blob(job.links.result);
  reveal(file);
  $("mask").hidden = true;
  $("live").textContent = "The dream is finished";
  $("actions").hidden = false;
  $("download").href = $("film").src || $("after").src;
  $("download").download = `dream-${job.id.slice(-6)}.${(job.result?.media_type ?? "image/png").split("/")[1]}`;
  $("notes").replaceChildren(...job.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
}

/** @param {Blob} file */
function reveal(file) {
  show("after", file);
  compare();
}

/** Offers to compare where there are both pictures. */
function compare() {
  const both = !$("before").hidden && !$("after").hidden;
  $("compare").hidden = !both;
  split(both ? Number($("split").value) : 0);
}

/** Shows the original in so many per cent from the left. @param {number} percent */
function split(percent) {
  $("frame").style.setProperty("--split", `${percent}%`);
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

/** @param {boolean} on */
function working(on) {
  $("dream").disabled = on || !state.picture;
  $("cancel").hidden = !on;
  $("frame").setAttribute("aria-busy", String(on));
}

/** Says what is wrong, at the control that is to blame if there is one. @param {any} error */
function complain(error) {
  working(false);
  $("status").hidden = true;
  if (error instanceof Problem && error.status === 401) return void $("ask").showModal();
  const box = $("problem");
  /** @type {HTMLElement[]} */
  const lines = [Object.assign(document.createElement("div"), { textContent: error.message })];
  const list = document.createElement("ul");
  for (const { pointer, detail } of error.errors ?? []) {
    const [, , name = "", part = ""] = pointer.split("/");
    const control = document.getElementById(part) ?? document.getElementById(name);
    if (control instanceof HTMLElement) control.setAttribute("aria-invalid", "true");
    list.append(Object.assign(document.createElement("li"), { textContent: `${name.replaceAll("_", " ")}: ${detail}` }));
  }
  if (list.childElementCount) lines.push(list);
  box.replaceChildren(...lines);
  if (error.retryAfter) countDown(box, error.retryAfter);
  const largest = error.body?.prediction?.largest;
  if (largest) {
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
  box.hidden = false;
}

/** @param {HTMLElement} box @param {number} seconds */
function countDown(box, seconds) {
  const line = box.appendChild(document.createElement("div"));
  const end = Date.now() + seconds * 1000;
  const tick = () => {
    const rest = Math.ceil((end - Date.now()) / 1000);
    line.textContent = rest > 0 ? `The server takes more in ${rest} s.` : "The server may take more now.";
    if (rest > 0 && line.isConnected) setTimeout(tick, 500);
  };
  tick();
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
$("cancel").onclick = cancel;
$("split").oninput = () => split(Number($("split").value));
$("help").onclick = () => $("keys").showModal();
$("form").onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  dream();
};
$("paint").onclick = () => paint($("paint").getAttribute("aria-pressed") !== "true");
$("unpaint").onclick = () => {
  mask.clear();
  paint(false);
};
$("before").onload = () => {
  mask.clear();
  paint(false);
  compare();
  cost.renew();
};
$("form").addEventListener("input", () => cost.renew());
$("form").oninput = (/** @type {Event} */ event) => {
  if (event.target instanceof HTMLElement) event.target.removeAttribute("aria-invalid");
};
$("copy").onchange = async () => {
  const kind = $("copy").value;
  $("copy").value = "";
  const text = snippet(kind, readForm().spec, state.picture?.name ?? "photo.jpg", location.origin, hasKey());
  try {
    await navigator.clipboard.writeText(text);
    $("live").textContent = "Copied";
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

addEventListener("dragover", (event) => {
  event.preventDefault();
  $("frame").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("frame").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  $("frame").classList.remove("over");
  const files = [...(event.dataTransfer?.files ?? [])];
  const file = files.find((one) => one.type.startsWith("image/")) ?? files[0];
  take(file, file?.name ?? "");
});
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  take(file, file?.name ?? "");
});
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
  if (!(await openLink(hash))) await attach(hash);
}

/** @param {KeyboardEvent} event */
const typing = (event) =>
  event.target instanceof Element && event.target.closest("input:not([type=range]):not([type=radio]), textarea, select, dialog");

addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return void dream();
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
  const onButton = event.target instanceof Element && event.target.closest("button, a, input, summary");
  if (event.key === "Escape") cancel();
  else if (event.key === "o") $("file").click();
  else if (event.key === "d" && !$("actions").hidden) $("download").click();
  else if (event.key === "?") $("keys").showModal();
  else if (event.key === " " && !onButton && !$("after").hidden && !$("before").hidden) {
    event.preventDefault();
    split(100);
  }
});
addEventListener("keyup", (event) => {
  if (event.key === " ") split($("compare").hidden ? 0 : Number($("split").value));
});

startWall(() => !state.job || isOver(state.job));

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
