// @ts-check
// The form: looks, sliders and all settings. A field that is at its default is not sent: the server knows it.

import { json } from "./api.js";
import { looksOf, pictureOf } from "./looks.js";

/** @typedef {import("./types.js").Model} Model */

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** Sliders and their defaults, and how their value is told. */
const SLIDERS = /** @type {Record<string, { start: number, told: (value: number) => string }>} */ ({
  iterations: { start: 10, told: (value) => `${value} steps` },
  octaves: { start: 4, told: (value) => `${value} octave${value === 1 ? "" : "s"}` },
  blend: { start: 0, told: (value) => `${Math.round(value * 100)} %` },
});
const NUMBERS = ["step", "octave_scale", "seed"];

/** @type {Model[]} */
let models = [];

const model = () => models.find((one) => one.id === $("model").value) ?? models[0];

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
  const { layers } = await json(chosen.links.layers);
  $("layer").replaceChildren(...layers.map((/** @type {any} */ layer) => new Option(layer.name, layer.name)));
  $("layer").value = chosen.default_layer;
  const looks = looksOf(chosen);
  $("looks").replaceChildren(...looks.map((look, index) => {
    const label = Object.assign(document.createElement("label"), { className: "look" });
    const input = Object.assign(document.createElement("input"), {
      type: "radio", name: "look", value: look.id, checked: index === 0,
    });
    input.onchange = () => {
      $("layer").value = look.layer;
      $("channels").value = "";
      tell();
    };
    label.append(input);
    const source = pictureOf(chosen, look);
    if (source) label.append(Object.assign(document.createElement("img"), { src: source, alt: "", width: 160, height: 107 }));
    label.append(Object.assign(document.createElement("span"), { textContent: look.name }));
    return label;
  }));
  if (looks[0]) $("layer").value = looks[0].layer;
  tell();
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
  const channels = $("channels").value.split(/[\s,]+/).filter(Boolean).map(Number);
  const layer = $("layer").value;
  if (chosen && (layer !== chosen.default_layer || channels.length)) {
    /** @type {Record<string, any>} */
    const objective = { layer };
    if (channels.length) objective.channels = channels;
    spec.objectives = [objective];
  }
  for (const [name, { start }] of Object.entries(SLIDERS)) {
    const value = Number($(name).value);
    if (value !== start) spec[name] = value;
  }
  for (const name of NUMBERS) if ($(name).value !== "") spec[name] = Number($(name).value);
  if ($("preserve_colors").checked) spec.preserve_colors = true;
  if ($("format").value) spec.format = $("format").value;
  return { spec, edge: Number($("edge").value) };
}

/** Sets the form to a job's spec. @param {Record<string, any>} spec */
export function showSpec(spec) {
  for (const name of Object.keys(SLIDERS)) if (name in spec) $(name).value = String(spec[name]);
  for (const name of NUMBERS) if (name in spec) $(name).value = String(spec[name]);
  $("preserve_colors").checked = spec.preserve_colors === true;
  $("format").value = spec.format === "png" ? "" : (spec.format ?? "");
  const objective = spec.objectives?.[0];
  if (objective) {
    $("layer").value = objective.layer;
    $("channels").value = (objective.channels ?? []).join(", ");
    markLook();
  }
  tell();
}

/** Marks the look of the layer that is chosen, if it has one. */
function markLook() {
  const look = looksOf(model()).find((one) => one.layer === $("layer").value);
  for (const input of document.querySelectorAll("input[name=look]")) {
    /** @type {HTMLInputElement} */ (input).checked = /** @type {HTMLInputElement} */ (input).value === look?.id;
  }
}

/** Tells the sliders' values, and the whole as JSON. */
function tell() {
  for (const [name, { told }] of Object.entries(SLIDERS)) {
    const words = told(Number($(name).value));
    const output = document.querySelector(`output[for=${name}]`);
    if (output) output.textContent = words;
    $(name).setAttribute("aria-valuetext", words);
  }
  $("spec").value = JSON.stringify(readForm().spec, null, 2);
}

$("form").addEventListener("input", tell);
$("layer").addEventListener("change", markLook);
