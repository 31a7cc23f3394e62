// @ts-check
// What the page reads of the API's answers; openapi.yaml has all of it.

/**
 * @typedef {object} Job
 * @property {string} id
 * @property {"queued" | "running" | "paused" | "succeeded" | "failed" | "canceled" | "expired"} status
 * @property {Record<string, any>} spec
 * @property {{ fraction: number, octave: number, octaves: number, iteration: number, iterations: number, frame?: number, frames?: number } | null} progress
 * @property {number | null} queue_position
 * @property {number | null} eta_seconds
 * @property {string} created_at
 * @property {{ detail: string } | null} error
 * @property {{ media_type: string, width: number, height: number } | null} result
 * @property {string[]} notes
 * @property {{ self: string, result: string | null, input: string | null, thumbnail: string | null, preview: string | null, cancel: string | null }} links
 */

/**
 * @typedef {object} Model
 * @property {string} id
 * @property {boolean} default
 * @property {string} default_layer
 * @property {{ layers: string, looks: string }} links
 */

export {};
