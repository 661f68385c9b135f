"""How many pictures int8 needs, and whether choosing them helps, with what `edgekd check` says about each set.

    python examples/calibration/how_many.py runs/fastdepth

Agreement with the model's own fp32 is measured on simulated rooms of the photographed look. A set is judged by its
worst layer: how much the range grows from half of the set to all of it (growth), and what share of values the stored
statistics expect beyond the range.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pictures import Images, rooms

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.run import find_run
from edgekd.steps.artefacts import run_model
from targets.calibrated import infer_quantised
from targets.coverage import measure_layers
from targets.drift import measure_drift
from targets.encodings import S8, U8S8
from targets.graph import read_graph
from targets.quantise import calibrate
from targets.reference import infer_model

CHOSEN = 24


def choices(images: Images, depth: NDArray[np.float32]) -> Iterator[tuple[str, Images]]:
    for count in (4, 8, 16, 32, 64):
        for seed in range(2):
            yield (
                f"{count} at random, seed {seed}",
                images[np.random.default_rng(seed).permutation(len(images))[:count]],
            )
    yield f"all {len(images)}", images
    for seed in range(3):
        yield f"{CHOSEN} at random, seed {seed}", images[np.random.default_rng(seed).permutation(len(images))[:CHOSEN]]
    for what, values in (("brightness", images), ("depth", depth)):
        order = np.argsort(values.reshape(len(values), -1).mean(axis=1))
        yield f"{CHOSEN} over {what}", images[order[np.linspace(0, len(order) - 1, CHOSEN).round().astype(int)]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of edgekd calibrate or distill")
    arguments = parser.parse_args()
    run = find_run(arguments.run, Quiet())
    graph = read_graph(run_model(run))
    images, held_out = (np.asarray(part) for part in CalibrationSet.open(run.folder / "calibration").split())
    shown = rooms(graph.input.framing, 32, "photographed")[0]
    expected = infer_model(graph.model, shown)
    print("| calibrated on | U8S8 within 5 % / 1 % | S8 within 5 % / 1 % | growth | expected beyond | weak layers |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for label, chosen in choices(images, infer_model(graph.model, images)):
        calibrated = calibrate(graph, chosen, Quiet())
        cells = []
        for encoding in (U8S8, S8):
            drift = measure_drift(infer_quantised(calibrated, encoding, shown), expected)
            cells.append(f"{drift.within_5:.3f} / {drift.within_1:.3f}")
        layers = measure_layers(graph, chosen, held_out, Quiet())
        cells.append(f"{max(layer.growth for layer in layers):.2f}")
        cells.append(f"{max(layer.expected or 0 for layer in layers):.0e}")
        cells.append(str(sum(bool(layer.weaknesses) for layer in layers)))
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    run_script(main)
