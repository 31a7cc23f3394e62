"""Keras' networks with random weights, frozen: keras_NAME.pb.

    python keras_networks.py FOLDER

See common.py. The weights are those that the networks are made with, but for normalisations, which would do nothing, and have the
statistics of some images.
"""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from common import hand_over, image, save, without_kinks

tf1 = tf.compat.v1

# Name, network, size of the image.
NETWORKS = [
    ("mobilenet", "MobileNet", (40, 48)),
    ("mobilenet_v2", "MobileNetV2", (40, 48)),
    ("inception_v3", "InceptionV3", (91, 83)),
    ("resnet50_v2", "ResNet50V2", (40, 48)),
    ("densenet121", "DenseNet121", (40, 48)),
    ("vgg16", "VGG16", (40, 48)),
    ("efficientnet_b0", "EfficientNetB0", (40, 48)),
]

# What is compared: maps that these operations give, so many from the first to the last, and the classes. Those inside a normalisation
# are no layers in Reverie.
KINDS = {"Relu", "Relu6", "AddV2", "ConcatV2", "MaxPool", "AvgPool", "IdentityN"}
LAYERS = 10

# A pixel as graphs of TensorFlow see it in Reverie.
MEAN = 117.0


def frozen(name, size):
    tf.keras.utils.set_random_seed(len(name))
    network = getattr(tf.keras.applications, name)(weights=None, input_shape=(*size, 3))
    random = np.random.RandomState(1)
    norms = [layer for layer in network.layers if isinstance(layer, tf.keras.layers.BatchNormalization)]
    for norm in norms:
        *factors, offset, mean, variance = norm.get_weights()
        factors = [random.uniform(0.7, 1.3, factor.shape) for factor in factors]
        norm.set_weights([*factors, random.uniform(-0.2, 0.2, offset.shape), mean, variance])
        norm.momentum = 0.0
    if norms:
        # Their statistics are those of some images, so that what an image says gets through.
        network(np.stack([image(*size, seed) for seed in range(100, 116)]) - MEAN, training=True)
        for norm in norms:
            # Doubled, as a hundred layers of full strength make much of each rounding; and a channel that hardly varies in a map of few
            # positions is not blown up.
            *others, variance = norm.get_weights()
            norm.set_weights([*others, 2 * np.maximum(variance, variance.mean() / 2)])
    call = tf.function(lambda image: network(image, training=False))
    concrete = call.get_concrete_function(tf.TensorSpec((1, *size, 3), tf.float32, name="image"))
    return convert_variables_to_constants_v2(concrete).graph.as_graph_def()


def double(definition):
    """The graph in 64 bits."""
    wide = tf1.GraphDef()
    wide.CopyFrom(definition)
    single, to = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum
    for node in wide.node:
        for attribute in node.attr.values():
            kind = attribute.WhichOneof("value")
            if kind == "type" and attribute.type == single:
                attribute.type = to
            elif kind == "list":
                attribute.list.type[:] = [to if each == single else each for each in attribute.list.type]
        if node.op == "Const" and node.attr["value"].tensor.dtype == single:
            values = tf.make_ndarray(node.attr["value"].tensor).astype(np.float64)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    return wide


def differentiable(definition):
    """Without the names of derivatives that only the program knows that made the graph: those of the operations give the same."""
    for node in definition.node:
        node.attr.pop("_gradient_op_type", None)
    return definition


class Graph:
    """The graph as it runs, in 64 bits: layers and the gradient of one of them."""

    def __init__(self, definition, layers, objective):
        graph = tf.Graph()
        with graph.as_default():
            self.image = tf1.placeholder(tf.float64, (1, None, None, 3))
            tf1.import_graph_def(definition, {"image:0": self.image}, name="net")
            self.layers = [graph.get_tensor_by_name(f"net/{layer}:0") for layer in layers]
            tensor = graph.get_tensor_by_name(f"net/{objective}:0")
            (self.gradient,) = tf.gradients(tf.reduce_mean(tf.square(tensor)), self.image)
        self.objective, self.session = objective, tf1.Session(graph=graph)

    def _feed(self, pixels):
        return {self.image: pixels[None].astype(np.float64) - MEAN}

    def activations(self, pixels):
        return self.session.run(self.layers, self._feed(pixels))

    def gradients(self, pixels):
        return {self.objective: self.session.run(self.gradient, self._feed(pixels))[0]}


def main(folder):
    for name, network, size in NETWORKS:
        definition = frozen(network, size)
        with tf.Graph().as_default() as graph:
            tf1.import_graph_def(definition, name="")
            maps = [
                operation.name
                for operation in graph.get_operations()
                if operation.type in KINDS and operation.outputs[0].shape.rank == 4 and "/batchnorm/" not in operation.name
            ]
            (classes,) = [operation.name for operation in graph.get_operations() if operation.type == "Softmax"]
        places = np.linspace(0, len(maps) - 1, LAYERS).round().astype(int)
        layers = [*dict.fromkeys(maps[place] for place in places), classes]
        objective = maps[len(maps) // 2]
        file = definition.SerializeToString()
        definition = differentiable(definition)
        graph = Graph(double(definition), layers, objective)
        pixels, gradients = without_kinks(name, *size, graph.gradients)
        activations = {layer: value[0] for layer, value in zip(layers, graph.activations(pixels))}
        (Path(folder) / f"keras_{name}.pb").write_bytes(file)
        save(folder, f"keras_{name}", {"input": pixels} | activations | gradients)
        hand_over(f"keras_{name}")


if __name__ == "__main__":
    main(sys.argv[1])
