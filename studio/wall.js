// @ts-check
// Where in the network: a wall of layers, and of the channels of one, chosen by looking at what they dream. Each choice has its
// link, `#/layers/MODEL/LAYER/CHANNELS`, with channels such as `7,12*-0.5`.

import { ask } from "./api.js";
import { chosenModel, objectives, showModel, useObjectives } from "./form.js";
import { pictureOf } from "./stage.js";

/** @typedef {{ id: string, sha256: string, featured_layers: string[], links: { layers: string } }} Model */

/** Channels that are added to the wall at a time. */
const PAGE = 24;

/** Tiles that are asked for at a time: a browser has six connections to a server, and a dream needs some of them. */
const AT_ONCE = 3;

/** Seconds that the server is to wait for a tile before it answers that there is none yet. */
const WAIT = 10;

/** @param {string} id */
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

// ---- tiles

/** Places in view whose tile is not there yet, in the order of their coming. */
const waiting = /** @type {Set<HTMLElement>} */ (new Set());
const inView = /** @type {WeakSet<Element>} */ (new WeakSet());
let busy = 0;

const watcher = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    const place = /** @type {HTMLElement} */ (target);
    if (isIntersecting) inView.add(place), waiting.add(place);
    else inView.delete(place), waiting.delete(place);
  }
  pump();
}, { rootMargin: "100px" });

/** After a failure that may pass, a place that is still in view is tried again.
 * @param {HTMLElement} place
 * @param {{ status?: number, retryAfter?: number }} error */
function again(place, { status, retryAfter }) {
  if (status === 404 || status === 500) return watcher.unobserve(place);
  setTimeout(() => {
    if (inView.has(place)) waiting.add(place);
    pump();
  }, (retryAfter || 2) * 1000);
}

/** The next place: of the channels that were opened, before the layers that are left. */
const next = () => [...waiting].find((place) => place.closest("#channel-tiles")) ?? [...waiting][0];

function pump() {
  while (busy < AT_ONCE && waiting.size) {
    const place = next();
    waiting.delete(place);
    busy++;
    load(place).catch((error) => again(place, error)).finally(() => {
      busy--;
      pump();
    });
  }
}

/** Shows the tile of a place, or has it ask again. @param {HTMLElement} place */
async function load(place) {
  const reply = await ask(place.dataset.path ?? "", { headers: { prefer: `wait=${WAIT}` } });
  if (reply.status !== 200) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(reply.headers.get("retry-after"))));
    if (inView.has(place)) waiting.add(place);
    return;
  }
  watcher.unobserve(place);
  place.replaceChildren(pictureOf(await reply.blob(), ""));
}

// ---- listboxes

/** @param {string} path @param {string} name @param {string} label */
function option(path, name, label) {
  const place = document.createElement("span");
  place.dataset.path = path;
  const one = Object.assign(document.createElement("div"), { role: "option", tabIndex: -1, ariaLabel: label, ariaSelected: "false" });
  one.dataset.name = name;
  one.append(place, Object.assign(document.createElement("span"), { textContent: name }));
  watcher.observe(place);
  return one;
}

/** Has one option in the order of the Tab key, as the arrows go. @param {HTMLElement} box @param {Element | undefined} to */
function rove(box, to) {
  for (const one of box.children) /** @type {HTMLElement} */ (one).tabIndex = one === to ? 0 : -1;
}

