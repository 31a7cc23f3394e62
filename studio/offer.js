// @ts-check
// A dream that is dropped in says how it was made: its settings can be taken, or the picture, or both. What changed is told, and can be
// undone.

import { readForm, snapshot, takeOut, unsure } from "./form.js";
import { told as inWords } from "./rest.js";
import { showSpec } from "./spec.js";

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

const CHOICES = ["use-recipe", "use-picture", "use-both"];

/** Ends what waits for an older recipe. */
let waiting = new AbortController();

/**
 * Offers the recipe of the picture that is shown.
 * @param {Record<string, any>} spec
 * @param {object} page
 * @param {() => void} page.unuse takes the picture away
 * @param {() => void} page.changed hears of changed settings
 */
export function offer(spec, { unuse, changed }) {
  const box = $("recipe");

  /** @param {boolean} on */
  function undoable(on) {
    // The focus does not go with its button.
    const isHere = box.contains(document.activeElement);
    for (const id of CHOICES) $(id).hidden = on;
    $("undo-recipe").hidden = !on;
    if (isHere && on) $("undo-recipe").focus({ preventScroll: true });
  }

  /** Closes the question; the picture is next. */
  function close() {
    waiting.abort();
    box.hidden = true;
    $("frame").closest(".stage").focus({ preventScroll: true });
  }

  /** @param {boolean} hasPicture */
  async function take(hasPicture) {
    const undo = snapshot();
    const isSure = !unsure();
    const before = readForm().spec;
    // Of a recipe that is none, what could be read is taken.
    if ((await showSpec(spec).catch(() => true)) === false) return;
    // It begins with the picture, then.
    if (hasPicture && readForm().spec.noise) takeOut("noise");
    changed();
    // What of them is different may be known later.
    const tell = () => {
      const isKnown = isSure && !unsure();
      $("recipe-words").textContent = isKnown ? changes(before, readForm().spec) : "Its settings are in the form now.";
      if (isKnown) waiting.abort();
    };
    $("form").addEventListener("told", tell, { signal: waiting.signal });
    tell();
    undoable(true);
    $("undo-recipe").onclick = async () => {
      await undo();
      changed();
      close();
    };
  }

  waiting.abort();
  waiting = new AbortController();
  $("recipe-words").textContent = "This picture is a dream, and says how it was made.";
  undoable(false);
  box.hidden = false;
  $("use-recipe").onclick = () => {
    unuse();
    take(false);
  };
  $("use-picture").onclick = close;
  $("use-both").onclick = () => take(true);
}

/** What is different, a line each. @param {Record<string, any>} before @param {Record<string, any>} after */
function changes(before, after) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  /** @param {any} value */
  const told = (value) => (value === undefined ? "as usual" : inWords(value));
  const lines = names.filter((name) => told(before[name]) !== told(after[name]))
    .map((name) => `${name.replaceAll("_", " ")}: ${told(before[name])} → ${told(after[name])}`);
  return lines.length ? lines.join("\n") : "Nothing changed: these are the settings already.";
}
