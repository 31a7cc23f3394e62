"""Makes the reference of `reverie models certify`: what the framework that a model file comes from computes, layer by layer.

    python reference.py REQUEST.json OUT.npz

The program carries this script and those beside it, and runs it with packages of its own (mod.rs). REQUEST names the peer, the
file, the preprocessing, the size of the image and the layers with their shapes, `[height, width, channels]` or `[features]`. OUT has
what crates/engine/src/verify.rs reads: `input`, each layer's activations under its name, and the gradient of the mean of its
squares with respect to the pixels: all of it (`grad_l2_LAYER`) from TensorFlow and PyTorch, which differentiate; from ONNX
Runtime, which does not, its derivatives along `directions` (`slope_l2_LAYER`), as central differences in 64 bits.

A network of ReLUs and maxima has kinks, where the last digit decides which side's derivative is computed. An image on which
that happens proves nothing, so several are tried, and a layer whose gradient stays undecided on the best of them is named in
the line of JSON that this script ends with: {"undecided": [...], "absent": [...]}.
"""

import json
import sys
from importlib import import_module

import numpy as np

from peer_common import dithered

# Images that are tried.
TRIES = 6


def main(request_path, out):
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    peer = import_module(f"peer_{request['peer']}").Peer(request)
    if not peer.layers:
        raise SystemExit("the framework has none of the layers")
    best = None
    for seed in range(TRIES):
        found = peer.values(dithered(request["height"], request["width"], seed))
        if best is None or len(found[1]) < len(best[1]):
            best = found
        if not best[1]:
            break
    arrays, unsure = best
    np.savez_compressed(out, **{name: np.ascontiguousarray(value, np.float32) for name, value in arrays.items()})
    print(json.dumps({"undecided": unsure, "absent": peer.absent}))


if __name__ == "__main__":
    main(*sys.argv[1:])
