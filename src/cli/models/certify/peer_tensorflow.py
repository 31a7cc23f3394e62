"""TensorFlow, for frozen graphs, in graph mode."""

import numpy as np
import tensorflow as tf

from peer_common import Preparation, arranged, nudges, undecided

tf1 = tf.compat.v1
tf1.disable_eager_execution()


class Peer:
    """One gradient graph serves all layers, a weight chooses among them."""

    def __init__(self, request):
        self.preparation, self.shapes = Preparation(request), request["layers"]
        definition = tf1.GraphDef()
        with open(request["model"], "rb") as file:
            definition.ParseFromString(file.read())
        known = {node.name for node in definition.node}
        self.layers = [name for name in request["layers"] if name in known]
        self.absent = [name for name in request["layers"] if name not in known]
        graph = tf.Graph()
        with graph.as_default():
            self.image = tf1.placeholder(tf.float32, (1, None, None, 3))
            tf1.import_graph_def(definition, {f"{request['input']}:0": self.image}, name="net")
            self.tensors = [graph.get_tensor_by_name(f"net/{name}:0") for name in self.layers]
            self.choice = tf1.placeholder(tf.float32, (len(self.layers),))
            squares = tf.stack([tf.reduce_mean(tf.square(tensor)) for tensor in self.tensors])
            (self.gradient,) = tf.gradients(tf.reduce_sum(squares * self.choice), self.image)
        self.session = tf1.Session(graph=graph)

    def values(self, pixels):
        feed = lambda image: {self.image: self.preparation.forward(image).astype(np.float32)[None]}
        arrays = {"input": pixels}
        for name, value in zip(self.layers, self.session.run(self.tensors, feed(pixels))):
            arrays[name] = arranged(value, self.shapes[name], True)
        unsure, choices = [], np.eye(len(self.layers), dtype=np.float32)
        for name, choice in zip(self.layers, choices):
            variants = []
            for nudge in nudges(*pixels.shape[:2]):
                gradient = self.session.run(self.gradient, feed(pixels + nudge) | {self.choice: choice})[0]
                variants.append(self.preparation.back(gradient))
            if undecided(variants):
                unsure.append(name)
            elif variants[0].any():
                arrays[f"grad_l2_{name}"] = variants[0].astype(np.float32)
        return arrays, unsure
