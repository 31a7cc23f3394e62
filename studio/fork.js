// @ts-check
// Another end for a dream: its first octaves, or frames, stay, and the rest is dreamed with what the controls say now. Of what they cannot
// say, the rest is as the dream was in the end.

import { inForce, json } from "./api.js";
import { changed, chosenModel, inWords, settings } from "./form.js";
import { explain } from "./problem.js";

/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").Settings} Settings */

/** What may differ, of what the controls say; and what the dream may have changed on its way beside. */
const OPEN = ["objectives", "step", "format", "preserve_colors", "blend"];
const ALL = [...OPEN, "total_variation", "l2_decay"];

/** Milliseconds without a change before the server is asked what it takes. */
const PAUSE = 500;

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/**
 * @param {object} page
 * @param {() => Job | null} page.shown
 * @param {() => Settings} page.base what the controls said when the job was taken up
 * @param {() => Promise<void>} page.clear ends what the page has the server do beside
 * @param {() => void} page.resume goes on with it
 * @param {(job: Job) => void} begun hears of the new one
 */
export function startFork({ shown, base, clear, resume }, begun) {
  let timer = 0;
  let asked = new AbortController();

  /** What to ask for; null where the rest would be the same. */
  function submission() {
    const job = shown();
    const said = changed(base(), settings(), OPEN);
    if (!job || job.spec.model !== chosenModel().model.id) return null;
    const kept = Number($("octave").value);
    const begun = (job.spec.schedule ?? []).filter((/** @type {any} */ change) => (change.octave ?? change.frame) <= kept);
    // What changed in the dream after what is kept is left out, unless it is said again.
    const has = inForce({ ...job, spec: { ...job.spec, schedule: begun } });
    const wanted = { ...inForce(job), ...said };
    const spec = changed(has, wanted, ALL);
    const isSameDream = !Object.keys(said).length && begun.length === (job.spec.schedule ?? []).length;
    return isSameDream ? null : { from: { job: job.id, [job.spec.motion ? "frame" : "octave"]: kept }, spec };
  }

  /** @param {string} path @param {object} body @param {AbortSignal} [signal] */
  const post = (path, body, signal) =>
    json(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

  /** Says what would be done, and a moment later what it takes. */
  function renew() {
    const job = shown();
    clearTimeout(timer);
    asked.abort();
    asked = new AbortController();
    if (!job || $("fork").hidden || !$("fork").open) return;
    const [name, all] = job.spec.motion ? ["Frame", job.progress?.frames ?? 0] : ["Octave", job.progress?.octaves ?? 0];
    const kept = Number($("octave").value);
    $("kept").textContent = `${name}${kept > 1 ? "s 1 to" : ""} ${kept} of ${all}`;
    const wanted = submission();
    $("fork-go").disabled = !wanted;
    $("fork-problem").hidden = true;
    if (!wanted) return void ($("fork-words").textContent = "Choose another look, layer or step of this model: as it stands, the rest would be the same.");
    const { format, preserve_colors: colors, blend } = wanted.spec;
    const words = [
      inWords(wanted.spec), format && `as ${format.toUpperCase()}`,
      colors !== undefined && `colours of the original ${Math.round(colors * 100)} %`,
      blend !== undefined && `original mixed in ${Math.round(blend * 100)} %`,
    ].filter(Boolean).join(", ") || "as it began";
    $("fork-words").textContent = `Then: ${words}`;
    const { signal } = asked;
    timer = setTimeout(async () => {
      const told = await post("/v1/dry-run", wanted, signal).catch(() => null);
      if (told && !signal.aborted) $("fork-words").textContent = `Then: ${words}. About ${Math.max(1, Math.round(told.eta_seconds))} s`;
    }, PAUSE);
  }

  $("octave").oninput = renew;
  $("form").addEventListener("told", renew);
  $("fork-go").onclick = async () => {
    const wanted = submission();
    if (!wanted) return;
    $("fork-go").disabled = true;
    try {
      await clear();
      const job = await post("/v1/jobs", wanted);
      // Another dream may have been opened meanwhile.
      if (shown()?.id === wanted.from.job) begun(job);
    } catch (error) {
      if (shown()?.id === wanted.from.job) explain($("fork-problem"), error);
      resume();
    } finally {
      $("fork-go").disabled = false;
    }
  };

  return {
    /** Offers it for the job that is shown, which has several parts. */
    offer() {
      const { spec, progress } = shown() ?? {};
      const parts = (spec?.motion ? progress?.frames : progress?.octaves) ?? 2;
      $("octave").max = String(parts - 1);
      $("octave").value = String(parts >> 1);
      renew();
    },
  };
}
