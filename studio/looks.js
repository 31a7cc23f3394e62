// @ts-check
// Looks: what the models dream at some of their layers, named by what is seen there. The server has them, with their pictures.

import { json } from "./api.js";

/** @typedef {{ id: string, title: string, spec: Record<string, any>, picture: string | null }} Look */

/**
 * The looks of a model; of one that is not known, its default layer alone.
 * @param {{ default_layer: string, links: { looks: string } }} model
 * @returns {Promise<Look[]>}
 */
export async function looksOf(model) {
  const { looks } = await json(model.links.looks);
  if (looks.length) return looks;
  const spec = { objectives: [{ layer: model.default_layer }] };
  return [{ id: "", title: model.default_layer, spec, picture: null }];
}

/**
 * The look whose members a spec has; undefined where it has those of none.
 * @param {Look[]} looks
 * @param {Record<string, any>} spec
 */
export const lookIn = (looks, spec) => looks.find((look) => isWithin(look.spec, spec) && channels(look.spec) === channels(spec));

/** The channels of each objective: one with channels is not that of the whole layer. @param {Record<string, any>} spec */
const channels = (spec) => JSON.stringify((spec.objectives ?? []).map((/** @type {any} */ one) => one.channels ?? []));

/** Whether all of `part` is in `whole`. @param {any} part @param {any} whole @returns {boolean} */
function isWithin(part, whole) {
  if (typeof part !== "object" || part === null) return part === whole;
  if (typeof whole !== "object" || whole === null) return false;
  if (Array.isArray(part) && part.length !== whole.length) return false;
  return Object.keys(part).every((name) => isWithin(part[name], whole[name]));
}
