"""torchvision's networks at their full width, with random weights: as a state dict (NAME.pth), as safetensors, and as ONNX, from PyTorch's
exporter as it is used by default, whose weights stand in a file beside (NAME.onnx.data).

    python torchvision_networks.py FOLDER

See common.py. The weights are those that the networks are made with, but for normalisations, which would do nothing, and have the
statistics of some images.
"""

import contextlib
import copy
import sys
import warnings
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torchvision import models

from common import hand_over, image, save, without_kinks

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

# Of networks whose weights were trained on another preparation of the pixels: as they are for those weights.
INCEPTION = {"aux_logits": True, "init_weights": False, "transform_input": True}
# Its classifier takes what a picture of 224 pixels gives.
VGG = ["features.1", "features.4", "features.8", "features.13", "features.22"]
CLASSIFIER, CLASSIFIED = "classifier.6", (224, 224)

# Name, arguments, size of the image, modules whose output is compared, the one whose gradient is.
NETWORKS = [
    ("googlenet", INCEPTION, (48, 56), ["conv1", "maxpool2", "inception3a", "inception4c", "inception5b", "fc"], "inception4c"),
    ("inception_v3", INCEPTION, (75, 83), ["Conv2d_4a_3x3", "Mixed_5b", "Mixed_6a", "Mixed_6c", "Mixed_7c", "fc"], "Mixed_6a"),
    ("vgg16", {}, (34, 37), VGG, "features.22"),
    ("vgg19", {}, (34, 37), VGG, "features.22"),
    ("resnet18", {}, (49, 56), ["maxpool", "layer1.1", "layer2.1", "layer3.1", "layer4.1", "fc"], "layer3.1"),
    ("resnet50", {}, (33, 40), ["maxpool", "layer1.0", "layer2.3", "layer3.5", "layer4.2", "fc"], "layer2.3"),
    ("squeezenet1_1", {}, (65, 78), ["features.2", "features.3", "features.7", "features.10", "features.12"], "features.10"),
    ("mobilenet_v2", {}, (33, 40), ["features.0", "features.3", "features.8", "features.13", "features.18", "classifier.1"], "features.13"),
]


class Reached(Exception):
    """The last module that is wanted has its output."""


class Kept(torch.nn.Module):
    """The network, with the outputs of some of its modules."""

    def __init__(self, network, kept):
        super().__init__()
        self.network, self.kept = network, kept
        self.outputs, self.last = {}, None
        for module in kept:
            network.get_submodule(module).register_forward_hook(lambda _, __, output, module=module: self._keep(module, output))

    def _keep(self, module, output):
        self.outputs[module] = output
        if module == self.last:
            raise Reached

    def forward(self, image):
        self.outputs.clear()
        self.network(image)
        return tuple(self.outputs[module] for module in self.kept)


def made(name, arguments, size):
    torch.manual_seed(len(name))
    network = getattr(models, name)(**arguments)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.7, 1.3)
        torch.nn.init.uniform_(norm.bias, -0.2, 0.2)
        norm.momentum = None
    network.eval()
    if norms:
        # Their statistics are those of some images, so that what an image says gets through.
        for norm in norms:
            norm.train()
        with torch.no_grad():
            larger = [2 * side for side in size]
            network(torch.cat([prepared(image(*larger, seed), torch.float32)[1] for seed in range(100, 104)]))
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return network.eval()


def arranged(output):
    output = output.detach()[0]
    return (output.permute(1, 2, 0) if output.dim() == 3 else output).float().numpy()


def prepared(pixels, kind):
    """The pixels as a leaf, and as the network wants them."""
    leaf = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].to(kind).requires_grad_()
    return leaf, (leaf / 255 - MEAN.to(kind)) / DEVIATION.to(kind)


def activations(kept, pixels):
    with torch.no_grad():
        outputs = kept(prepared(pixels, torch.float64)[1])
    return {module: arranged(output) for module, output in zip(kept.kept, outputs)}


def reference(name, network, size, objective):
    exact = Kept(copy.deepcopy(network).double(), [objective])
    exact.last = objective

    def gradients(pixels):
        leaf, image = prepared(pixels, torch.float64)
        with contextlib.suppress(Reached):
            exact(image)
        (gradient,) = torch.autograd.grad(exact.outputs[objective].square().mean(), leaf)
        return {objective: gradient[0].permute(1, 2, 0).numpy()}

    return without_kinks(name, *size, gradients)


def export(kept, size, file):
    """As people do it; that the layers are outputs, too, gives them names to be compared by."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            kept, (torch.zeros(1, 3, *size),), input_names=["image"], output_names=kept.kept, verbose=False
        )
    program.save(file, external_data=True)


def main(folder):
    for name, arguments, size, modules, objective in NETWORKS:
        network, is_vgg = made(name, arguments, size), name.startswith("vgg")
        pixels, gradients = reference(name, network, size, objective)
        kept = Kept(network, modules + [CLASSIFIER] * is_vgg).double()
        found = activations(kept, pixels)
        found.pop(CLASSIFIER, None)
        # Some names alone stand for the files that torchvision publishes.
        name = f"torchvision_{name}"
        save(folder, name, {"input": pixels} | found | gradients)
        if is_vgg:
            pixels = image(*CLASSIFIED, 0)
            classes = activations(kept, pixels)[CLASSIFIER]
            save(folder, f"{name}.onnx", {"input": pixels, CLASSIFIER: classes})
            # Of a state dict it is a convolution in Reverie, whose map has one position here.
            for ending in ("pth", "safetensors"):
                save(folder, f"{name}.{ending}", {"input": pixels, CLASSIFIER: classes.reshape(1, 1, -1)})
        weights = kept.float().network.state_dict()
        torch.save(weights, Path(folder) / f"{name}.pth")
        safetensors.torch.save_file(weights, Path(folder) / f"{name}.safetensors")
        export(kept, CLASSIFIED if is_vgg else size, Path(folder) / f"{name}.onnx")
        hand_over(name)


if __name__ == "__main__":
    main(sys.argv[1])
