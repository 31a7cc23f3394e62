// The page of an atlas: tiles are cut from their sheets, keys lead from one to the next.
"use strict";
const index = JSON.parse(document.getElementById("index").textContent);
const byId = (id) => document.getElementById(id);
const many = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// What a tile shows, in words.
const named = (layer, tile) => (tile.channel === null ? layer.name : `${layer.name} channel ${tile.channel}`);
const facts = (layer) => {
  const sees = layer.receptive_field ? `, one position sees ${layer.receptive_field} pixels` : "";
  return `${layer.kind}, ${many(layer.channels, "channel")}${sees}`;
};
const quoted = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const command = (layer, tile) => {
  const channel = tile.channel === null ? "" : ` --channel ${tile.channel}`;
  return `reverie render photo.jpg -o dream.png --model ${quoted(index.model.id)} --layer ${quoted(layer.name)}${channel}`;
};

// All tiles in the order of the page: the layers as a whole, then each layer's channels.
const shown = [];
const button = (layer, tile) => {
  const image = make("img", {
    src: tile.sheet.split("/").map(encodeURIComponent).join("/"), alt: "", loading: "lazy", decoding: "async",
  });
  image.style.objectPosition = `-${tile.x}px -${tile.y}px`;
  const label = tile.channel === null ? layer.name : String(tile.channel);
  const element = make("button", { className: "tile", type: "button", title: named(layer, tile) }, image, make("span", {}, label));
  element.setAttribute("aria-label", named(layer, tile));
  const place = shown.push({ layer, tile, element }) - 1;
  element.addEventListener("click", () => enlarge(place));
  return element;
};
const section = (id, title, about, tiles) =>
  make("section", { id }, make("h2", {}, title), make("p", { className: "soft" }, about), make("div", { className: "grid" }, ...tiles));

const total = index.layers.reduce((sum, layer) => sum + layer.tiles.length, 0);
document.title = byId("title").textContent = `Atlas of ${index.model.id}`;
byId("about").textContent = index.model.description;
byId("counts").textContent =
  `${many(total, "tile")} of ${many(index.layers.length, "layer")}. Each shows what a layer, or one of its channels, dreams from noise.`;
byId("digest").textContent = `Model sha256 ${index.model.sha256.slice(0, 12)}…${index.model.licence ? `, ${index.model.licence}` : ""}.`;
const whole = index.layers.flatMap((layer) =>
  layer.tiles.filter((tile) => tile.channel === null).map((tile) => button(layer, tile)));
if (whole.length) byId("main").append(section("all", "Layers", "Each layer as a whole, from the image to the end.", whole));
index.layers.forEach((layer, place) => {
  const channels = layer.tiles.filter((tile) => tile.channel !== null).map((tile) => button(layer, tile));
  if (!channels.length) return;
  const share = channels.length < layer.channels ? `${channels.length} of its channels` : "All channels";
  const element = section(`layer-${place}`, layer.name, `${facts(layer)}. ${share}:`, channels);
  element.dataset.layer = layer.name;
  byId("main").append(element);
  const link = make("a", { href: `#layer-${place}` }, layer.name);
  link.dataset.layer = layer.name;
  byId("layers").append(link);
});

// Larger, with what makes a dream of it.
let current = 0;
function enlarge(place) {
  current = (place + shown.length) % shown.length;
  const { layer, tile, element } = shown[current];
  byId("name").textContent = named(layer, tile);
  byId("facts").textContent = facts(layer);
  byId("command").textContent = command(layer, tile);
  byId("copy").textContent = "Copy";
  const canvas = byId("canvas"), context = canvas.getContext("2d"), sheet = element.querySelector("img");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const draw = () => {
    if (shown[current].element !== element) return;
    context.imageSmoothingQuality = "high";
    context.drawImage(sheet, tile.x, tile.y, index.tile, index.tile, 0, 0, canvas.width, canvas.height);
    canvas.dataset.shows = named(layer, tile);
  };
  sheet.loading = "eager";
  sheet.decode().then(draw, () => { byId("facts").textContent = `${tile.sheet} cannot be shown: it is missing or damaged`; });
  if (!byId("large").open) byId("large").showModal();
}
const step = (by) => {
  for (let place = current + by, left = shown.length; left > 0; place += by, left -= 1) {
    const next = (place + shown.length) % shown.length;
    if (!shown[next].element.closest("[hidden]")) return enlarge(next);
  }
};
byId("before").addEventListener("click", () => step(-1));
byId("after").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => byId("large").close());
byId("large").addEventListener("click", (event) => { if (event.target === byId("large")) byId("large").close(); });
byId("large").addEventListener("close", () => shown[current].element.focus());
byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("command").textContent);
    byId("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("command"));
    byId("copy").textContent = "Selected";
  }
});

// Keys, and the filter.
const visible = () => shown.map((one) => one.element).filter((element) => !element.closest("[hidden]"));
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: 0, ArrowDown: 0 }[event.key];
  if (byId("large").open) {
    if (move) { event.preventDefault(); step(move); }
    return;
  }
  if (event.key === "/" && document.activeElement !== byId("filter")) {
    event.preventDefault();
    byId("filter").focus();
    return;
  }
  if (move === undefined || document.activeElement === byId("filter")) return;
  const all = visible(), at = all.indexOf(document.activeElement);
  let next = at < 0 ? 0 : at + move;
  if (at >= 0 && move === 0) {
    // The nearest of the next row.
    const down = event.key === "ArrowDown", from = all[at].getBoundingClientRect();
    const further = all.map((element, place) => ({ place, box: element.getBoundingClientRect() }))
      .filter(({ box }) => (down ? box.top > from.top + 1 : box.top < from.top - 1));
    if (!further.length) return;
    const row = further[down ? 0 : further.length - 1].box.top;
    const distance = ({ box }) => Math.abs(box.left - from.left);
    next = further.filter(({ box }) => Math.abs(box.top - row) < 2).sort((a, b) => distance(a) - distance(b))[0].place;
  }
  if (!all[next]) return;
  event.preventDefault();
  all[next].focus();
});
byId("filter").addEventListener("input", () => {
  const wanted = byId("filter").value.trim().toLowerCase();
  for (const element of document.querySelectorAll("[data-layer]")) {
    element.hidden = !element.dataset.layer.toLowerCase().includes(wanted);
  }
  for (const { layer, tile, element } of shown) {
    if (tile.channel === null) element.hidden = !layer.name.toLowerCase().includes(wanted);
  }
});
