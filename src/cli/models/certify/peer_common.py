"""What the peers of reference.py share: the image, its preparation, and what a gradient is worth."""

import numpy as np

# Change of a pixel that stands for another rounding, a millionth of its range; and how much a gradient may change by it.
NUDGE, UNDECIDED = 2.5e-4, 2e-4


def dithered(height, width, seed):
    """Waves of colour with noise, so that no two neighbours are equal: float32 in 0-255."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin(x / a + phase) * np.cos(y / b) for a, b, phase in random.uniform(3, 12, (3, 3))]
    return np.float32(np.clip(127 + 60 * np.stack(waves, -1) + random.uniform(-60, 60, (height, width, 3)), 0, 255))


def nudges(height, width):
    """The image itself comes first."""
    noise = np.random.RandomState(1).choice([-NUDGE, NUDGE], (height, width, 3))
    return [np.zeros_like(noise), noise, -noise]


def undecided(variants):
    """Whether a gradient depends on the last digits of the image."""
    first = np.linalg.norm(variants[0])
    return not all(np.linalg.norm(other - variants[0]) <= UNDECIDED * first for other in variants[1:])


def arranged(value, shape, channels_last):
    """A layer's value as [height, width, channels] or [features]; one of another shape stays, to be seen."""
    value = np.asarray(value, np.float32)
    if value.ndim == 4 and value.shape[0] == 1 and len(shape) == 3:
        value = value[0] if channels_last else value[0].transpose(1, 2, 0)
    elif value.size == np.prod(shape) and 1 in (value.ndim, len(shape), *value.shape):
        value = value.reshape(shape)
    return np.ascontiguousarray(value)


class Preparation:
    """From pixels in RGB, [height, width, 3], to what the network sees."""

    def __init__(self, request):
        self.mean, self.scale = (np.array(request[key], np.float64) for key in ("mean", "scale"))
        self.order = [2, 1, 0] if request["bgr"] else [0, 1, 2]

    def forward(self, pixels):
        return ((pixels - self.mean) * self.scale)[..., self.order]

    def back(self, gradient):
        return gradient[..., self.order] * self.scale
