"""PyTorch, for state dicts: the network of torchvision or of efficientnet_lite_pytorch that the weights fit."""

import numpy as np
import torch

from peer_common import Preparation, arranged, dithered, nudges, undecided


def torch_networks(weights):
    """What may have these weights: functions that build a network, and of Reverie's layers that are called otherwise the module and
    which of its outputs, where it runs several times."""
    from torchvision import models

    def classes(key):
        return weights[key].shape[0] if key in weights else 1000

    if "_conv_stem.weight" in weights:
        from efficientnet_lite_pytorch import EfficientNet

        def lite(name):
            # Padding goes by the image, not by the size that the network was trained at.
            options = {"num_classes": classes("_fc.weight"), "image_size": None}
            return lambda: EfficientNet.from_name(name, **options)

        modules = {"logits": ("_fc", 0)}
        for place, (name, module) in enumerate([("stem", "_bn0"), ("head", "_bn1")]):
            modules |= {f"{name}/conv": (module, 0), name: ("_swish", place)}
        for index in range(64):
            name, block = f"block{index}", f"_blocks.{index}"
            parts = ["expand"] * (f"{block}._expand_conv.weight" in weights) + ["depthwise"]
            for place, part in enumerate(parts):
                norm = {"expand": "_bn0", "depthwise": "_bn1"}[part]
                modules |= {f"{name}/{part}/conv": (f"{block}.{norm}", 0), f"{name}/{part}": (f"{block}._swish", place)}
            modules |= {f"{name}/project": (f"{block}._bn2", 0), name: (block, 0)}
        return [lite(f"efficientnet-lite{number}") for number in range(5)], modules

    def of(build, key, **options):
        return lambda: build(num_classes=classes(key), **options)

    if "Mixed_5b.branch1x1.conv.weight" in weights or "inception3a.branch1.conv.weight" in weights:
        inception = "Mixed_5b.branch1x1.conv.weight" in weights
        build = models.inception_v3 if inception else models.googlenet
        auxiliary = any(key.startswith("AuxLogits." if inception else "aux1.") for key in weights)
        # Reverie prepares the pixels as the network wants them.
        options = {"aux_logits": auxiliary, "init_weights": False, "transform_input": False}
        return [of(build, "fc.weight", **options)], {}
    residual = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    residual += ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"]
    vgg = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
    names = {"fc.weight": residual, "classifier.6.weight": vgg, "classifier.1.weight": ["mobilenet_v2"]}
    if "features.3.squeeze.weight" in weights:
        names = {"classifier.1.weight": ["squeezenet1_0", "squeezenet1_1"]}
    return [of(getattr(models, name), key) for key, listed in names.items() if key in weights for name in listed], {}


class Peer:
    """Computes in 32 and in 64 bits."""

    def __init__(self, request):
        self.preparation, self.shapes = Preparation(request), request["layers"]
        weights = self._weights(request["model"])
        self.network, modules = self._network(weights)
        known = dict(self.network.named_modules())
        for module in known.values():
            if hasattr(module, "inplace"):
                module.inplace = False
        # By layer: the module, which of its outputs, and how many it must have.
        self.places = {}
        for name in request["layers"]:
            block, _, number = name.rpartition(".relu")
            if name in modules:
                self.places[name] = (*modules[name], None)
            elif name in known:
                self.places[name] = (name, 0, 1)
            elif number.isdigit() and f"{block}.relu" in known:
                # A residual block's only rectifier, after its first convolution, its second, and the sum.
                self.places[name] = (f"{block}.relu", int(number) - 1, None)
        self.outputs = {}
        for name in {module for module, _, _ in self.places.values()} & known.keys():
            known[name].register_forward_hook(self._keep(name))
        self._run(dithered(request["height"], request["width"], 0), torch.float32)
        self.layers = [name for name in self.places if self._output(name) is not None]
        self.absent = [name for name in request["layers"] if name not in self.layers]

    def _output(self, name):
        module, place, count = self.places[name]
        outputs = self.outputs.get(module, [])
        return outputs[place] if place < len(outputs) and count in (None, len(outputs)) else None

    def _keep(self, name):
        def hook(_, __, output):
            self.outputs.setdefault(name, []).append(output)
            # Whatever writes over it writes over this one.
            return output.clone()

        return hook

    def _weights(self, path):
        with open(path, "rb") as file:
            is_torch = file.read(2) in (b"PK", b"\x80\x02") or path.endswith((".pth", ".pt"))
        if is_torch:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        else:
            from safetensors.torch import load_file

            weights = load_file(path)
        for key in ("state_dict", "model", "model_state_dict"):
            if isinstance(weights.get(key), dict):
                weights = weights[key]
        return {key.removeprefix("module."): value for key, value in weights.items()}

    def _network(self, weights):
        matters = lambda key: not key.endswith("num_batches_tracked")
        shapes = {key: tuple(value.shape) for key, value in weights.items() if matters(key)}
        builds, modules = torch_networks(weights)
        for build in builds:
            with torch.device("meta"):
                wanted = {key: tuple(value.shape) for key, value in build().state_dict().items() if matters(key)}
            if wanted == shapes:
                network = build()
                kept = {key: value.float() for key, value in weights.items() if matters(key)}
                network.load_state_dict(kept, strict=False)
                return network.eval(), modules
        raise SystemExit("no network of torchvision or efficientnet_lite_pytorch has weights of these keys and shapes")

    def _run(self, pixels, kind):
        self.outputs.clear()
        x = torch.from_numpy(np.float64(pixels)).requires_grad_()
        order, mean, scale = self.preparation.order, self.preparation.mean, self.preparation.scale
        prepared = ((x - torch.from_numpy(mean)) * torch.from_numpy(scale))[..., order]
        try:
            self.network.to(kind)(prepared.to(kind).permute(2, 0, 1)[None])
        except RuntimeError:
            # The image is too small for what follows; what has run counts.
            if not self.outputs:
                raise
        return x

    def values(self, pixels):
        gradients = {name: [] for name in self.layers}
        arrays = {"input": pixels}
        # Of gradients the first are kept, with their digits; of activations what is usual. Roundings differ from program to program,
        # so an image must be good for some of 32 bits.
        still, *nudged = nudges(*pixels.shape[:2])
        ways = [(torch.float64, still), (torch.float32, still)] + [(torch.float32, nudge) for nudge in nudged]
        for kind, nudge in ways:
            x = self._run(pixels + nudge, kind)
            for name in self.layers:
                output = self._output(name)
                (gradient,) = torch.autograd.grad(output.square().mean(), x, retain_graph=True)
                gradients[name].append(gradient.numpy())
                if kind == torch.float32 and nudge is still:
                    arrays[name] = arranged(output.detach().numpy(), self.shapes[name], False)
        unsure = []
        for name, variants in gradients.items():
            if undecided(variants):
                unsure.append(name)
            elif variants[0].any():
                arrays[f"grad_l2_{name}"] = variants[0].astype(np.float32)
        return arrays, unsure
