// What a TypeScript client of the contract can write, and what it cannot. scripts/contract-test makes schema.ts of
// openapi.yaml with openapi-typescript's default settings and compiles this file with `tsc --strict`; nothing runs.
// Each `@ts-expect-error` fails the compilation where the line below it compiles.

import type { components, paths } from "./schema";

type Schemas = components["schemas"];
type Spec = Schemas["Spec"];

// Members with defaults are optional.
export const nothing: Spec = {};
export const layer: Spec = { objectives: [{ layer: "block10" }] };
export const channels: Spec = { objectives: [{ channels: [7, 21], weight: -0.5 }] };
export const one: Spec = { objectives: [{ kind: "mean", channels: [7] }, { kind: "l2", layer: "block2" }] };
export const classes: Spec = { objectives: [{ kind: "class", class: 291 }, { kind: "probability", class: 3, layer: "logits" }] };
export const guides: Spec = { objectives: [{ kind: "guide" }, { kind: "guide-cosine", layer: "block2", weight: -1 }] };
export const picked: Spec = { objectives: [{ pick: "strongest", count: 8 }, { kind: "l2", pick: "random", at: { x: 0.2 } }] };
export const direction: Spec = { objectives: [{ kind: "direction", direction: { "21": 1, "43": -0.5 }, cosine_power: 2 }] };
export const noise: Spec = { preset: "lapnorm", noise: { width: 64 }, seed: null };
export const masked: Spec = { mask: {}, background: "#ff8000" };

export const submission: Schemas["SubmitJson"] = { spec: layer };
export const posted: paths["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"] = { spec: { seed: 7 } };

// @ts-expect-error a misspelled member
export const misspelled: Spec = { iteration: 10 };
// @ts-expect-error a misspelled member of an objective
export const misspelledObjective: Spec = { objectives: [{ layr: "block10" }] };
// @ts-expect-error there is no such kind
export const wrongKind: Spec = { objectives: [{ kind: "l3", layer: "block10" }] };
// @ts-expect-error a channel is not for classes
export const classOfChannels: Spec = { objectives: [{ kind: "class", class: 3, channels: [1] }] };
// @ts-expect-error a guide is followed by whole layers
export const channelOfGuide: Spec = { objectives: [{ kind: "guide", channels: [1] }] };
// @ts-expect-error a class is not for means
export const meanOfClass: Spec = { objectives: [{ kind: "mean", class: 3 }] };
// @ts-expect-error which class?
export const classless: Spec = { objectives: [{ kind: "probability" }] };
// @ts-expect-error a direction of what?
export const directionless: Spec = { objectives: [{ kind: "direction" }] };
// @ts-expect-error there is no such preset
export const wrongPreset: Spec = { preset: "nightmare" };
// @ts-expect-error a number is not a text
export const wrongType: Spec = { octaves: "4" };

// An answer's objectives are told apart by their kind.
export function about(objective: Schemas["Objective"]): string {
    switch (objective.kind) {
        case "mean":
        case "l2":
            return `${objective.layer}: ${(objective.channels ?? []).join(", ")}`;
        case "class":
        case "probability":
            return `${objective.layer}: class ${objective.class.toFixed()}`;
        case "direction":
            return `${objective.layer}: ${Object.keys(objective.direction).join(", ")}`;
        case "guide":
        case "guide-cosine":
            return `${objective.layer}: a guide`;
        default:
            return objective satisfies never;
    }
}

// An answer may lack what has been added to specs since.
export function blendOf(job: Schemas["Job"]): number {
    return job.spec.blend ?? 0;
}
