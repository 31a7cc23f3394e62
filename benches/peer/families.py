"""How long one gradient step takes on PyTorch and on Reverie, in turn, family by family.

    families.py    # or: make bench-families

A step is one pass of an image of 512×512 forward to the layer that Reverie dreams of by default, and the gradient of the mean of its
squares with respect to the pixels, in float32. PyTorch runs eagerly with channels last, on weights that need no gradient;
the rest of the network is left out there, too. Both have the same file of weights: the real ones where models/ has them, else
random ones. Each round measures a few steps of either, Reverie's in a process of its own (`reverie models time`), PyTorch's
in this one, with the same number of threads. What counts are the ratios: machines that are rented differ from minute to minute.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torchvision import models

MODELS = Path(os.environ.get("REVERIE__MODELS__DIR", "models"))
GRAPHS = [MODELS / "tensorflow_inception_graph.pb", Path("../shared/models/bvlc_inception_graph.pb")]
WARM_UP = 2


class Reached(Exception):
    """The layer has been computed; what follows is not needed."""


class Googlenet2014(nn.Module):
    """GoogLeNet with local response normalisation up to `mixed4c`, as Caffe's and TensorFlow's files have it."""

    # Of each block: inputs, 1×1, 3×3 and what it reads, 5×5 and what it reads, what the pooling becomes.
    BLOCKS = [
        (192, 64, 96, 128, 16, 32, 32),
        (256, 128, 128, 192, 32, 96, 64),
        (480, 192, 96, 208, 16, 48, 64),
        (512, 160, 112, 224, 24, 64, 64),
        (512, 128, 128, 256, 24, 64, 64),
    ]

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            self.conv(3, 64, 7, 2), self.pool(2), nn.LocalResponseNorm(5, 1e-4, 0.75), self.conv(64, 64, 1),
            self.conv(64, 192, 3), nn.LocalResponseNorm(5, 1e-4, 0.75), self.pool(2),
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList([
                self.conv(wide, one, 1),
                nn.Sequential(self.conv(wide, three_in, 1), self.conv(three_in, three, 3)),
                nn.Sequential(self.conv(wide, five_in, 1), self.conv(five_in, five, 5)),
                nn.Sequential(self.pool(1), self.conv(wide, pooled, 1)),
            ])
            for wide, one, three_in, three, five_in, five, pooled in self.BLOCKS
        )
        self.between = self.pool(2)
        self.mixed4c = nn.Identity()

    @staticmethod
    def conv(inner, outer, kernel, stride=1):
        return nn.Sequential(nn.Conv2d(inner, outer, kernel, stride, kernel // 2), nn.ReLU(inplace=True))

    @staticmethod
    def pool(stride):
        return nn.MaxPool2d(3, stride, 1 if stride == 1 else 0, ceil_mode=True)

    def forward(self, x):
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            x = self.between(x) if index == 2 else x
            x = torch.cat([branch(x) for branch in block], 1)
        return self.mixed4c(x)


def lite(name):
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name(name, image_size=512)


# Name, network, Reverie's layer and PyTorch's module; the file of real weights, where there may be one.
FAMILIES = [
    ("GoogLeNet, BVLC", Googlenet2014, "mixed4c", "mixed4c", GRAPHS),
    ("GoogLeNet, torchvision", lambda: models.googlenet(init_weights=True, aux_logits=False), "inception4c", None, ["googlenet-1378be20.pth"]),
    ("Inception v3", lambda: models.inception_v3(init_weights=True, aux_logits=False), "Mixed_6c", None, ["inception_v3_google-0cc3c7bd.pth"]),
    ("VGG-16", models.vgg16, "features.22", None, ["vgg16-397923af.pth"]),
    ("ResNet-18", models.resnet18, "layer3.1", None, []),
    ("ResNet-50", models.resnet50, "layer3.5", None, ["resnet50-11ad3fa6.pth"]),
    ("SqueezeNet 1.1", models.squeezenet1_1, "features.10", None, ["squeezenet1_1-b8a52dc0.pth"]),
    ("MobileNetV2", models.mobilenet_v2, "features.13", None, []),
    ("EfficientNet-Lite0", lambda: lite("efficientnet-lite0"), "block10", "_blocks.10", ["efficientnet-lite0.pth"]),
    ("EfficientNet-Lite2", lambda: lite("efficientnet-lite2"), "block13", "_blocks.13", ["efficientnet-lite2.pth"]),
]


class Step:
    """PyTorch's step."""

    def __init__(self, network, module, size):
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.network.get_submodule(module).register_forward_hook(self._reached)
        self.size = size

    def _reached(self, _, __, output):
        self.output = output
        raise Reached

    def seconds(self, count):
        image = torch.rand(1, 3, self.size, self.size).to(memory_format=torch.channels_last)
        found = []
        for step in range(WARM_UP + count):
            began = time.perf_counter()
            x = image.detach().requires_grad_()
            try:
                self.network((x - 0.45) / 0.225)
            except Reached:
                pass
            (gradient,) = torch.autograd.grad(self.output.square().mean(), x)
            del gradient, self.output
            if step >= WARM_UP:
                found.append(time.perf_counter() - began)
        return found


def ours(binary, file, layer, size, steps):
    command = [binary, "models", "time", file, "--layer", layer, "--size", f"{size}x{size}", "--steps", str(steps), "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)["seconds"]


def file_of(network, names, folder, keep_names):
    """The real weights, or a state dict of random ones."""
    for path in (Path(name) if keep_names else MODELS / name for name in names):
        if path.exists():
            return str(path)
    if keep_names:
        return None
    path = str(Path(folder) / "random.pth")
    torch.save(network.state_dict(), path)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="in each round")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--binary", default="target/release/reverie")
    parser.add_argument("--only", help="families whose names hold this")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    torch.manual_seed(1)
    print(f"Seconds of {args.rounds} rounds of {args.steps} steps, {args.size}×{args.size}, {args.threads} threads, torch {torch.__version__}.\n")
    print("| network | layer | PyTorch | Reverie | ratio |")
    print("|---|---|---:|---:|---|")
    for name, build, layer, module, files in FAMILIES:
        if args.only and args.only.lower() not in name.lower():
            continue
        network = build()
        with tempfile.TemporaryDirectory() as folder:
            file = file_of(network, files, folder, files is GRAPHS)
            if file is None:
                print(f"{name} is left out: none of {', '.join(map(str, files))} is there", file=sys.stderr)
                continue
            step, theirs, mine, ratios = Step(network, module or layer, args.size), [], [], []
            for _ in range(args.rounds):
                theirs.append(step.seconds(args.steps))
                mine.append(ours(args.binary, file, layer, args.size, args.steps))
                ratios.append(statistics.median(mine[-1]) / statistics.median(theirs[-1]))
        peer, own = (1e3 * statistics.median(sum(found, [])) for found in (theirs, mine))
        spread = f"{own / peer:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | `{layer}` | {peer:.0f} ms | {own:.0f} ms | {spread} |", flush=True)


if __name__ == "__main__":
    main()