/** @param {HTMLElement} box @param {(name: string) => void} choose */
function listbox(box, choose) {
  box.onclick = ({ target }) => {
    const one = /** @type {HTMLElement | null} */ (target instanceof Element && target.closest("[role=option]"));
    if (!one) return;
    rove(box, one);
    choose(one.dataset.name ?? "");
  };
  box.onkeydown = (event) => {
    const all = /** @type {HTMLElement[]} */ ([...box.children]);
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    if (at < 0 || event.ctrlKey || event.metaKey) return;
    const columns = getComputedStyle(box).gridTemplateColumns.split(" ").length;
    const steps = /** @type {Record<string, number>} */ ({
      ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: all.length - 1,
    });
    if (event.key in steps) {
      const to = all[steps[event.key]];
      if (to) rove(box, to), to.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      choose(all[at].dataset.name ?? "");
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
}

// ---- the walls

/** @type {Model | null} */
let model = null;
/** Channels of each layer. */
let widths = /** @type {Map<string, number>} */ (new Map());
/** The layer whose channels are shown. */
let shown = "";
let layer = "";
/** Chosen channels and their weights. */
let picked = /** @type {Map<number, number>} */ (new Map());
/** Whether an address may change: not while it names a dream at work. */
let mayLink = () => true;

/** @param {string} name @param {string} rest */
const pathOf = (name, rest) => `${model?.links.layers}/${encodeURIComponent(name)}/${rest}tile?sha256=${model?.sha256}`;

/** Says what is chosen to the form, and to the address. */
function apply() {
  const channels = [...picked].filter(([, weight]) => weight !== 0).map(([channel, weight]) => ({
    kind: "mean", layer, channels: [channel], ...(weight === 1 ? {} : { weight }),
  }));
  useObjectives(channels.length ? channels : [{ layer }]);
  if (!mayLink()) return;
  const told = [...picked].map(([channel, weight]) => (weight === 1 ? `${channel}` : `${channel}*${weight}`)).join(",");
  history.replaceState(null, "", `#/layers/${[model?.id ?? "", layer, told].map(encodeURIComponent).join("/")}`);
}

/** Shows the channels of the layer. */
function open() {
  const width = widths.get(layer) ?? 0;
  if (shown === layer) return;
  shown = layer;
  $("channel-wall").hidden = !width;
  $("channels-title").textContent = `Channels of ${layer}`;
  $("channel-tiles").replaceChildren();
  more();
}

/** Adds a page of channels. */
function more() {
  const box = $("channel-tiles");
  const from = box.childElementCount;
  const to = Math.min(from + PAGE, widths.get(shown) ?? 0);
  for (let channel = from; channel < to; channel++) {
    box.append(option(pathOf(shown, `channels/${channel}/`), String(channel), `Channel ${channel}`));
  }
  $("more-channels").hidden = to >= (widths.get(shown) ?? 0);
  mark();
}

/** Marks what is chosen. */
function mark() {
  for (const [id, isChosen] of /** @type {[string, (name: string) => boolean][]} */ ([
    ["layer-tiles", (name) => name === layer],
    ["channel-tiles", (name) => shown === layer && picked.has(Number(name))],
  ])) {
    const all = /** @type {HTMLElement[]} */ ([...$(id).children]);
    for (const one of all) one.ariaSelected = String(isChosen(one.dataset.name ?? ""));
    if (!all.some((one) => one.tabIndex === 0)) rove($(id), all.find((one) => one.ariaSelected === "true") ?? all[0]);
  }
  weigh();
}

/** A slider for each chosen channel; the same ones stay, so that one can be drawn. */
function weigh() {
  const list = $("weights");
  const channels = shown === layer ? [...picked.keys()] : [];
  if (list.dataset.of === `${layer} ${channels}`) return;
  list.dataset.of = `${layer} ${channels}`;
  list.replaceChildren(...channels.map((channel) => {
    const row = document.createElement("li");
    const label = Object.assign(document.createElement("label"), { htmlFor: `weight-${channel}`, textContent: `Channel ${channel}` });
    const output = Object.assign(document.createElement("output"), { value: String(picked.get(channel)) });
    const slider = Object.assign(document.createElement("input"), {
      type: "range", id: `weight-${channel}`, min: "-1", max: "1", step: "0.1", value: String(picked.get(channel)),
    });
    slider.oninput = (event) => {
      event.stopPropagation();
      picked.set(channel, Number(slider.value));
      output.value = slider.value;
      apply();
    };
    row.append(label, output, slider);
    return row;
  }));
}

/** Follows what the form says: a look, a job's spec, or the choice of a layer by its name. */
function follow() {
  const all = objectives();
  layer = all[0]?.layer ?? "";
  const isOurs = all.every((one) => one.layer === layer && one.channels && ["mean", "l2", undefined].includes(one.kind));
  const weights = isOurs ? all.flatMap((one) => one.channels.map((/** @type {number} */ channel) => [channel, one.weight ?? 1])) : [];
  // One that is drawn to 0 says nothing, and stays chosen.
  for (const [channel, weight] of picked) if (weight === 0 && weights.length) weights.push([channel, 0]);
  picked = new Map(weights);
  if (!$("channel-wall").hidden && shown !== layer) $("channel-wall").hidden = true, (shown = "");
  if (picked.size) open();
  mark();
}

/** The wall of the chosen model. */
function build() {
  const chosen = chosenModel();
  model = /** @type {any} */ (chosen.model);
  widths = new Map(chosen.layers.map(({ name, channels }) => [name, channels]));
  [shown, picked] = ["", new Map()];
  $("channel-wall").hidden = true;
  $("layer-tiles").replaceChildren(...(model?.featured_layers ?? []).map((name) => option(pathOf(name, ""), name, name)));
}

/** Takes up a link to a choice. @param {string} hash */
export async function openLink(hash) {
  const [, , id, name = "", channels = ""] = hash.split("/").map((part) => decodeURIComponent(part));
  await showModel(id);
  if (model?.id === id && widths.has(name)) {
    layer = name;
    picked = new Map(channels.split(",").filter(Boolean).map((one) => {
      const [channel, weight = "1"] = one.split("*");
      return /** @type {[number, number]} */ ([Number(channel), Math.max(-1, Math.min(1, Number(weight) || 0))]);
    }).filter(([channel]) => Number.isInteger(channel) && channel >= 0 && channel < (widths.get(name) ?? 0)));
    apply();
    open();
    $("where").scrollIntoView({ block: "nearest" });
  }
}

/** @param {() => boolean} linkable whether the address may change */
export function startWall(linkable) {
  mayLink = linkable;
  listbox($("layer-tiles"), (name) => {
    layer = name;
    picked = new Map();
    apply();
    open();
  });
  listbox($("channel-tiles"), (name) => {
    const channel = Number(name);
    if (!picked.delete(channel)) picked.set(channel, 1);
    apply();
  });
  $("more-channels").onclick = more;
  new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting) && !$("more-channels").hidden) more();
  }).observe($("more-channels"));
  $("form").addEventListener("model", build);
  $("form").addEventListener("told", follow);
  // The model may be chosen already.
  if (chosenModel().layers.length) build(), follow();
}

