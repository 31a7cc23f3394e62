// @ts-check
// The page: what is on the screen follows from the picture, the form and one job. The job's id is in the address from the
// moment that there is one, so a reload, a second tab or a phone that wakes up finds it again.

import { Problem, blob, hasKey, isOver, useKey } from "./api.js";
import { readForm, startForm } from "./form.js";
import { startHistory } from "./history.js";
import { startInputs } from "./inputs.js";
import { bring, cost, isPainted, renewLooks, tellReady, togglePaint, unpaint, unuse } from "./source.js";
import { compare } from "./stage.js";
import { $, later, state, tell } from "./state.js";

const dreams = startHistory($("history"), $("more"), async (id) => (await job()).attach(id));
const job = later(async () => {
  const part = await import("./job.js");
  part.whenEnded(dreams.renew);
  return part;
});
/** @param {unknown} error */
const complain = async (error) => (await job()).complain(error);
const dream = async () => (await job()).dream();
const cancel = async () => (await job()).cancel();
const wall = later(async () => {
  const { openLink, startWall } = await import("./wall.js");
  startWall(() => !state.job || isOver(state.job));
  return openLink;
});

// ---- the picture

/** @param {Blob | null | undefined} file @param {string} name */
async function take(file, name) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) {
    return complain(new Problem(0, `this is not a picture${name ? `: ${name}` : ""}`));
  }
  (await job()).leave();
  bring(file, name);
  offer(file);
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

// ---- controls

$("choose").onclick = () => $("file").click();
$("other").onclick = () => $("file").click();
$("file").onchange = () => {
  take($("file").files[0], $("file").files[0]?.name);
  $("file").value = "";
};
$("sample").onclick = () => blob("/studio/sample.jpg").then((file) => take(file, "sample.jpg"), complain);
$("again").onclick = async () => {
  const result = state.job?.links.result;
  if (result) take(await blob(result), "dream.png");
};
$("fork").ontoggle = async () => $("fork").open && (await (await job()).fork()).offer();
$("form").addEventListener("model", renewLooks);
$("form").addEventListener("told", tellReady);
$("cancel").onclick = cancel;
$("help").onclick = () => $("keys").showModal();
$("form").onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  dream();
};
$("paint").onclick = togglePaint;
$("unpaint").onclick = unpaint;
// The server reads files that a browser does not.
$("before").onerror = () => {
  $("before").hidden = $("tools").hidden = true;
  $("unseen").hidden = false;
  cost.renew();
};
$("before").onload = () => {
  unpaint();
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
  const text = snippet(kind, readForm().spec, state.picture?.name ?? "photo.jpg", isPainted(), location.origin, hasKey());
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
  else await (await job()).attach(hash);
}

startInputs({ take, dream, cancel });

new IntersectionObserver((seen) => {
  if (seen.some((entry) => entry.isIntersecting)) wall();
}, { rootMargin: "200px" }).observe($("where"));

async function begin() {
  toOperations();
  try {
    await startForm();
    dreams.renew();
    const id = location.hash.slice(1);
    if (id) await visit(id);
  } catch (error) {
    complain(error);
  }
}

begin();
