// @ts-check
// The same dream for other programs: curl, the command line, Python.

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Options of `reverie render` for the fields of a spec. */
const OPTIONS = /** @type {Record<string, string>} */ ({
  model: "--model", look: "--look", iterations: "--iterations", octaves: "--octaves", octave_scale: "--octave-scale", step: "--step",
  seed: "--seed", blend: "--blend", max_edge: "--max-edge",
});

/** An objective in a formula, with its sign. @param {Record<string, any>} objective */
function term({ kind, layer, channels, weight = 1, class: number }) {
  const name = /^[A-Za-z_.\/][\w.\/]*$/.test(layer) ? layer : `"${layer}"`;
  const of = channels?.length ? `${name}:${channels.join(",")}` : name;
  const value = number !== undefined ? `${kind ?? "class"}(${number}, ${name})` : kind && kind !== "l2" ? `${kind}(${of})` : of;
  const factor = Math.abs(weight) === 1 ? "" : `${Math.abs(weight)}*`;
  return `${weight < 0 ? "-" : "+"} ${factor}${value}`;
}

/**
 * @param {"curl" | "cli" | "python" | "json"} kind
 * @param {Record<string, any>} spec
 * @param {string} name of the picture's file
 * @param {string} origin of the server
 * @param {boolean} keyed whether the server wants a key
 */
export function snippet(kind, spec, name, origin, keyed) {
  const json = JSON.stringify(spec);
  if (kind === "json") return JSON.stringify(spec, null, 2);
  if (kind === "curl") {
    const key = keyed ? ` -H "Authorization: Bearer $REVERIE_KEY"` : "";
    return `curl${key} -F image=@${quoted(name)} -F spec=${quoted(json)} ${origin}/v1/jobs`;
  }
  const ending = spec.format === "jpeg" ? "jpg" : (spec.format ?? "png");
  if (kind === "cli") {
    const parts = ["reverie", "render", quoted(name), "-o", `dream.${ending}`];
    for (const [field, option] of Object.entries(OPTIONS)) {
      if (field in spec) parts.push(option, quoted(String(spec[field])));
    }
    if (spec.objectives) parts.push("--objective", quoted(spec.objectives.map(term).join(" ").replace(/^\+ /, "")));
    for (const [field, value] of Object.entries(spec.motion ?? {})) {
      parts.push(`--${field === "iterations" ? "frame-iterations" : field.replaceAll("_", "-")}`, quoted(String(value)));
    }
    if ("preserve_colors" in spec) parts.push(`--preserve-colors=${spec.preserve_colors}`);
    return parts.join(" ");
  }
  const headers = keyed ? `, headers={"Authorization": "Bearer " + os.environ["REVERIE_KEY"]}` : "";
  return [
    "import json, os, httpx",
    "",
    `spec = json.loads(${JSON.stringify(json)})`,
    `with httpx.Client(base_url="${origin}"${headers}, timeout=60) as client, open(${JSON.stringify(name)}, "rb") as image:`,
    `    job = client.post("/v1/jobs", files={"image": image}, data={"spec": json.dumps(spec)}).raise_for_status().json()`,
    `    while job["status"] in ("queued", "running", "paused"):`,
    `        job = client.get(job["links"]["self"], headers={"Prefer": "wait=30"}).json()`,
    `    open("dream.${ending}", "wb").write(client.get(job["links"]["result"]).content)`,
  ].join("\n");
}
