"""Paints assets/sample.jpg: a lake at dusk under clouds, from fractal noise alone.

The demo needs a photograph-like picture whose rights nobody else holds. Usage (NumPy and Pillow):

    python3 assets/make_sample.py assets/sample.jpg
"""

import sys

import numpy as np
from PIL import Image

WIDTH, HEIGHT, SEED = 768, 512, 11
HORIZON = 300  # row of the water line


def noise(height, width, cells_y, cells_x, rng):
    """Smooth value noise in 0..1: a random grid, interpolated with a cubic fade."""
    grid = rng.random((cells_y + 2, cells_x + 2))
    y, x = np.linspace(0, cells_y, height), np.linspace(0, cells_x, width)
    yi, xi = y.astype(int), x.astype(int)
    fade = lambda t: t * t * (3 - 2 * t)
    fy, fx = fade(y - yi)[:, None], fade(x - xi)[None, :]
    top = grid[yi][:, xi] * (1 - fx) + grid[yi][:, xi + 1] * fx
    bottom = grid[yi + 1][:, xi] * (1 - fx) + grid[yi + 1][:, xi + 1] * fx
    return top * (1 - fy) + bottom * fy


def fractal(height, width, cells_y, cells_x, octaves, rng, gain=0.55):
    """Sum of noise octaves (fractional Brownian motion), scaled to 0..1."""
    total = sum(gain**k * noise(height, width, cells_y << k, cells_x << k, rng) for k in range(octaves))
    return (total - total.min()) / (total.max() - total.min())


def mix(a, b, t):
    return a * (1 - t) + b * t


def smooth(low, high, x):
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def sky(rng):
    """Evening gradient with lit clouds that flatten towards the horizon."""
    v = np.linspace(0, 1, HORIZON)[:, None, None]
    colour = mix(np.array([58, 96, 158.0]), np.array([246, 196, 148.0]), v**1.4)
    colour = np.broadcast_to(colour, (HORIZON, WIDTH, 3)).copy()
    # Perspective: rows near the horizon sample the cloud layer more coarsely.
    rows = (np.linspace(0, 1, HORIZON) ** 0.55 * (HORIZON * 3 - 1)).astype(int)
    # Five columns too many keep the wrap-around of the shifted copy out of sight.
    wide = fractal(HORIZON * 3, WIDTH + 5, 6, 4, 7, rng)[rows]
    layer, shifted = wide[:, :WIDTH], np.roll(wide, (4, -5), (0, 1))[:, :WIDTH]
    density = smooth(0.48, 0.78, layer)
    light = np.clip(0.5 + 6 * (layer - shifted), 0, 1)
    cloud = mix(np.array([112, 104, 128.0]), np.array([255, 236, 214.0]), light[..., None])
    return mix(colour, cloud, (density * 0.92)[..., None])


def ridge(base, height, cells, rng):
    """Row of a mountain ridge for every column."""
    profile = fractal(1, WIDTH, 1, cells, 7, rng, gain=0.5)[0]
    return base - height * profile


def land(picture, rng):
    """Three ridges, the farther the hazier, with rock texture and a dark tree line."""
    rows = np.arange(HORIZON)[:, None]
    haze = np.array([206, 172, 158.0])
    for base, height, cells, colour, distance in [
        (275, 165, 3, (96, 92, 112), 0.60),
        (292, 105, 5, (62, 74, 74), 0.32),
        (302, 48, 9, (26, 38, 30), 0.05),
    ]:
        top = ridge(base, height, cells, rng)[None, :]
        texture = fractal(HORIZON, WIDTH, 20, 40, 4, rng)
        slope = np.clip(0.5 + 5 * (texture - np.roll(texture, 3, 1)), 0, 1)
        body = np.array(colour, float) * (0.55 + 0.9 * slope[..., None])
        snow = smooth(0.52, 0.66, texture) * smooth(70, 10, rows - top) * (distance > 0.5)
        body = mix(body, np.array([236, 226, 226.0]), snow[..., None])
        body = mix(body, haze, distance * smooth(-20, 150, rows - top)[..., None] + distance * 0.25)
        cover = smooth(-0.7, 0.7, rows - top)[..., None]
        picture[:] = mix(picture, body, cover)


def water(above, rng):
    """The mirrored scene, rippled more the nearer it is, over deep blue."""
    depth = HEIGHT - HORIZON
    rows = np.arange(depth)
    ripple = fractal(depth, WIDTH, 60, 8, 3, rng) - 0.5
    near = (rows / depth)[:, None]
    source = np.clip(HORIZON - 1 - rows[:, None] * 1.25 + ripple * 46 * near, 0, HORIZON - 1).astype(int)
    columns = np.clip(np.arange(WIDTH)[None, :] + ripple * 22 * near, 0, WIDTH - 1).astype(int)
    mirrored = above[source, columns]
    deep = np.array([18, 44, 62.0])
    picture = mix(mirrored * 0.86, deep, (0.18 + 0.5 * near)[..., None])
    glint = smooth(0.30, 0.42, ripple) * near
    return mix(picture, np.array([255, 226, 196.0]), 0.55 * glint[..., None])


def main(path):
    rng = np.random.default_rng(SEED)
    above = sky(rng)
    land(above, rng)
    picture = np.concatenate([above, water(above, rng)])
    picture += rng.normal(0, 1.6, picture.shape)  # a little film grain
    Image.fromarray(np.uint8(picture.clip(0, 255))).save(path, quality=90)


if __name__ == "__main__":
    main(sys.argv[1])
