// @ts-check
// What the page reads of the API's answers; openapi.yaml has all of it.

/**
 * @typedef {object} Job
 * @property {string} id
 * @property {"queued" | "running" | "paused" | "succeeded" | "failed" | "canceled" | "expired"} status
 * @property {boolean} pause_requested
 * @property {Record<string, any> | null} steering a change that waits for the next octave or frame
 * @property {Record<string, any>} spec
 * @property {{ fraction: number, octave: number, octaves: number, iteration: number, iterations: number, frame?: number, frames?: number } | null} progress
 * @property {number | null} queue_position
 * @property {number | null} eta_seconds
 * @property {number} priority
 * @property {string} created_at
 * @property {string | null} deadline_at
 * @property {{ detail: string } | null} error
 * @property {{ media_type: string, width: number, height: number } | null} result
 * @property {string[]} notes
 * @property {{ self: string, result: string | null, input: string | null, thumbnail: string | null, preview: string | null, cancel: string | null, pause: string | null, resume: string | null }} links
 */

/**
 * What the controls say that may differ from one octave to the next, and of the file: `objectives`, `step`, `format`, `preserve_colors`, `blend`.
 * @typedef {Record<string, any>} Settings
 */

/**
 * @typedef {object} Model
 * @property {string} id
 * @property {boolean} default
 * @property {string} default_layer
 * @property {{ layers: string, looks: string }} links
 */

export {};
