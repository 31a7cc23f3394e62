// @ts-check
// The form: looks, sliders and all settings. A field that is at its default is not sent: the server knows it. What a dream that was
// opened has beside (`spec.js`) is carried along and shown in words (`rest.js`): no member of its spec is lost for want of a control.

import { json } from "./api.js";
import { lookIn, looksOf } from "./looks.js";

/** @typedef {import("./types.js").Model & Record<string, any>} Model */

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** Sliders and their defaults, and how their value is told. Of counts, 0 leaves them to the server. */
export const SLIDERS = /** @type {Record<string, { start: number, told: (value: number) => string }>} */ ({
  iterations: { start: 0, told: (value) => (value ? `${value} steps` : "automatic") },
  octaves: { start: 0, told: (value) => (value ? `${value} octave${value === 1 ? "" : "s"}` : "automatic") },
  blend: { start: 0, told: (value) => `${Math.round(value * 100)} %` },
});
export const NUMBERS = ["step", "octave_scale", "seed"];

/** The longest edge where a spec says nothing, in pixels. */
export const MAX_EDGE = 1280;

/** Of an animation; without them it is a single picture. */
export const MOTION = ["frames", "zoom"];

/** The share of the original's colours has a default for each model. */
export const COLORS = "preserve_colors";

/** @type {Model[]} */
let models = [];

/** @type {{ name: string, channels: number }[]} Of the chosen model. */
let layers = [];

/** @type {import("./looks.js").Look[]} Of the chosen model. */
let looks = [];

/** @type {Record<string, any>[] | null} Objectives that the walls say and the layer's controls cannot; they stay until these are used. */
let kept = null;

/**
 * Members of a spec that the controls do not say. They win over a control until it is used. What a schedule changes is as in `begin`
 * before it does; the controls show what holds in the end. While it is not known what of it differs from what is usual, the members are
 * `unsure`: all go along, and none is told. What stands there tells those of one dream from those of another.
 * @typedef {{ members: Record<string, any>, begin: Record<string, any>, unsure?: object | null }} Carried
 */
/** @type {Carried} */
let carried = { members: {}, begin: {} };

/** What differs, of dreams that were unsure. */
const known = /** @type {WeakMap<object, (members: Record<string, any>) => Record<string, any>>} */ (new WeakMap());

/** What was just taken out, by which control, and how it is put back. @typedef {{ names: string[], by: string, undo: () => Promise<void> }} Gone */
/** @type {Gone | null} */
let takenOut = null;

/** The control that is used. */
let used = "";

/** How the form was before it changed. */
let last = () => Promise.resolve();

/** @type {Promise<typeof import("./rest.js")> | null} */
let rest = null;

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
  const settings = $("format").closest("details");
  settings.addEventListener("toggle", () => settings.open && offerFormats());
  if (settings.open) offerFormats();
  await chooseModel();
}

/** Offers the formats that the server can write, and says why not of the others. */
async function offerFormats() {
  // Until it is known, and where it cannot be asked, those are offered that every server writes.
  const { formats } = await json("/v1/formats").catch(() => ({ formats: [] }));
  for (const { name, available, reason } of formats) {
    const option = [...$("format").options].find(({ value }) => value === name);
    if (option) Object.assign(option, { disabled: !available, title: reason ?? "" });
  }
}

