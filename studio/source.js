// @ts-check
// What is dreamed on: a picture, perhaps with a part of it painted, or the noise of a dream that was opened. With it go the looks on it,
// and what a dream of it would take.

import { isOver } from "./api.js";
import { startCost } from "./cost.js";
import { guideFile, readForm, takeOut } from "./form.js";
import { sizeAt } from "./picture.js";
import { show } from "./stage.js";
import { $, later, state } from "./state.js";

/** The brush, once it was taken. @type {ReturnType<typeof import("./mask.js").startMask> | null} */
let mask = null;

export const cost = startCost($("cost"), () => {
  const { spec, edge } = readForm();
  const { mask: _, ...others } = spec;
  const known = state.picture && $("before").naturalWidth;
  return { size: known ? sizeAt($("before"), edge) : null, spec: others, guide: guideFile() };
});

/** Looks on the picture; null while they have to wait. */
const onOwn = () => (state.job && !isOver(state.job) ? null : state.brought);

export const own = later(async () => (await import("./own.js")).startOwn($("looks"), onOwn, () => state.brought));

/** Has the looks on the picture go on, if one was brought. */
export const renewLooks = () => void (state.brought && own().then(({ renew }) => renew(), () => {}));

/** Ends what the server dreams for the looks; it is gone when this resolves. */
export async function pauseLooks() {
  // Where it could not be loaded, there is nothing to end.
  if (state.brought) await own().then(({ pause }) => pause(), () => {});
}

/** Whether there is something to dream on. */
export const isThere = () => Boolean(state.picture ?? readForm().spec.noise);

/** Whether a dream can be begun now. */
export const tellReady = () => ($("dream").disabled = !isThere() || Boolean(state.job && !isOver(state.job)));

/** Has a picture to dream on. @param {Blob} file @param {string} name */
export function use(file, name) {
  state.picture = { file, name: name || "picture.png" };
  if (readForm().spec.noise) takeOut("noise");
  show("before", file);
  $("frame").classList.replace("empty", "full");
  $("invite").hidden = true;
  tellReady();
  $("tools").hidden = false;
}

/** Has one that somebody brought, and shows the looks on it. @param {Blob} file @param {string} name */
export function bring(file, name) {
  use(file, name);
  state.brought = file;
  renewLooks();
}

/** Has no picture any more. */
export function unuse() {
  renewLooks();
  state.picture = state.brought = null;
  show("before", null);
  $("frame").classList.replace("full", "empty");
  $("invite").hidden = false;
  tellReady();
  $("tools").hidden = true;
  cost.renew();
}

export const isPainted = () => Boolean(mask?.isPainted());

/** Begins or ends painting. @param {boolean} on */
export function paint(on) {
  $("paint").setAttribute("aria-pressed", String(on));
  $("paint").textContent = isPainted() ? "Change where it may grow" : "Paint where it may grow";
  $("brushes").hidden = !on;
  $("unpaint").hidden = !on && !isPainted();
  $("mask").hidden = !on && !isPainted();
  $("mask").style.pointerEvents = on ? "" : "none";
}

/** Paints, or ends to. */
export async function togglePaint() {
  mask ??= (await import("./mask.js")).startMask($("mask"), $("before"), $("brush"));
  paint($("paint").getAttribute("aria-pressed") !== "true");
}

/** Has nothing painted. */
export function unpaint() {
  mask?.clear();
  paint(false);
}

/** What was painted, as a picture of this size; null if nothing was. @param {number} edge the longest of the picture that is sent */
export async function paintedFor(edge) {
  const { width, height } = sizeAt($("before"), edge);
  return mask?.isPainted() ? mask.file(width, height) : null;
}
