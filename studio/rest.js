// @ts-check
// What a dream that was opened has beside what the controls say, in words: each can be taken out, and what another choice has taken out
// is told and can be put back.

import { inWords, needsGuide, takeOut } from "./form.js";

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** @typedef {import("./form.js").Gone} Gone */

/** Members whose words are not their name and value. @type {Record<string, (value: any) => string>} */
const WORDS = {
  objectives: (value) => (needsGuide(value) ? `forms of another picture: choose it again (${inWords({ objectives: value })})` : inWords({ objectives: value })),
  schedule: (value) => value.map((/** @type {any} */ change) =>
    `from ${change.frame ? "frame" : "octave"} ${change.octave ?? change.frame} on: ${inWords(change)}`).join("; "),
  noise: ({ width, height }) => `begins with noise, ${width}×${height} pixels`,
  mask: ({ feather }) => `a painted part: paint it again (soft edge ${feather})`,
};

/** @param {string} name */
const plain = (name) => name.replaceAll("_", " ");

/** A value in words. @param {any} value @returns {string} */
export function told(value) {
  if (value === true) return "on";
  if (value === false) return "off";
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return value.map(told).join(", ");
  return Object.entries(value).map(([name, one]) => `${plain(name)} ${told(one)}`).join(", ");
}

/** @param {string} name @param {any} value */
function words(name, value) {
  try {
    const own = WORDS[name]?.(value);
    if (own) return own;
  } catch {
    // Of a recipe that is none, the value is told as it is.
  }
  return `${plain(name)} ${told(value)}`;
}

/**
 * @param {Record<string, any>} members that are carried along
 * @param {Gone | null} gone
 * @param {boolean} isKnown whether it is known what of it differed from what is usual
 */
export function tellRest(members, gone, isKnown) {
  const list = $("rest");
  const names = Object.keys(members);
  $("rest-box").hidden = !names.length;
  const said = names.map((name) => words(name, members[name]));
  if (list.dataset.said !== said.join("\n")) {
    list.dataset.said = said.join("\n");
    list.replaceChildren(...names.map((name, index) => {
      const row = document.createElement("li");
      const button = Object.assign(document.createElement("button"), { type: "button", id: `rest-${name}`, textContent: "×", ariaLabel: `Take out: ${said[index]}` });
      button.onclick = () => takeOut(name);
      row.append(Object.assign(document.createElement("span"), { textContent: said[index] }), button);
      return row;
    }));
  }
  const box = $("gone");
  const what = isKnown ? `: ${gone?.names.map(plain).join(", ")}` : " what it decides";
  const line = gone ? `Taken out${what}.` : "";
  if (box.dataset.said !== line) {
    box.dataset.said = line;
    $("gone-words").textContent = line;
    // Who has taken it out by keyboard is not lost with its button.
    const isLost = document.activeElement === document.body || !document.activeElement;
    box.hidden = !gone;
    if (gone && isLost) $("gone-undo").focus({ preventScroll: true });
  }
  $("gone-undo").onclick = gone && ((/** @type {MouseEvent} */ { detail }) => putBack(gone, !detail));
}

/** Puts back what was taken out, and has the focus there, or at what took it out: the button that did it goes away.
 * @param {Gone} gone @param {boolean} byKeyboard with a mouse nothing jumps */
async function putBack({ names, by, undo }, byKeyboard) {
  await undo();
  for (const one of [...names.flatMap((name) => [$(`rest-${name}`), $(name)]), $(by), document.getElementsByName(by)[0]]) {
    one?.focus({ preventScroll: !byKeyboard });
    // What is folded away takes none.
    if (one && document.activeElement === one) return;
  }
}
