// @ts-check
// Sets the form to the spec of a dream, or to one from a recipe, which may hold anything. What differs from what the server would fill in
// and is not said by a control is carried along: the server knows its members and their defaults, and this page no list of them.

import { send } from "./api.js";
import { blank } from "./cost.js";
import {
  COLORS, MAX_EDGE, MOTION, NUMBERS, SLIDERS, carry, check, chosenLook, chosenModel, isPlain, isSame, mark, needsGuide, readForm, settle, showModel,
  take, unsure,
} from "./form.js";

/** Edge of the blank picture that the server is asked with, in pixels: no default depends on it. */
const EDGE = 224;

/** No member of a spec has another name. */
const NAME = /^[a-z][a-z0-9_]*$/;

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** What the server fills in, by what that depends on. */
const known = /** @type {Map<string, Promise<Record<string, any>>>} */ (new Map());

/** Milliseconds for which the page waits for that: a dream at work is shown with or without it. */
const PATIENCE = 1000;

/** How a refusal is answered that asking again does not change. */
const REFUSED = [400, 404, 422];

/** Which spec is the last that was to be shown. */
let turns = 0;

/** What the server fills in where a spec says no more than this. @param {Record<string, any>} spec @returns {Promise<Record<string, any>>} */
function filledIn({ model, preset, noise, motion }) {
  const spec = { model, preset, noise, motion: motion && {} };
  const key = JSON.stringify(spec);
  const asked = known.get(key) ?? ask(spec);
  known.set(key, asked);
  asked.catch(() => known.delete(key));
  return asked;
}

/** @param {Record<string, any>} spec @returns {Promise<Record<string, any>>} */
async function ask(spec) {
  const image = spec.noise ? null : await blank(EDGE, EDGE);
  return (await send("/v1/dry-run", { spec, image })).spec;
}

/** What is usual of a spec's members. A preset stands for others, and the objectives are for the controls to say: they never are. @param {Record<string, any>} end */
async function usual(end) {
  const model = chosenModel().model.id;
  // A preset that the server does not know says nothing of the others.
  const refused = (/** @type {any} */ error) => {
    if (!REFUSED.includes(error.status)) throw error;
  };
  const [bare, filled] = await Promise.all([filledIn({ model }), filledIn({ ...end, model }).catch(refused)]);
  const { motion, ...others } = filled ?? bare;
  return { members: { ...others, preset: bare.preset, noise: undefined, objectives: undefined }, motion: motion ?? {} };
}

/** @typedef {{ members: Record<string, any>, motion: Record<string, any> }} Usual */

/** Those of some members that are not as usual. @param {Record<string, any>} members @param {Usual} all @returns {Record<string, any>} */
function unusual({ motion, ...members }, all) {
  const left = others(members, all.members);
  const moves = others(motion ?? {}, all.motion);
  return Object.keys(moves).length ? { ...left, motion: moves } : left;
}

/** Those of some members that others do not say. @param {Record<string, any>} members @param {Record<string, any>} said @returns {Record<string, any>} */
const others = (members, said) => Object.fromEntries(Object.entries(members).filter(([name, value]) => !isSame(value, said[name])));

/** Has a control say a value, or nothing where it cannot. @param {string} id @param {any} value */
function set(id, value) {
  const control = $(id);
  control.value = control.defaultValue;
  if (control.dataset.max) control.max = control.dataset.max;
  if (typeof value !== "number") return;
  if (control.type === "range" && Number.isInteger(value)) {
    // A dream of more steps than the slider has shows them all the same.
    control.dataset.max ??= control.max;
    control.max = String(Math.max(Number(control.dataset.max), value));
  }
  control.value = String(value);
  if (!control.checkValidity()) control.value = control.defaultValue;
}

/** Has a list say a value, or its first one where it has none like it. @param {string} id @param {any} value */
function choose(id, value) {
  const { options } = $(id);
  const at = [...options].findIndex((option) => option.value === String(value));
  $(id).selectedIndex = Math.max(0, at);
}

/** The longest edge, which may be any. @param {unknown} edge in pixels */
function setEdge(edge) {
  const isKnown = [...$("edge").options].some((option) => option.value === String(edge));
  if (!isKnown && Number.isInteger(edge) && Number(edge) > 0) $("edge").add(new Option(`${edge} pixels`, String(edge)));
  choose("edge", edge);
}

