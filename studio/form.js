// @ts-check
// The form: looks, sliders and all settings. A field that is at its default is not sent: the server knows it.

import { json } from "./api.js";
import { lookIn, looksOf } from "./looks.js";

/** @typedef {import("./types.js").Model & Record<string, any>} Model */

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** Sliders and their defaults, and how their value is told. Of counts, 0 leaves them to the server. */
const SLIDERS = /** @type {Record<string, { start: number, told: (value: number) => string }>} */ ({
  iterations: { start: 0, told: (value) => (value ? `${value} steps` : "as suits") },
  octaves: { start: 0, told: (value) => (value ? `${value} octave${value === 1 ? "" : "s"}` : "as suits") },
  blend: { start: 0, told: (value) => `${Math.round(value * 100)} %` },
});
const NUMBERS = ["step", "octave_scale", "seed"];

/** The longest edge where a spec says nothing, in pixels. */
const MAX_EDGE = 1280;

/** Of an animation; without them it is a single picture. */
const MOTION = ["frames", "zoom"];

/** The share of the original's colours has a default for each model. */
const COLORS = "preserve_colors";

/** @type {Model[]} */
let models = [];

/** @type {{ name: string, channels: number }[]} Of the chosen model. */
let layers = [];

/** @type {import("./looks.js").Look[]} Of the chosen model. */
let looks = [];

/** @type {Record<string, any>[] | null} Objectives of a job that the controls cannot say; they stay until the controls are used. */
let kept = null;

/** @type {Record<string, any>} What a job says of its motion beside what the controls say. */
let keptMotion = {};

/** @type {Blob | null} The picture whose forms the dream is to have. */
let guide = null;

/** The guide image, if one was chosen. */
export const guideFile = () => guide;

const model = () => models.find((one) => one.id === $("model").value) ?? models[0];

/** The chosen model and its layers, once they are known. */
export const chosenModel = () => ({ model: model(), layers });

/** Fills the form from what the server has. */
export async function startForm() {
  ({ models } = await json("/v1/models"));
  const first = models.find((one) => one.default) ?? models[0];
  $("model").replaceChildren(...models.map((one) => new Option(one.id, one.id, one === first, one === first)));
  $("model").onchange = chooseModel;
  await chooseModel();
}

async function chooseModel() {
  const chosen = model();
  kept = null;
  $("channels").value = "";
  [{ layers }, looks] = await Promise.all([json(chosen.links.layers), looksOf(chosen)]);
  $("layer").replaceChildren(...layers.map((layer) => new Option(layer.name, layer.name)));
  $(COLORS).value = String(chosen.preserve_colors);
  $("looks").replaceChildren(...looks.map((look, index) => {
    const label = Object.assign(document.createElement("label"), { className: "look" });
    const input = Object.assign(document.createElement("input"), {
      type: "radio", name: "look", value: look.id, checked: index === 0,
    });
    input.onchange = () => {
      kept = null;
      take(look.spec.objectives?.[0]);
      tell();
    };
    label.append(input);
    if (look.picture) label.append(Object.assign(document.createElement("img"), { src: look.picture, alt: "", width: 160, height: 107 }));
    label.append(Object.assign(document.createElement("span"), { textContent: look.title }));
    return label;
  }));
  $("form").dispatchEvent(new Event("model"));
  // What was typed while the server was asked stays.
  const typed = $("channels").value;
  take(looks[0]?.spec.objectives?.[0] ?? { layer: chosen.default_layer });
  if (typed) {
    $("channels").value = typed;
    mark({ objectives: [{ kind: "l2", ...objective() }] });
  }
  tell();
}

/** Shows an objective. @param {Record<string, any> | undefined} objective */
function take(objective) {
  if (!objective) return;
  $("layer").value = objective.layer;
  $("channels").value = (objective.channels ?? []).join(", ");
}

/** The chosen look, if there is one. */
function chosenLook() {
  const input = document.querySelector("input[name=look]:checked");
  return looks.find((look) => look.id === /** @type {HTMLInputElement | null} */ (input)?.value);
}

/** Marks the look that a spec has. @param {Record<string, any>} spec */
function mark(spec) {
  check(lookIn(looks, spec)?.id);
}

/** Checks one look, or none. @param {string | undefined} id */
function check(id) {
  for (const input of document.querySelectorAll("input[name=look]")) {
    /** @type {HTMLInputElement} */ (input).checked = /** @type {HTMLInputElement} */ (input).value === id;
  }
}

/** What the controls of the layer say. */
function objective() {
  const channels = $("channels").value.split(/[\s,]+/).filter(Boolean).map(Number);
  return { layer: $("layer").value, ...(channels.length ? { channels } : {}) };
}

