// @ts-check
// Ways to say something beside the buttons: pictures that are dropped or pasted, and keys.

import { split, splitAsSaid } from "./stage.js";

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** @param {KeyboardEvent} event */
const typing = (event) =>
  event.target instanceof Element && event.target.closest("input:not([type=range]):not([type=radio]), textarea, select, dialog");

/**
 * @param {object} page
 * @param {(file: Blob | undefined, name: string) => void} page.take
 * @param {() => void} page.dream
 * @param {() => void} page.cancel
 */
export function startInputs({ take, dream, cancel }) {
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("frame").classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) $("frame").classList.remove("over");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("frame").classList.remove("over");
    const files = [...(event.dataTransfer?.files ?? [])];
    const file = files.find((one) => one.type.startsWith("image/")) ?? files[0];
    take(file, file?.name ?? "");
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    take(file, file?.name ?? "");
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return void dream();
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
    const onButton = event.target instanceof Element && event.target.closest("button, a, input, summary");
    if (event.key === "Escape") cancel();
    else if (event.key === "p" && !$("pause").hidden) $("pause").click();
    else if (event.key === "o") $("file").click();
    else if (event.key === "d" && !$("actions").hidden) $("download").click();
    else if (event.key === "?") $("keys").showModal();
    else if (event.key === " " && !onButton && !$("after").hidden && !$("before").hidden) {
      event.preventDefault();
      split(100);
    }
  });
  addEventListener("keyup", (event) => {
    if (event.key === " ") splitAsSaid();
  });
}
