"""Reverie against TensorFlow: the objective that each reaches, on the same graph, without jitter.

Gradient ascent is chaotic: a start that differs by a hundredth of a grey level ends several per cent higher or lower,
in TensorFlow itself. So each case runs from several starts that differ by that much, both programs from the same
ones (16-bit files), and the means are compared. TensorFlow scores all pictures, whole and from 8 bits.

The default walk has to reach 0.97 of TensorFlow's mean. TensorFlow's walk, which skips part of the pixels, is run as
well (`tiling: article`): there the programs do the same, and the ratio has to be 0.97 up to twice its standard error;
so has that of the default walk in bfloat16 to the same in float32. Ends with 1 otherwise.

Run by `make bench-parity`.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
from deepdream_tf import PRESETS, Peer, noise, read

FLOOR = 0.97
# Walk and precision.
WAYS = {"even": ("even", "fp32"), "article": ("article", "fp32"), "half": ("even", "bf16")}
CHANNEL = ("mixed4d_3x3_bottleneck_pre_relu", 139)
LAYER = ("mixed4c", None)


def write_png16(path, image):
    """A 16-bit RGB PNG; 65535 stands for 255 (Pillow cannot write one)."""
    height, width, _ = image.shape
    values = np.round(image * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    )


def reverie(binary, graph, preset, source, out, objective, way):
    (layer, channel), (tiling, precision) = objective, way
    command = [binary, "render", str(source), "-o", str(out), "--model", str(graph), "--preset", preset]
    command += ["--layer", layer, *([] if channel is None else ["--channel", str(channel)])]
    command += ["--no-jitter", "--tiling", tiling, "--precision", precision]
    subprocess.run(command, check=True, capture_output=True)
    return read(out)


def ratio_of_means(ours, theirs):
    """The ratio and its standard error."""
    ours, theirs = np.array(ours), np.array(theirs)
    ratio = ours.mean() / theirs.mean()
    relative = [values.std(ddof=1) / values.mean() / len(values) ** 0.5 for values in (ours, theirs)]
    return ratio, ratio * float(np.hypot(*relative))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", help="a frozen Inception GraphDef")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--binary", default="target/release/reverie")
    args = parser.parse_args()
    peers = {objective: Peer(args.graph, *objective) for objective in (CHANNEL, LAYER)}
    cases = [(preset, "noise", CHANNEL) for preset in ("naive", "multiscale", "lapnorm")]
    cases += [(preset, image, LAYER) for preset in ("deepdream", "deepdream-lapnorm") for image in args.images]
    print("| preset | start | TensorFlow | Reverie | ratio | … article's walk | ratio | … bfloat16 | of float32's |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "start.png", Path(folder) / "out.png"
        for preset, image, objective in cases:
            peer, scores = peers[objective], {name: [] for name in ("peer", *WAYS)}
            for start in range(args.starts):
                pixels = noise(seed=start) if image == "noise" else read(image)
                pixels = pixels + np.random.RandomState(start).uniform(-0.01, 0.01, pixels.shape)
                pixels = np.float32(np.round(np.clip(pixels, 0, 255) * 257) / 257)
                write_png16(source, pixels)
                dream = peer.dream(pixels, PRESETS[preset], jitter=False)
                scores["peer"].append(peer.score(np.float32(np.uint8(dream))))
                for name, way in WAYS.items():
                    dream = reverie(args.binary, args.graph, preset, source, out, objective, way)
                    scores[name].append(peer.score(dream))
            even, even_error = ratio_of_means(scores["even"], scores["peer"])
            article, article_error = ratio_of_means(scores["article"], scores["peer"])
            half, half_error = ratio_of_means(scores["half"], scores["even"])
            failed |= even < FLOOR or article + 2 * article_error < FLOOR or half + 2 * half_error < FLOOR
            means = {name: np.mean(values) for name, values in scores.items()}
            print(
                f"| `{preset}` | {Path(image).name} | {means['peer']:.1f} | {means['even']:.1f} | {even:.2f} ± "
                f"{even_error:.2f} | {means['article']:.1f} | {article:.2f} ± {article_error:.2f} | "
                f"{means['half']:.1f} | {half:.2f} ± {half_error:.2f} |",
                flush=True,
            )
    print(f"\n{args.starts} starts each; ± is the standard error. " + ("Too low." if failed else "High enough."))
    # A NumPy truth value is no exit status.
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