/**
 * What the form says: a spec, and the longest edge that the picture is to have (0: as it is).
 * @returns {{ spec: Record<string, any>, edge: number }}
 */
export function readForm() {
  const chosen = model();
  /** @type {Record<string, any>} */
  const spec = {};
  if (chosen && !chosen.default) spec.model = chosen.id;
  const look = chosenLook();
  if (guide) spec.objectives = [{ kind: "guide", layer: $("layer").value }];
  else if (kept) spec.objectives = kept;
  else if (look?.id) spec.look = look.id;
  else spec.objectives = [objective()];
  for (const [name, { start }] of Object.entries(SLIDERS)) {
    const value = Number($(name).value);
    if (value !== start) spec[name] = value;
  }
  for (const name of NUMBERS) if ($(name).value !== "") spec[name] = Number($(name).value);
  const colors = Number($(COLORS).value);
  if (chosen && colors !== chosen.preserve_colors) spec.preserve_colors = colors;
  if ($("format").value) spec.format = $("format").value;
  if ($("frames").value || $("zoom").value) {
    spec.motion = { ...keptMotion };
    for (const name of MOTION) if ($(name).value) spec.motion[name] = Number($(name).value);
    // A PNG of many frames is large.
    spec.format ??= "webp";
  }
  const edge = Number($("edge").value);
  // An animation is smaller by default.
  if (edge !== MAX_EDGE || spec.motion) spec.max_edge = edge;
  return { spec, edge };
}

/**
 * What the controls say of what may change on the way, and of the file.
 * @returns {import("./types.js").Settings}
 */
export function settings() {
  const { spec } = readForm();
  const look = chosenLook()?.spec;
  return {
    objectives: spec.objectives ?? look?.objectives ?? [objective()],
    step: spec.step ?? look?.step,
    format: spec.format ?? "png",
    preserve_colors: Number($(COLORS).value),
    blend: Number($("blend").value),
  };
}

/** Those of the named members that are said otherwise now. @param {any} before @param {any} now @param {string[]} names @returns {Record<string, any>} */
export function changed(before, now, names) {
  return Object.fromEntries(names.filter((name) => now[name] !== undefined && !isSame(before[name], now[name])).map((name) => [name, now[name]]));
}

/** Whether two values of a member mean the same; objectives may leave out what is usual. @param {any} one @param {any} other */
export const isSame = (one, other) => JSON.stringify(complete(one)) === JSON.stringify(complete(other));

/** @param {any} value @returns {any} */
function complete(value) {
  if (!Array.isArray(value)) return value;
  return value.map((one) => {
    const { kind = usualKind(one), channels = [], weight = 1, ...rest } = one;
    return Object.entries({ kind, channels, weight, ...rest }).sort(([a], [b]) => a.localeCompare(b));
  });
}

/** What the server measures where an objective does not say. @param {any} objective */
const usualKind = ({ channels, class: number }) => (number !== undefined ? "class" : channels?.length ? "mean" : "l2");

/** A change in words, with the look that has its objectives. @param {Record<string, any>} change */
export function inWords({ objectives, step, total_variation, l2_decay, fade }) {
  const look = objectives && looks.find((one) => isSame(one.spec.objectives, objectives));
  /** @param {any} one */
  const word = ({ layer, channels = [], class: number, weight = 1 }) =>
    `${layer}${number === undefined ? "" : `, class ${number}`}${channels.length ? ` ${channels.join(", ")}` : ""}${weight === 1 ? "" : ` × ${weight}`}`;
  const parts = [
    objectives && (look?.title ?? objectives.map(word).join(" + ")),
    step !== undefined && `step ${step}`,
    total_variation !== undefined && `smoothing ${total_variation}`,
    l2_decay !== undefined && `decay to grey ${l2_decay}`,
    fade > 1 && `over ${fade} frames`,
  ];
  return parts.filter(Boolean).join(", ");
}

/** Chooses a model, if it is there. @param {string} id */
export async function showModel(id) {
  if (model().id === id || !models.some((one) => one.id === id)) return;
  $("model").value = id;
  await chooseModel();
}

/** What is to be dreamed of, as far as it is known here: a look's layer is. */
export const objectives = () => kept ?? [{ ...objective() }];

/** Has the dream be of these, and of no look. @param {Record<string, any>[]} chosen */
export function useObjectives(chosen) {
  const [one] = chosen;
  take(one);
  const plain = isPlain(chosen);
  if (!plain) $("channels").value = "";
  kept = plain ? null : chosen;
  mark({ objectives: [{ kind: "l2", ...one }] });
  // A look may be this and more, such as steps of its own.
  if (!plain) check(undefined);
  tell();
  $("form").dispatchEvent(new Event("input"));
}

