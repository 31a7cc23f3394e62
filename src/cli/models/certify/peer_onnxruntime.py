"""ONNX Runtime, for ONNX files: every layer as an output of the graph.

It does not differentiate. Slopes are central differences of onnx's reference evaluator in 64 bits, of layers whose values there are ONNX
Runtime's to 1e-4. That evaluator would take minutes for convolutions and poolings, which are views and products of matrices here.
"""

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from peer_common import Preparation, arranged, nudges, undecided

# Directions of a slope, and how far along them the differences are taken, in pixel values.
DIRECTIONS, STEP = 8, 1e-5
# What 64 and 32 bits of one network may differ by, of the largest value.
SAME = 1e-4


def windows(x, kernel, strides, dilations, pads, value):
    """[n, c, h, w] as [n, c, rows, columns, *kernel]; pads are above, left, below, right."""
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, (2, 3))
    return view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def padding(extents, kernel, strides, dilations, auto_pad, pads, ceil):
    """ONNX's four numbers, and with them what a last window of `ceil` reaches beyond."""
    before, after, beyond = [], [], []
    for axis, n in enumerate(extents):
        reach, stride = (kernel[axis] - 1) * dilations[axis] + 1, strides[axis]
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-n // stride) - 1) * stride + reach - n, 0)
            first = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            last = total - first
        else:
            first, last = (pads[axis], pads[axis + 2]) if pads and auto_pad != "VALID" else (0, 0)
        before.append(first)
        after.append(last)
        more = 0
        if ceil:
            steps = -(-(n + first + last - reach) // stride)
            if steps * stride >= n + first:
                steps -= 1
            more = max(steps * stride + reach - (n + first + last), 0)
        beyond.append(more)
    return before + after, beyond


def settings(x, kernel, auto_pad, dilations, pads, strides, ceil=False):
    strides, dilations = list(strides or [1, 1]), list(dilations or [1, 1])
    pads, beyond = padding(x.shape[2:], kernel, strides, dilations, auto_pad, pads, ceil)
    return strides, dilations, pads, beyond


class Conv(OpRun):
    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None, pads=None, strides=None):
        strides, dilations, pads, _ = settings(x, w.shape[2:], auto_pad, dilations, pads, strides)
        view = windows(x, w.shape[2:], strides, dilations, pads, 0)
        group, inner = group or 1, w.shape[1]
        outer = w.shape[0] // group
        if inner == 1:
            y = np.einsum("nghwij,gmij->ngmhw", view, w.reshape(group, outer, *w.shape[2:]), optimize=True)
            y = y.reshape(y.shape[0], -1, *y.shape[3:])
        else:
            parts = []
            for g in range(group):
                part = view[:, g * inner : (g + 1) * inner]
                product = np.tensordot(part, w[g * outer : (g + 1) * outer], ([1, 4, 5], [1, 2, 3]))
                parts.append(product.transpose(0, 3, 1, 2))
            y = np.concatenate(parts, 1)
        return (y if b is None else y + b.reshape(1, -1, 1, 1),)


class MaxPool(OpRun):
    def _run(self, x, auto_pad=None, ceil_mode=None, dilations=None, kernel_shape=None, pads=None, storage_order=None, strides=None):
        strides, dilations, pads, beyond = settings(x, kernel_shape, auto_pad, dilations, pads, strides, ceil_mode)
        pads = [pads[0], pads[1], pads[2] + beyond[0], pads[3] + beyond[1]]
        return (windows(x, kernel_shape, strides, dilations, pads, -np.inf).max((4, 5)),)


class AveragePool(OpRun):
    def _run(self, x, auto_pad=None, ceil_mode=None, count_include_pad=None, dilations=None, kernel_shape=None, pads=None, strides=None):
        strides, dilations, pads, beyond = settings(x, kernel_shape, auto_pad, dilations, pads, strides, ceil_mode)
        inside = np.ones((1, 1, *x.shape[2:]))
        top, left, bottom, right = pads
        counted = np.pad(inside, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=float(bool(count_include_pad)))
        counted = np.pad(counted, ((0, 0), (0, 0), (0, beyond[0]), (0, beyond[1])))
        pads = [top, left, bottom + beyond[0], right + beyond[1]]
        total = windows(x, kernel_shape, strides, dilations, pads, 0).sum((4, 5))
        return (total / windows(counted, kernel_shape, strides, dilations, [0] * 4, 0).sum((4, 5)),)


class BatchNormalization(OpRun):
    """Of every version: the evaluator's own of the newest would take the statistics for 32 bits."""

    def _run(self, x, scale, bias, mean, variance, epsilon=None, momentum=None, training_mode=None, spatial=None, is_test=None):
        factor = scale / np.sqrt(variance + (1e-5 if epsilon is None else epsilon))
        shape = [1, -1] + [1] * (x.ndim - 2)
        return ((x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape),)


