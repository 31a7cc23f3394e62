// @ts-check
// What is wrong, told where it is: in words, and at the controls that are to blame.

/** The control that a pointer into a request leads to: of its last part that is one's name. @param {string[]} parts */
function controlOf(parts) {
  const named = [`rest-${parts[0]}`, ...parts].map((id) => document.getElementById(id));
  return named.reverse().find((one) => one?.matches("input, select, .rest button"));
}

/**
 * Fills a box with what is wrong, and marks the controls.
 * @param {HTMLElement} box
 * @param {any} error
 */
export function explain(box, error) {
  /** @type {HTMLElement[]} */
  const lines = [Object.assign(document.createElement("div"), { textContent: error.message })];
  const list = document.createElement("ul");
  for (const { pointer, detail } of error.errors ?? []) {
    const parts = /** @type {string} */ (pointer).split("/").slice(1);
    if (parts[0] === "spec") parts.shift();
    const control = controlOf(parts);
    control?.setAttribute("aria-invalid", "true");
    control?.closest("details")?.setAttribute("open", "");
    const name = (parts[0] ?? "").replaceAll("_", " ");
    list.append(Object.assign(document.createElement("li"), { textContent: name ? `${name}: ${detail}` : detail }));
  }
  // A single mistake is the whole of the message; it is told once, without its pointer.
  const [only] = error.errors ?? [];
  if (error.errors?.length === 1 && error.message.endsWith(only.detail)) lines[0].textContent = list.textContent;
  else if (list.childElementCount) lines.push(list);
  box.replaceChildren(...lines);
  if (error.retryAfter) countDown(box, error.retryAfter);
  box.hidden = false;
}

/** @param {HTMLElement} box @param {number} seconds */
function countDown(box, seconds) {
  const line = box.appendChild(document.createElement("div"));
  const end = Date.now() + seconds * 1000;
  const tick = () => {
    const rest = Math.ceil((end - Date.now()) / 1000);
    line.textContent = rest > 0 ? `The server takes more in ${rest} s.` : "The server may take more now.";
    if (rest > 0 && line.isConnected) setTimeout(tick, 500);
  };
  tick();
}
