// @ts-check
// Looks: what a network dreams at some of its layers, named by what is seen there. Chosen by looking at the dreams of every
// block on several pictures.

/** @typedef {{ id: string, name: string, layer: string }} Look */

/** @type {Record<string, Look[]>} Of the models that are known, by their ids. */
const KNOWN = {
  "efficientnet-lite0": [
    { id: "animals", name: "Animals", layer: "block10" },
    { id: "creatures", name: "Creatures", layer: "block11" },
    { id: "eyes", name: "Eyes", layer: "block9" },
    { id: "corals", name: "Corals", layer: "block12" },
    { id: "clouds", name: "Clouds", layer: "block14" },
    { id: "scales", name: "Scales", layer: "block8" },
    { id: "woven", name: "Woven", layer: "block6" },
    { id: "glass", name: "Stained glass", layer: "block3" },
  ],
};

/**
 * The looks of a model; of one that is not known, its default layer alone.
 * @param {{ id: string, default_layer: string }} model
 * @returns {Look[]}
 */
export function looksOf(model) {
  return KNOWN[model.id] ?? [{ id: "default", name: model.default_layer, layer: model.default_layer }];
}

/**
 * Where the picture of a look is; none for a model that is not known.
 * @param {{ id: string }} model
 * @param {Look} look
 */
export function pictureOf(model, look) {
  return model.id in KNOWN ? `/studio/looks/${look.id}.webp` : null;
}