class LRN(OpRun):
    """The evaluator's own takes five channels for all."""

    def _run(self, x, alpha=None, beta=None, bias=None, size=None):
        around = ((size - 1) // 2, size // 2)
        squares = np.pad(x * x, ((0, 0), around, (0, 0), (0, 0)))
        total = np.lib.stride_tricks.sliding_window_view(squares, size, 1).sum(-1)
        return (x / (bias + alpha / size * total) ** beta,)


OPERATIONS = [Conv, MaxPool, AveragePool, BatchNormalization, LRN]
for operation in OPERATIONS:
    operation.op_domain = ""


class Peer:
    def __init__(self, request):
        model = onnx.load(request["model"])
        half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
        if half.intersection(weight.data_type for weight in model.graph.initializer):
            raise SystemExit("its weights are in half precision, and ONNX Runtime computes in it: certify the file that it was made from")
        made = {name for node in model.graph.node for name in node.output}
        self.layers = [name for name in request["layers"] if name in made]
        self.absent = [name for name in request["layers"] if name not in made]
        self.preparation, self.shapes = Preparation(request), request["layers"]
        self._cut(model.graph, request)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        self._widen(model.graph)
        self.evaluator = ReferenceEvaluator(model, new_ops=OPERATIONS)

    def _cut(self, graph, request):
        """Leaves what the layers need, for an image of any size."""
        needed, kept = set(self.layers), []
        for node in reversed(graph.node):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        kept.reverse()
        weights = [weight for weight in graph.initializer if weight.name in needed]
        self.input = request["input"]
        (image,) = [value for value in graph.input if value.name == self.input]
        dims = image.type.tensor_type.shape.dim
        self.channels_last = len(dims) == 4 and dims[3].dim_value == 3 and dims[1].dim_value != 3
        kind = image.type.tensor_type.elem_type
        self.kind = np.float64 if kind == onnx.TensorProto.DOUBLE else np.float32
        image = onnx.helper.make_tensor_value_info(self.input, kind, [None] * 4)
        for field, values in [
            ("node", [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]),
            ("initializer", [onnx.TensorProto.FromString(weight.SerializeToString()) for weight in weights]),
            ("input", [image]),
            ("output", [onnx.helper.make_empty_tensor_value_info(name) for name in self.layers]),
            ("value_info", []),
        ]:
            graph.ClearField(field)
            getattr(graph, field).extend(values)

    @staticmethod
    def _widen(graph):
        """Takes floats of 32 bits for such of 64."""
        single, double = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE

        def wide(tensor):
            if tensor.data_type == single:
                name = tensor.name
                tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float64), name))

        for weight in graph.initializer:
            wide(weight)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    wide(attribute.t)
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                    attribute.i = double

    def _feed(self, pixels, kind):
        prepared = self.preparation.forward(pixels).astype(kind)
        return {self.input: (prepared if self.channels_last else prepared.transpose(2, 0, 1))[None]}

    def _squares(self, pixels):
        """The mean of each layer's squares, in 64 bits."""
        values = self.evaluator.run(None, self._feed(pixels, np.float64))
        return np.array([np.mean(np.square(value, dtype=np.float64)) for value in values])

    def values(self, pixels):
        activations = dict(zip(self.layers, self.session.run(self.layers, self._feed(pixels, self.kind))))
        arrays = {"input": pixels}
        for name, value in activations.items():
            # The shape that Reverie says tells maps from rows; a layer behind a transposition has its channels last in the file.
            last = value.ndim == 4 and list(value.shape[1:]) == self.shapes[name] and value.shape[1] != self.shapes[name][2]
            arrays[name] = arranged(value, self.shapes[name], last)
        wide = self.evaluator.run(None, self._feed(pixels, np.float64))
        exact = [np.abs(a - activations[n]).max() <= SAME * np.abs(a).max() for n, a in zip(self.layers, wide)]
        directions = np.random.RandomState(2).choice([-1.0, 1.0], (DIRECTIONS, *pixels.shape))
        variants = []
        for nudge in nudges(*pixels.shape[:2]):
            base = pixels + nudge
            ends = [[self._squares(base + sign * STEP * way) for sign in (1, -1)] for way in directions]
            variants.append(np.array([(ahead - behind) / (2 * STEP) for ahead, behind in ends]))
        unsure = []
        arrays["directions"] = directions.astype(np.float32)
        for index, name in enumerate(self.layers):
            slopes = [variant[:, index] for variant in variants]
            if exact[index] and not undecided(slopes):
                if slopes[0].any():
                    arrays[f"slope_l2_{name}"] = slopes[0].astype(np.float32)
            else:
                unsure.append(name)
        return arrays, unsure
