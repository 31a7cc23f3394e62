"""DeepDream on TensorFlow, as the 2015 notebook does it: the peer that Reverie is compared with.

The graph runs in TensorFlow's graph mode, the octaves and the walk over tiles in NumPy. The presets are those of
Reverie; like the notebook, the walk over tiles leaves out a remainder of up to half a tile.

Import it, or run it: `deepdream_tf.py GRAPH.pb PRESET IMAGE OUT.png` prints one line of JSON.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass, replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

tf1 = tf.compat.v1
tf1.disable_eager_execution()

MEAN = 117.0
KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]).astype(np.float32) / 256


@dataclass(frozen=True)
class Preset:
    octaves: int
    enlarge: bool
    iterations: int
    step: float
    normalization: str
    tile: int = 512


PRESETS = {
    "naive": Preset(1, True, 20, 1.0, "std", 2048),
    "multiscale": Preset(3, True, 10, 1.0, "std"),
    "lapnorm": Preset(3, True, 10, 1.0, "laplacian"),
    "deepdream": Preset(4, False, 10, 1.5, "mean-abs"),
    "deepdream-lapnorm": Preset(4, False, 10, 1.5, "laplacian"),
}


def resize(image, height, width):
    """PIL's bilinear filter on float channels, without rounding to 8 bits."""
    channels = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(3)]
    return np.stack([np.asarray(c.resize((width, height), Image.BILINEAR)) for c in channels], -1)


class Peer:
    """One objective of one frozen graph: mean square of a layer, or mean of one of its channels."""

    def __init__(self, path, layer, channel=None, threads=2):
        graph = tf1.Graph()
        config = tf1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
        with graph.as_default():
            definition = tf1.GraphDef()
            with open(path, "rb") as file:
                definition.ParseFromString(file.read())
            self.input = tf1.placeholder(tf.float32, (None, None, 3))
            tf.import_graph_def(definition, {"input": self.input[None] - MEAN}, name="net")
            activation = graph.get_tensor_by_name(f"net/{layer}:0")
            if channel is None:
                self.objective = tf.reduce_mean(tf.square(activation))
            else:
                self.objective = tf.reduce_mean(activation[..., channel])
            self.derivative = tf.gradients(self.objective, self.input)[0]
            self.gradient = tf1.placeholder(tf.float32, (None, None, 3))
            self.levelled = self._laplacian(self.gradient[None], 4)[0]
        self.session = tf1.Session(graph=graph, config=config)

    @staticmethod
    def _laplacian(image, levels):
        kernel = KERNEL[:, :, None, None] * np.eye(3, dtype=np.float32)

        def enlarge(low, like):
            return tf.nn.conv2d_transpose(low, kernel * 4, tf.shape(like), [1, 2, 2, 1])

        bands = []
        for _ in range(levels):
            low = tf.nn.conv2d(image, kernel, [1, 2, 2, 1], "SAME")
            bands.append(image - enlarge(low, image))
            image = low
        level = lambda band: band / tf.maximum(tf.sqrt(tf.reduce_mean(tf.square(band))), 1e-10)
        merged = level(image)
        for band in reversed(bands):
            merged = enlarge(merged, band) + level(band)
        return merged

    def score(self, image):
        """The objective of a whole image, as one tile."""
        return float(self.session.run(self.objective, {self.input: image}))

    def step(self, image, preset, shift):
        """One gradient step; `shift` is (x, y)."""
        height, width, _ = image.shape
        rolled = np.roll(image, shift[::-1], (0, 1))
        gradient = np.zeros_like(image)
        tile = preset.tile
        for y in range(0, max(height - tile // 2, tile), tile):
            for x in range(0, max(width - tile // 2, tile), tile):
                window = rolled[y : y + tile, x : x + tile]
                gradient[y : y + tile, x : x + tile] = self.session.run(self.derivative, {self.input: window})
        gradient = np.roll(gradient, (-shift[1], -shift[0]), (0, 1))
        if preset.normalization == "laplacian":
            gradient = self.session.run(self.levelled, {self.gradient: gradient})
        elif preset.normalization == "std":
            gradient = gradient / (gradient.std() + 1e-8)
        else:
            gradient = gradient / (np.abs(gradient).mean() + 1e-7)
        return image + gradient * preset.step

    def dream(self, image, preset, jitter=True, scale=1.4, seed=0):
        """The finished dream, float32, clipped to 0-255."""
        random = np.random.RandomState(seed)
        details = []
        if not preset.enlarge:
            for _ in range(preset.octaves - 1):
                height, width, _ = image.shape
                low = resize(image, int(np.float32(height) / scale), int(np.float32(width) / scale))
                details.append(image - resize(low, height, width))
                image = low
        for octave in range(preset.octaves):
            if octave > 0 and preset.enlarge:
                height, width = (np.float32(image.shape[:2]) * np.float32(scale)).astype(int)
                image = resize(image, int(height), int(width))
            elif octave > 0:
                detail = details.pop()
                image = resize(image, *detail.shape[:2]) + detail
            for _ in range(preset.iterations):
                shift = random.randint(preset.tile, size=2) if jitter else (0, 0)
                image = self.step(image, preset, tuple(int(s) for s in shift))
        return np.clip(image, 0, 255)


def read(path):
    return np.float32(Image.open(path).convert("RGB"))


def noise(size=224, seed=0):
    return (100 + np.random.RandomState(seed).uniform(size=(size, size, 3))).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph")
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("image", help='a picture file, or "noise"')
    parser.add_argument("out")
    parser.add_argument("--layer", default="mixed4c")
    parser.add_argument("--channel", type=int)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--no-jitter", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    preset = PRESETS[args.preset]
    if args.iterations:
        preset = replace(preset, iterations=args.iterations)
    image = noise() if args.image == "noise" else read(args.image)
    peer = Peer(args.graph, args.layer, args.channel, args.threads)
    # The first run of each shape plans its kernels.
    peer.step(image, preset, (0, 0))
    start = time.perf_counter()
    dream = peer.dream(image, preset, jitter=not args.no_jitter)
    seconds = time.perf_counter() - start
    Image.fromarray(np.uint8(dream)).save(args.out)
    print(json.dumps({"preset": args.preset, "seconds": round(seconds, 3), "score": peer.score(dream)}))


if __name__ == "__main__":
    main()
