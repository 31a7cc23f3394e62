"""What the scripts beside this one share: images, and how a network is handed over.

Each script writes networks as people have them, one after another, into the folder that it is given: NAME.pth, NAME.onnx and so on, and
NAME.npz, what the framework that the file comes from computes with it; NAME.pth.npz is for that file alone. It says a network's NAME on a line of its own when its files are
there, and waits for a line on its input before it writes the next, so that few are on disk at once. tests/families.rs runs it and
compares.

A reference has `input`, [height, width, 3] in 0-255; activations under their layers' names, [height, width, channels] or
[features]; and grad_l2_LAYER, the derivative of the mean of a layer's squares with respect to the input.
"""

import sys
from pathlib import Path

import numpy as np

# What a network's gradient may change by, of its norm, where pixels change by less than a millionth of their range: where it changes by more,
# a unit is so near to its kink that rounding decides which side's derivative is computed, which proves nothing.
SAME, NUDGE = 2e-4, 1e-4

# Images that are tried for one without such a kink.
TRIES = 16


def image(height, width, seed):
    """Waves of colour with noise, so that no two neighbours are equal: float32 in 0-255."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin(x / a + phase) * np.cos(y / b) for a, b, phase in random.uniform(3, 12, (3, 3))]
    return np.float32(np.clip(127 + 60 * np.stack(waves, -1) + random.uniform(-60, 60, (height, width, 3)), 0, 255))


def without_kinks(name, height, width, gradients):
    """Of some images the one whose gradients are least in doubt, in 64 bits: `gradients(pixels)` gives them by their layers."""
    best = None
    for seed in range(TRIES):
        pixels = image(height, width, seed)
        first = gradients(pixels)
        noise = np.random.RandomState(1).choice([-NUDGE, NUDGE], pixels.shape).astype(np.float32)
        others = [gradients(pixels + change) for change in (noise, -noise)]
        doubt = max(np.linalg.norm(other[layer] - first[layer]) / np.linalg.norm(first[layer]) for other in others for layer in first)
        if best is None or doubt < best[0]:
            best = doubt, pixels, first
        if doubt <= SAME:
            break
    doubt, pixels, found = best
    print(f"{name}: gradients change by {doubt:.1e} where pixels change a little, image {seed}", file=sys.stderr)
    return pixels, {f"grad_l2_{layer}": gradient for layer, gradient in found.items()}


def save(folder, name, arrays):
    arrays = {key: np.ascontiguousarray(value, np.float32) for key, value in arrays.items()}
    for key, value in arrays.items():
        assert np.isfinite(value).all() and value.any(), f"{name}: {key} is nothing to compare"
    np.savez(Path(folder) / f"{name}.npz", **arrays)


def hand_over(name):
    print(name, flush=True)
    if not sys.stdin.readline():
        raise SystemExit(f"nobody took {name}")