/**
 * Shows a spec in the form; what holds in the end is what the controls say. Says whether it did: not where another was asked for meanwhile.
 * @param {Record<string, any>} spec
 * @param {Record<string, any> | null} [steering] a change that waits
 * @param {() => boolean} [isWanted] asked again before anything is shown
 */
export async function showSpec(spec, steering = null, isWanted = () => true) {
  const turn = ++turns;
  const schedule = Array.isArray(spec.schedule) ? spec.schedule : [];
  const { octave, frame, fade, schedule: _, ...end } = Object.assign({}, spec, ...schedule, steering);
  await showModel(end.model);
  const asked = usual(end);
  const filled = await Promise.race([asked.catch(() => null), new Promise((resolve) => setTimeout(resolve, PATIENCE, null))]);
  if (turn !== turns || !isWanted()) return false;
  const entries = Object.entries(end).filter(([name, value]) => NAME.test(name) && value !== null && value !== undefined);
  const now = Object.fromEntries(entries);
  // Where nothing is known yet, all of it goes along.
  const wanted = filled ? unusual(now, filled) : now;

  carry({ members: {}, begin: {} });
  for (const name of [...Object.keys(SLIDERS), ...NUMBERS]) set(name, wanted[name]);
  // All or none of the colours may be said by a word.
  const colors = Number(now[COLORS] ?? NaN);
  $(COLORS).value = String(Number.isNaN(colors) ? chosenModel().model.preserve_colors : colors);
  choose("format", wanted.format);
  for (const name of MOTION) set(name, now.motion?.[name]);
  setEdge(now.noise ? MAX_EDGE : (now.max_edge ?? 0));
  const objectives = objectivesOf(now);
  take(objectives[0]);
  mark(now);

  const said = readForm().spec;
  const { motion, ...rest } = wanted;
  const members = others(rest, { model: chosenModel().model.id, ...chosenLook()?.spec, ...said });
  const moves = others(Object.fromEntries(Object.entries(motion ?? {}).filter(([name]) => NAME.test(name))), said.motion ?? {});
  if (Object.keys(moves).length) members.motion = moves;
  delete members.look;
  // The walls show channels of one layer with their weights.
  const walls = members.objectives && isOfWalls(objectives) ? objectives : null;
  if (walls) delete members.objectives;
  else if (members.objectives) members.objectives = objectives;
  if (members.objectives || walls) check(undefined);
  if (schedule.length) members.schedule = schedule;
  const changed = new Set(schedule.flatMap((change) => Object.keys(change)));
  const begin = Object.fromEntries(Object.entries(spec).filter(([name]) => changed.has(name)));
  carry({ members, begin, unsure: filled ? null : now }, walls);
  if (!filled) settleLater(now, asked);
  return true;
}

/** Has what is usual go once it is known; where it cannot be asked, it is asked again with the next change.
 * @param {Record<string, any>} dream @param {Promise<Usual>} asked */
async function settleLater(dream, asked) {
  try {
    const all = await asked;
    settle(dream, (members) => {
      for (const name of [...Object.keys(SLIDERS), ...NUMBERS]) {
        if (Number($(name).value) === dream[name] && dream[name] === all.members[name]) set(name, undefined);
      }
      return unusual(members, all);
    });
  } catch {
    // Another dream may be shown by then, and this one again after an undo.
    const again = () => {
      if (unsure() !== dream) return;
      $("form").removeEventListener("input", again);
      settleLater(dream, usual(dream));
    };
    $("form").addEventListener("input", again);
  }
}

/** Whether objectives are what is chosen on a wall of channels. @param {Record<string, any>[]} all */
const isOfWalls = (all) => !isPlain(all) && !needsGuide(all) && all.every((one) =>
  one.layer === all[0].layer && one.channels?.length && ["mean", "l2", undefined].includes(one.kind)
  && Object.keys(one).every((name) => ["kind", "layer", "channels", "weight"].includes(name)));

/** The objectives of a spec, without what is none. @param {Record<string, any>} spec @returns {Record<string, any>[]} */
function objectivesOf(spec) {
  const all = Array.isArray(spec.objectives) ? spec.objectives : [];
  return all.filter((one) => typeof one?.layer === "string").map(({ kind, channels, weight, ...others }) => ({
    ...Object.fromEntries(Object.entries(others).filter(([name]) => NAME.test(name))),
    ...(/^[a-z0-9-]+$/.test(kind) ? { kind } : {}),
    ...(Array.isArray(channels) ? { channels: channels.filter(Number.isInteger) } : {}),
    ...(typeof weight === "number" ? { weight } : {}),
  }));
}