/** Sets the form to a job's spec, or to one from a recipe, which may hold anything. @param {Record<string, any>} spec */
export async function showSpec(spec) {
  await showModel(spec.model);
  for (const name of Object.keys(SLIDERS)) if (name in spec) $(name).value = spec[name] === "auto" ? "0" : String(spec[name]);
  for (const name of NUMBERS) if (name in spec) $(name).value = String(spec[name]);
  $(COLORS).value = String(Number(spec.preserve_colors ?? 0));
  $("format").value = spec.format === "png" ? "" : (spec.format ?? "");
  keptMotion = motionOf(spec);
  for (const name of MOTION) $(name).value = String(keptMotion[name] ?? "");
  const edge = String(spec.max_edge ?? MAX_EDGE);
  if ([...$("edge").options].some((option) => option.value === edge)) $("edge").value = edge;
  const objectives = objectivesOf(spec);
  take(objectives[0]);
  mark(spec);
  // A guide is a picture, which the form does not have.
  const needsGuide = objectives.some((one) => String(one.kind).startsWith("guide"));
  kept = needsGuide || chosenLook() || isPlain(objectives) ? null : objectives;
  tell();
}

/** The numbers and words of a motion, and nothing else. @param {Record<string, any>} spec @returns {Record<string, any>} */
function motionOf(spec) {
  const known = ["frames", "zoom", "rotate", "shift_x", "shift_y", "iterations", "fps"];
  const numbers = known.filter((name) => typeof spec.motion?.[name] === "number").map((name) => [name, spec.motion[name]]);
  const playback = ["once", "boomerang"].includes(spec.motion?.playback) ? [["playback", spec.motion.playback]] : [];
  return Object.fromEntries([...numbers, ...playback]);
}

/** The objectives of a spec, without what is none. @param {Record<string, any>} spec @returns {Record<string, any>[]} */
function objectivesOf(spec) {
  const all = Array.isArray(spec.objectives) ? spec.objectives : [];
  return all.filter((one) => typeof one?.layer === "string").map(({ kind, layer, channels, weight, class: number }) => ({
    ...(/^[a-z0-9-]+$/.test(kind) ? { kind } : {}),
    layer,
    ...(Array.isArray(channels) ? { channels: channels.filter(Number.isInteger) } : {}),
    ...(typeof weight === "number" ? { weight } : {}),
    ...(Number.isInteger(number) ? { class: number } : {}),
  }));
}

/** Whether the layer's controls say all of the objectives. @param {any[]} objectives */
function isPlain(objectives) {
  const [one] = objectives;
  return objectives.length < 2 && (!one || ((one.kind ?? usualKind(one)) === usualKind(one) && one.class === undefined && (one.weight ?? 1) === 1));
}

/** Remembers what the form says; the answer brings it back. */
export function snapshot() {
  const before = { model: $("model").value, look: chosenLook()?.id, kept, keptMotion };
  const controls = /** @type {HTMLInputElement[]} */ ([...$("form").elements]);
  const values = controls.filter((one) => one.id && one.type !== "file").map((one) => ({ id: one.id, value: one.value }));
  return async () => {
    if ($("model").value !== before.model) {
      $("model").value = before.model;
      await chooseModel();
    }
    for (const { id, value } of values) $(id).value = value;
    check(before.look);
    ({ kept, keptMotion } = before);
    tell();
  };
}

/** Takes a guide image, or none. @param {Blob | null} file @param {string} name */
function takeGuide(file, name) {
  guide = file;
  $("guided").textContent = file ? name : "none";
  $("unguide").hidden = !file;
  tell();
  $("form").dispatchEvent(new Event("input"));
}

/** Tells the sliders' values, and the whole as JSON. */
function tell() {
  for (const [name, { told }] of Object.entries(SLIDERS)) {
    const words = told(Number($(name).value));
    const output = document.querySelector(`output[for=${name}]`);
    if (output) output.textContent = words;
    $(name).setAttribute("aria-valuetext", words);
  }
  const colors = `${Math.round(Number($(COLORS).value) * 100)} %`;
  document.querySelector(`output[for=${COLORS}]`)?.replaceChildren(colors);
  $(COLORS).setAttribute("aria-valuetext", colors);
  $("spec").value = JSON.stringify(readForm().spec, null, 2);
  $("form").dispatchEvent(new Event("told"));
}

$("form").addEventListener("input", tell);
for (const id of ["layer", "channels"]) {
  $(id).addEventListener("input", () => {
    kept = null;
    mark({ objectives: [{ kind: "l2", ...objective() }] });
    tell();
  });
}
$("guide").onclick = () => $("guidefile").click();
$("guidefile").onchange = () => {
  const file = $("guidefile").files[0];
  if (file) takeGuide(file, file.name);
  $("guidefile").value = "";
};
$("unguide").onclick = () => takeGuide(null, "");
