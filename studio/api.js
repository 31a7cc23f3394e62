// @ts-check
// Requests to the public API: nothing here that another client could not do.

/** @typedef {import("./types.js").Job} Job */

// The operators' page has a key of its own, which may open no jobs.
const KEY = location.pathname.endsWith("/operations.html") ? "reverie-operator" : "reverie-key";

/** Milliseconds between two looks at a job when events do not come through. */
const POLL = 1000;

/** What the server said, or why it could not be asked. */
export class Problem extends Error {
  /**
   * @param {number} status 0 where there was no answer
   * @param {string} detail
   * @param {{ pointer: string, detail: string }[]} errors
   * @param {number} retryAfter seconds
   * @param {any} body
   */
  constructor(status, detail, errors = [], retryAfter = 0, body = {}) {
    super(detail);
    this.status = status;
    this.errors = errors;
    this.retryAfter = retryAfter;
    this.body = body;
  }
}

// A browser may have its storage switched off; then the key lasts as long as the page.
let kept = "";
try {
  kept = sessionStorage.getItem(KEY) ?? "";
} catch {}

export const hasKey = () => kept !== "";

/** @param {string} key */
export function useKey(key) {
  kept = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {}
}

/** @returns {Record<string, string>} */
const authorization = () => (kept ? { authorization: `Bearer ${kept}` } : {});

/**
 * @param {number} status
 * @param {string} text
 * @param {string | null} retryAfter
 */
function problem(status, text, retryAfter) {
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {}
  const { detail, title, errors } = /** @type {any} */ (body);
  const words = detail ?? title ?? (status ? `the server answered ${status}` : "the server cannot be reached");
  return new Problem(status, words, Array.isArray(errors) ? errors : [], Number(retryAfter) || 0, body);
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 */
export async function ask(path, init = {}) {
  let reply;
  try {
    reply = await fetch(path, { ...init, headers: { ...authorization(), ...init.headers } });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw problem(0, "", null);
  }
  if (!reply.ok) throw problem(reply.status, await reply.text(), reply.headers.get("retry-after"));
  return reply;
}

/** @param {string} path @param {RequestInit} [init] */
export const json = async (path, init = {}) => (await ask(path, init)).json();

/** @param {string} path */
export const blob = async (path) => (await ask(path)).blob();

/** @typedef {{ spec: object, image?: Blob | null, mask?: Blob | null, guide?: Blob | null, priority?: string, deadline_seconds?: string }} Submission */

/** @param {Submission} submission */
function form({ spec, ...parts }) {
  const form = new FormData();
  form.append("spec", new Blob([JSON.stringify(spec)], { type: "application/json" }));
  for (const [name, part] of Object.entries(parts)) {
    if (part instanceof Blob) form.append(name, part, name);
    else if (part) form.append(name, part);
  }
  return form;
}

/** Posts a submission, and has the answer. @param {string} path @param {Submission} submission @param {AbortSignal} [signal] */
export const send = (path, submission, signal) => json(path, { method: "POST", body: form(submission), signal });

/**
 * Hands a job in; `sent` hears the share of it that is on its way.
 * @param {Submission} submission
 * @param {(share: number) => void} sent
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
export function submit(submission, sent, signal) {
  // `fetch` does not tell how much of a body has been sent.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/jobs");
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && sent(event.loaded / event.total);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(problem(request.status, request.responseText, request.getResponseHeader("retry-after")));
    };
    request.onerror = () => reject(problem(0, "", null));
    request.onabort = () => reject(new DOMException("aborted", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form(submission));
  });
}

/** @param {Job} job */
export const isOver = (job) => !["queued", "running", "paused"].includes(job.status);

/** What a job dreams by in the end: its spec with the changes that hold, and the one that waits. @param {Job} job @returns {Record<string, any>} */
export const inForce = ({ spec, steering }) => Object.assign({}, spec, ...(spec.schedule ?? []), steering);

/** @param {number} milliseconds */
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * Follows a job until it is over: by events, and by asking when these break off twice. No time limit gives up: a server that
 * restarts is asked again.
 * @param {string} id
 * @param {(job: Job) => void} seen
 * @param {AbortSignal} signal
 */
export async function follow(id, seen, signal) {
  let broken = 0;
  let last = "";
  /** @type {Job | null} */
  let job = null;
  while (!signal.aborted) {
    try {
      if (broken < 2) {
        for await (const event of events(id, last, signal)) {
          last = event.id || last;
          job = /** @type {Job} */ (JSON.parse(event.data));
          seen(job);
        }
      } else {
        job = /** @type {Job} */ (await json(`/v1/jobs/${id}`, { signal }));
        seen(job);
      }
      if (job && isOver(job)) return;
      broken += 1;
    } catch (error) {
      if (signal.aborted) return;
      // The job is gone, or not ours; anything else may pass.
      if (error instanceof Problem && [401, 403, 404].includes(error.status)) throw error;
      broken += 1;
    }
    await pause(POLL);
  }
}

/**
 * @param {string} id
 * @param {string} last
 * @param {AbortSignal} signal
 */
async function* events(id, last, signal) {
  /** @type {Record<string, string>} */
  const headers = { accept: "text/event-stream" };
  if (last) headers["last-event-id"] = last;
  const reply = await ask(`/v1/jobs/${id}/events`, { headers, signal });
  if (!reply.body) return;
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => {
        const [, name, text] = /^([a-z]*): ?(.*)$/.exec(line) ?? ["", "", ""];
        return [name, text];
      }));
      if (fields.data) yield { id: fields.id ?? "", data: fields.data };
    }
  }
}
