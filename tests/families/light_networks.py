"""The nine light networks that the package `onnx` has to test others with, and the outputs that it expects of them: NAME.onnx.

    python light_networks.py FOLDER

See common.py. Every weight of these networks is one value repeated, so that a file of some kilobytes stands for up to half a gigabyte;
what they expect are classes that are all alike. So layers between are compared, too, with what ONNX Runtime computes for an image.
NAME.toml says that pixels go in as they are.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.backend.test.runner import Runner

from common import hand_over, image, save

FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
PLAIN = "[preprocessing]\nmean = 0\ndeviation = 1\n"

# What is compared between: outputs of these operations, so many from the first to the last.
KINDS = {"Conv", "Relu", "MaxPool", "AveragePool", "Concat", "Sum", "LRN", "Mul", "Add"}
LAYERS = 8


def run(model, layers, pixels):
    for layer in layers:
        if layer not in [output.name for output in model.graph.output]:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(layer))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    (given,) = [given.name for given in session.get_inputs() if given.name not in {weight.name for weight in model.graph.initializer}]
    values = session.run(layers, {given: pixels.transpose(2, 0, 1)[None]})
    return dict(zip(layers, values))


def arranged(value):
    if value.ndim == 4:
        return value[0].transpose(1, 2, 0)
    return value[0]


def main(folder):
    for path in sorted(FOLDER.glob("*.onnx")):
        name, model = path.stem, onnx.load(path)
        weights = {weight.name for weight in model.graph.initializer}
        (given,) = [given for given in model.graph.input if given.name not in weights]
        (output,) = [output.name for output in model.graph.output]
        expected = onnx.numpy_helper.to_array(onnx.load_tensor(FOLDER / f"{name}_output_0.pb"))
        pixels = Runner.generate_dummy_data(given)[0].transpose(1, 2, 0)
        for part in (name, f"{name}_layers"):
            if part == name:
                arrays = {"input": pixels, output: arranged(expected)}
            else:
                pixels = image(*pixels.shape[:2], 0)
                layers = [node.output[0] for node in model.graph.node if node.op_type in KINDS]
                places = np.linspace(0, len(layers) - 1, LAYERS).round().astype(int)
                layers = list(dict.fromkeys(layers[place] for place in places))
                found = {layer: arranged(value) for layer, value in run(model, layers, pixels).items()}
                arrays = {"input": pixels} | found
            (Path(folder) / f"{part}.onnx").write_bytes(path.read_bytes())
            (Path(folder) / f"{part}.toml").write_text(PLAIN)
            save(folder, part, arrays)
            hand_over(part)


if __name__ == "__main__":
    main(sys.argv[1])
