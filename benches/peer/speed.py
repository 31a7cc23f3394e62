"""How long one dream takes on TensorFlow and on Reverie, in turn, and how close Reverie comes to the hardware's limit.

    speed.py GRAPH.pb IMAGE    # or: make bench

The dream is that of the 2015 notebook: `mixed4c`, `l2`, preset `deepdream`, 4 octaves of 10 iterations, tiles of 512,
with jitter; TensorFlow's in float32. Each program renders once per round, in a process of its own, and says how long the dream took
without starting up; TensorFlow has then done a step already. What counts are the ratios of a round: machines that are
rented differ from minute to minute.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PEER = Path(__file__).with_name("deepdream_tf.py")
DREAM = ["--layer", "mixed4c", "--objective", "l2", "--preset", "deepdream", "--tile-size", "512"]
DREAM += ["--octaves", "4", "--octave-scale", "1.4", "--iterations", "10"]
WAYS = {
    "Reverie": ("even", "fp32"),
    "Reverie, TensorFlow's walk": ("article", "fp32"),
    "Reverie, bfloat16": ("even", "bf16"),
}


def last_line(command):
    """The JSON that a program ends with."""
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def spread(values, unit=""):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.2f}{unit} ({low:.2f} to {high:.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", help="a frozen Inception GraphDef")
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--binary", default="target/release/reverie")
    args = parser.parse_args()
    peer, ours = [], {name: [] for name in WAYS}
    profiles = {precision: [] for _, precision in WAYS.values()}
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out.png")
        render = [args.binary, "render", args.image, "-o", out, "--model", args.graph, *DREAM, "--json"]
        for turn in range(args.rounds):
            peer.append(last_line([sys.executable, PEER, args.graph, "deepdream", args.image, out])["seconds"])
            for name, (walk, precision) in WAYS.items():
                way = ["--tiling", walk, "--precision", precision]
                ours[name].append(last_line([*render, *way])["render_seconds"])
            for precision, found in profiles.items():
                found.append(last_line([*render, "--precision", precision, "--profile"])["profile"])
            print(f"round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)
    print("| | one dream | share of TensorFlow's time |")
    print("|---|---|---|")
    print(f"| TensorFlow | {spread(peer, ' s')} | |")
    for name, times in ours.items():
        ratios = [mine / theirs for mine, theirs in zip(times, peer)]
        print(f"| {name} | {spread(times, ' s')} | {spread(ratios)} |")
    print(f"\nMedian of {args.rounds} rounds, in brackets the least and the most.\n")
    print("| precision | product of matrices, beside each dream | the dream | share |")
    print("|---|---:|---:|---|")
    for precision, found in profiles.items():
        reached = statistics.median(profile["flop"] / profile["seconds"] / 1e9 for profile in found)
        limit = statistics.median(profile["matrix_flops"] / 1e9 for profile in found)
        share = spread([profile["share_of_matrix_rate"] for profile in found])
        print(f"| {precision} | {limit:.0f} GFLOP/s | {reached:.0f} GFLOP/s | {share} |")


if __name__ == "__main__":
    main()
