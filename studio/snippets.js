// @ts-check
// The same dream for other programs: curl, the command line, Python.

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Options of `reverie render` for members of a spec; what has none here goes into a file. */
const OPTIONS = /** @type {Record<string, string>} */ ({
  model: "--model", look: "--look", iterations: "--iterations", octaves: "--octaves", octave_scale: "--octave-scale", step: "--step",
  seed: "--seed", blend: "--blend", max_edge: "--max-edge", preserve_colors: "--preserve-colors",
});

/** What a formula says of an objective. */
const IN_FORMULA = ["kind", "layer", "channels", "weight", "class"];

/** Whether options say all of a spec; its format is that of the file's ending. @param {Record<string, any>} spec */
const hasOptions = ({ objectives = [], motion = {}, ...members }) =>
  Object.keys(members).every((name) => name in OPTIONS || name === "format")
  && objectives.every((/** @type {any} */ one) => Object.keys(one).every((name) => IN_FORMULA.includes(name)))
  && Object.keys(motion).every((name) => ["frames", "zoom"].includes(name));

/** An objective in a formula, with its sign. @param {Record<string, any>} objective */
function term({ kind, layer, channels, weight = 1, class: number }) {
  const name = /^[A-Za-z_.\/][\w.\/]*$/.test(layer) ? layer : `"${layer}"`;
  const of = channels?.length ? `${name}:${channels.join(",")}` : name;
  const value = number !== undefined ? `${kind ?? "class"}(${number}, ${name})` : kind && kind !== "l2" ? `${kind}(${of})` : of;
  const factor = Math.abs(weight) === 1 ? "" : `${Math.abs(weight)}*`;
  return `${weight < 0 ? "-" : "+"} ${factor}${value}`;
}

/** Pictures that the server wants beside the spec. @param {Record<string, any>} spec @param {string} image @param {boolean} isPainted @returns {[string, string][]} */
function files({ noise, mask, objectives = [] }, image, isPainted) {
  const hasGuide = objectives.some((/** @type {any} */ one) => String(one.kind).startsWith("guide"));
  /** @type {[string, string, boolean][]} */
  const all = [["image", image, !noise], ["mask", "mask.png", Boolean(mask) || isPainted], ["guide", "guide.png", hasGuide]];
  return all.filter(([, , isSent]) => isSent).map(([part, name]) => [part, name]);
}

/** A command line of `reverie render`. @param {Record<string, any>} spec @param {[string, string][]} pictures @param {string} ending */
function commandLine(spec, pictures, ending) {
  const named = pictures.map(([part, name]) => (part === "image" ? quoted(name) : `--${part} ${quoted(name)}`));
  const parts = ["reverie render", ...named, "-o", `dream.${ending}`];
  if (!hasOptions(spec)) return `printf %s ${quoted(JSON.stringify(spec))} > dream.json && ${parts.join(" ")} --spec dream.json`;
  for (const [member, option] of Object.entries(OPTIONS)) {
    // A share may be left out, so it is bound to its option.
    if (member in spec) parts.push(`${option}${member === "preserve_colors" ? "=" : " "}${quoted(String(spec[member]))}`);
  }
  if (spec.objectives) parts.push("--objective", quoted(spec.objectives.map(term).join(" ").replace(/^\+ /, "")));
  for (const [member, value] of Object.entries(spec.motion ?? {})) parts.push(`--${member}`, quoted(String(value)));
  return parts.join(" ");
}

/**
 * @param {"curl" | "cli" | "python" | "json"} kind
 * @param {Record<string, any>} spec
 * @param {string} name of the picture's file
 * @param {boolean} isPainted whether a part of it is
 * @param {string} origin of the server
 * @param {boolean} keyed whether the server wants a key
 */
export function snippet(kind, spec, name, isPainted, origin, keyed) {
  const json = JSON.stringify(spec);
  if (kind === "json") return JSON.stringify(spec, null, 2);
  const pictures = files(spec, name, isPainted);
  const ending = spec.format === "jpeg" ? "jpg" : (spec.format ?? "png");
  if (kind === "cli") return commandLine(spec, pictures, ending);
  if (kind === "curl") {
    const key = keyed ? ` -H "Authorization: Bearer $REVERIE_KEY"` : "";
    const parts = pictures.map(([part, file]) => ` -F ${part}=@${quoted(file)}`).join("");
    return `curl${key}${parts} -F spec=${quoted(json)} ${origin}/v1/jobs`;
  }
  const headers = keyed ? `, headers={"Authorization": "Bearer " + os.environ["REVERIE_KEY"]}` : "";
  const opened = pictures.map(([part, file]) => `"${part}": open(${JSON.stringify(file)}, "rb")`).join(", ");
  return [
    "import json, os, httpx",
    "",
    `spec = json.loads(${JSON.stringify(json)})`,
    `files = {${opened}}`,
    `with httpx.Client(base_url="${origin}"${headers}, timeout=60) as client:`,
    `    job = client.post("/v1/jobs", files=files, data={"spec": json.dumps(spec)}).raise_for_status().json()`,
    `    while job["status"] in ("queued", "running", "paused"):`,
    `        job = client.get(job["links"]["self"], headers={"Prefer": "wait=30"}).json()`,
    `    open("dream.${ending}", "wb").write(client.get(job["links"]["result"]).content)`,
  ].join("\n");
}