async function chooseModel() {
  const chosen = model();
  kept = null;
  touch(["objectives", "model"]);
  $("channels").value = "";
  [{ layers }, looks] = await Promise.all([json(chosen.links.layers), looksOf(chosen)]);
  $("layer").replaceChildren(...layers.map((layer) => new Option(layer.name, layer.name)));
  $(COLORS).value = String(chosen.preserve_colors);
  $("looks").replaceChildren(...looks.map((look, index) => {
    const label = Object.assign(document.createElement("label"), { className: "look" });
    const input = Object.assign(document.createElement("input"), {
      type: "radio", name: "look", value: look.id, checked: index === 0,
    });
    input.oninput = () => {
      kept = null;
      touch(["objectives", ...Object.keys(look.spec)], true);
      take(look.spec.objectives?.[0]);
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
export function take(objective) {
  if (!objective) return;
  $("layer").value = objective.layer;
  $("channels").value = (objective.channels ?? []).join(", ");
}

/** The chosen look, if there is one. */
export function chosenLook() {
  const input = document.querySelector("input[name=look]:checked");
  return looks.find((look) => look.id === /** @type {HTMLInputElement | null} */ (input)?.value);
}

/** Marks the look that a spec has. @param {Record<string, any>} spec */
export function mark(spec) {
  check(lookIn(looks, spec)?.id);
}

/** Checks one look, or none. @param {string | undefined} id */
export function check(id) {
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
 * @param {boolean} [isWhole] false: without the changes on its way of the dream that was opened
 * @returns {{ spec: Record<string, any>, edge: number }}
 */
export function readForm(isWhole = true) {
  const chosen = model();
  const { schedule, motion, ...members } = carried.members;
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
  if ($("frames").value || $("zoom").value || motion) {
    spec.motion = { ...motion };
    for (const name of MOTION) if ($(name).value) spec.motion[name] = Number($(name).value);
    // A PNG of many frames is large.
    spec.format ??= "webp";
  }
  const edge = Number($("edge").value);
  // An animation is smaller by default, and a start from noise has its own size.
  if ((edge !== MAX_EDGE || spec.motion) && !members.noise) spec.max_edge = edge;
  Object.assign(spec, members, isWhole && schedule ? { ...carried.begin, schedule } : {});
  return { spec, edge };
}

/**
 * What the controls say of what may change on the way, and of the file.
 * @returns {import("./types.js").Settings}
 */
export function settings() {
  const { spec } = readForm(false);
  const look = chosenLook()?.spec;
  return {
    objectives: spec.objectives ?? look?.objectives ?? [objective()],
    step: spec.step ?? look?.step,
    format: spec.format ?? "png",
    preserve_colors: Number(spec.preserve_colors ?? $(COLORS).value),
    blend: spec.blend ?? 0,
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
    if (typeof one !== "object" || one === null) return one;
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
  const word = ({ layer, channels = [], class: number, weight = 1, pick, count = 1, at, direction }) => [
    pick && `${pick} ${count} of`, layer, number !== undefined && `class ${number}`, channels.join(", "),
    direction && `along ${Object.keys(direction).join(", ")}`, at && `near ${at.x}, ${at.y}`, weight !== 1 && `× ${weight}`,
  ].filter(Boolean).join(" ");
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

/** What is to be dreamed of, as far as it is known here: a look's layer is. @returns {Record<string, any>[]} */
export const objectives = () => carried.members.objectives ?? kept ?? [{ ...objective() }];

/** Has the dream be of these, and of no look. @param {Record<string, any>[]} chosen */
export function useObjectives(chosen) {
  const [one] = chosen;
  touch(["objectives"]);
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

/** Carries these members along, and shows in words which. @param {Carried} what @param {Record<string, any>[] | null} [walls] objectives that the walls say */
export function carry(what, walls = null) {
  carried = what;
  kept = walls;
  takenOut = null;
  tell();
}

/** Of which dream it is not known what differs from what is usual; null where it is. */
export const unsure = () => carried.unsure ?? null;

/** Has such a dream show what differs, now that it is known: at once, or when an undo brings it back.
 * @param {object} dream @param {(members: Record<string, any>) => Record<string, any>} differing */
export function settle(dream, differing) {
  known.set(dream, differing);
  if (carried.unsure === dream) tell();
}

/** Takes members out that are carried: another choice has been made. @param {string[]} names @param {boolean} [isLook] whether the controls give way, too */
export function touch(names, isLook = false) {
  const { members, begin } = carried;
  const gone = [...new Set(names)].filter((name) => name in members);
  if ("schedule" in members && names.some((name) => name in begin)) gone.push("schedule");
  const left = Object.fromEntries(Object.entries(members).filter(([name]) => !gone.includes(name)));
  const given = isLook ? [...NUMBERS, ...Object.keys(SLIDERS)].filter((name) => names.includes(name) && $(name).value !== $(name).defaultValue) : [];
  for (const name of given) $(name).value = $(name).defaultValue;
  gone.push(...given);
  if (!gone.length) return;
  carried = { ...carried, members: left, begin: "schedule" in left ? begin : {} };
  takenOut = { names: gone, by: used, undo: last };
}

/** Takes one member out, as a person wants it. @param {string} name */
export function takeOut(name) {
  used = "rest";
  touch([name]);
  $("form").dispatchEvent(new Event("input"));
}

/** Whether objectives are about the forms of another picture. @param {Record<string, any>[] | undefined} objectives */
export const needsGuide = (objectives) => Boolean(objectives?.some((one) => String(one.kind).startsWith("guide")));

/** Whether the layer's controls say all of the objectives. @param {any[]} objectives */
export function isPlain(objectives) {
  const [one] = objectives;
  return objectives.length < 2 && (!one || ((one.kind ?? usualKind(one)) === usualKind(one) && one.class === undefined && (one.weight ?? 1) === 1));
}

/** Remembers what the form says; the answer brings it back. */
export function snapshot() {
  const before = { model: $("model").value, look: chosenLook()?.id, kept, carried };
  const controls = /** @type {HTMLInputElement[]} */ ([...$("form").elements]);
  const values = controls.filter((one) => one.id && one.type !== "file").map((one) => ({ id: one.id, value: one.value }));
  return async () => {
    if ($("model").value !== before.model) {
      $("model").value = before.model;
      await chooseModel();
    }
    for (const { id, value } of values) if ($(id)) $(id).value = value;
    check(before.look);
    ({ kept, carried } = before);
    takenOut = null;
    tell();
    $("form").dispatchEvent(new Event("input"));
  };
}

/** Takes a guide image, or none. @param {Blob | null} file @param {string} name */
function takeGuide(file, name) {
  guide = file;
  if (file && !needsGuide(carried.members.objectives)) touch(["objectives"]);
  $("guided").textContent = file ? name : "none";
  $("unguide").hidden = !file;
  tell();
  $("form").dispatchEvent(new Event("input"));
}

/** Tells the sliders' values, and the whole as JSON. */
function tell() {
  const differing = carried.unsure && known.get(carried.unsure);
  if (differing) carried = { ...carried, members: differing(carried.members), unsure: null };
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
  last = snapshot();
  // Of most dreams there is nothing to say.
  if (rest || takenOut || Object.keys(carried.members).length) {
    // What could not be loaded is asked for again with the next change.
    (rest ??= import("./rest.js")).then(({ tellRest }) => tellRest(unsure() ? {} : carried.members, takenOut, !unsure()), () => (rest = null));
  }
  $("form").dispatchEvent(new Event("told"));
}

/** The members that a control says. @param {string} id */
function saidBy(id) {
  if (id === "layer" || id === "channels") return ["objectives"];
  if (id === "edge") return ["max_edge"];
  // Without a number of frames it does not move.
  if (MOTION.includes(id)) return MOTION.some((name) => $(name).value) ? [] : ["motion"];
  return [id];
}

$("form").addEventListener("input", (/** @type {any} */ { target }) => {
  if (target !== $("form")) used = target.id || target.name;
}, true);
// How a dream is copied says nothing about it.
$("copy").addEventListener("input", (/** @type {Event} */ event) => event.stopPropagation());
$("form").addEventListener("input", (/** @type {any} */ { target }) => {
  if (target !== $("form")) {
    if (takenOut && takenOut.by !== used) takenOut = null;
    // A model is told once its layers are there: until then the form is as it was before.
    if (target.id === "model") return;
    touch(saidBy(target.id));
  }
  tell();
});
for (const id of ["layer", "channels"]) {
  $(id).addEventListener("input", () => {
    kept = null;
    mark({ objectives: [{ kind: "l2", ...objective() }] });
  });
}
$("guide").onclick = () => $("guidefile").click();
$("guidefile").onchange = () => {
  const file = $("guidefile").files[0];
  if (file) takeGuide(file, file.name);
  $("guidefile").value = "";
};
$("unguide").onclick = () => takeGuide(null, "");
