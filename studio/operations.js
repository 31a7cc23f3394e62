// @ts-check
// The operators' page: the queue by state and tenant, the workers, what failed and why; retry and cancel. All of it is of the
// public API (/v1/operations), and the server decides who may.

import { Problem, ask, json, useKey } from "./api.js";

/** @typedef {import("./types.js").Job} Job */
/** @typedef {{ workers: number, devices: string[], memory_mb: number, speeds: { model: string, precision: string, relative_time: number }[] }} Worker */
/** @typedef {{ tenant: string, queued: number, running: number, paused: number, stored_bytes: number }} Load */
/** @typedef {{ jobs: Record<string, number>, oldest_waiting_at: string | null, backlog_seconds: number, tenants: Load[], workers: Worker[] }} Overview */

/** Milliseconds between two looks. */
const EVERY = 5000;

/** Jobs that something was done with here: the page is made anew while that is under way, and nothing is done twice. */
const done = /** @type {Set<string>} */ (new Set());

/** What was complained of by a look, which the next one takes back; what an action says stays. */
let ofLook = false;

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** @param {string} name @param {string | Node} content @param {string} [className] */
function element(name, content, className = "") {
  const made = Object.assign(document.createElement(name), { className });
  made.append(content);
  return made;
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString([], { maximumFractionDigits: 1 })} MB`;

/** @param {string | null} time */
const since = (time) => (time ? duration(Math.max(0, (Date.now() - Date.parse(time)) / 1000)) : "–");

/**
 * Fills a table. A column is its title and the class of its cells.
 * @param {HTMLTableElement} table @param {[string, string][]} columns @param {(string | Node)[][]} rows @param {string} none
 */
function fill(table, columns, rows, none) {
  // What has the focus keeps it, though it is made anew.
  const focused = table.contains(document.activeElement) ? document.activeElement?.id : "";
  const head = document.createElement("tr");
  head.append(...columns.map(([title, kind]) => Object.assign(element("th", title, kind), { scope: "col" })));
  const lines = rows.map((cells) => {
    const line = document.createElement("tr");
    line.append(...cells.map((cell, at) => element("td", cell, columns[at][1])));
    return line;
  });
  const body = document.createElement("tbody");
  body.append(...lines);
  table.replaceChildren(element("thead", head), body);
  if (!rows.length) table.prepend(element("caption", none));
  if (focused) document.getElementById(focused)?.focus();
}

/** @param {Overview} overview */
function showOverview({ jobs, oldest_waiting_at, backlog_seconds, tenants, workers }) {
  const figures = [
    ...Object.entries(jobs).map(([state, count]) => [state, count.toLocaleString()]),
    ["oldest waits", since(oldest_waiting_at)],
    ["work ahead, one worker", duration(backlog_seconds)],
  ];
  $("queue").replaceChildren(...figures.map(([name, figure]) => {
    const pair = document.createElement("div");
    pair.append(element("dt", name), element("dd", figure));
    return pair;
  }));
  fill($("tenants"), [["Tenant", "code"], ["Queued", "number"], ["Running", "number"], ["Paused", "number"], ["Stored", "number"]],
    tenants.map((load) => [load.tenant, load.queued.toLocaleString(), load.running.toLocaleString(), load.paused.toLocaleString(), megabytes(load.stored_bytes)]),
    "No tenant has jobs or files.");
  fill($("workers"), [["Workers", "number"], ["Devices", ""], ["Memory of a job", "number"], ["Time", "words"]],
    workers.map((worker) => [
      String(worker.workers),
      worker.devices.join(", ") || "–",
      `${worker.memory_mb.toLocaleString()} MB`,
      worker.speeds.map(({ model, precision, relative_time }) => `${model} ${precision}: ${relative_time}`).join("; ") || "not known yet",
    ]),
    "No process has workers.");
}

/** A button for what can be done with a job. @param {Job} job */
function action(job) {
  const retry = job.status === "failed";
  const button = Object.assign(document.createElement("button"), {
    type: "button", id: `do-${job.id}`, textContent: done.has(job.id) ? (retry ? "Retried" : "Canceled") : retry ? "Retry" : "Cancel",
  });
  button.setAttribute("aria-label", `${button.textContent} job ${job.id}`);
  // Not disabled: that would take the focus away.
  if (done.has(job.id)) button.setAttribute("aria-disabled", "true");
  button.onclick = async () => {
    if (done.has(job.id)) return;
    done.add(job.id);
    button.setAttribute("aria-disabled", "true");
    try {
      const answer = await ask(`/v1/operations/jobs/${job.id}/${retry ? "retry" : "cancel"}`, { method: "POST" });
      const { job: now } = await answer.json();
      $("problem").hidden = true;
      $("live").textContent = retry ? `Job ${now.id} waits in its place` : `Job ${now.id} is ${now.status}`;
      await look();
    } catch (error) {
      done.delete(job.id);
      button.removeAttribute("aria-disabled");
      complain(error, false);
    }
  };
  return button;
}

/** @param {{ tenant: string, job: Job }[]} jobs @param {string} state */
function showJobs(jobs, state) {
  const told = /** @type {Record<string, [string, (job: Job) => string]>} */ ({
    failed: ["Why", (job) => job.error?.detail ?? ""],
    paused: ["Layer", (job) => job.spec.objectives?.[0]?.layer ?? ""],
    running: ["Progress", (job) => (job.progress ? `${Math.round(job.progress.fraction * 100)} %` : "begins")],
    queued: ["Layer", (job) => job.spec.objectives?.[0]?.layer ?? ""],
  });
  const [title, tell] = told[state];
  fill($("jobs"), [["Tenant", "code"], ["Job", "code"], ["Accepted", ""], ["Model", ""], [title, "words"], ["Action", ""]],
    jobs.map(({ tenant, job }) => [
      tenant, job.id, new Date(job.created_at).toLocaleString([], { dateStyle: "short", timeStyle: "short" }), job.spec.model, tell(job), action(job),
    ]),
    `No job is ${state}.`);
}

/** @param {any} error @param {boolean} looking whether a look failed, not an action */
function complain(error, looking) {
  if (error instanceof Problem && [401, 403].includes(error.status)) {
    if (!$("ask").open) $("ask").showModal();
    return;
  }
  ofLook = looking;
  $("problem").textContent = error.message;
  $("problem").hidden = false;
}

/** Looks once. */
async function look() {
  const state = $("state").value;
  try {
    const [overview, { jobs }] = await Promise.all([json("/v1/operations"), json(`/v1/operations/jobs?status=${state}`)]);
    if (ofLook) $("problem").hidden = true;
    showOverview(overview);
    if ($("state").value === state) showJobs(jobs, state);
  } catch (error) {
    complain(error, true);
  }
}

$("state").onchange = look;
$("ask").onclose = () => {
  const key = $("key").value.trim();
  $("key").value = "";
  if (key) {
    useKey(key);
    look();
  } else {
    // Whoever leaves the question is not asked again at once.
    $("problem").textContent = "This page shows nothing without a key. Reload it to give one.";
    $("problem").hidden = false;
    clearInterval(looks);
  }
};
const looks = setInterval(() => document.hidden || $("ask").open || look(), EVERY);
look();
