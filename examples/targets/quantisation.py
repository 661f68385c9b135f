"""What each choice of int8 calibration costs, on any model: agreement with its own fp32 on pictures held out.

    python examples/targets/quantisation.py student.onnx --calibration runs/kitchen/calibration
    python examples/targets/quantisation.py student.onnx --simulated 128

No labels are needed. The figures of targets/README.md come from this script on FastDepth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from targets.calibrated import Calibrated, quantise
from targets.drift import measure_drift
from targets.encodings import S8, U8S8
from targets.graph import DepthGraph, body, read_graph
from targets.input import InputSpec
from targets.quantise import calibrate
from targets.ranges import activations, measure_ranges
from targets.reference import infer_model

Images = NDArray[np.uint8]


def simulated(count: int, spec: InputSpec) -> Images:
    from edgekd.simulate.rooms import RoomSettings, render

    settings = RoomSettings(spec.framing.resize_height or 240, 320)
    return np.stack([spec.framing.image(render(settings, 7, index).rgb) for index in range(count)])


def variants(graph: DepthGraph, images: Images) -> Iterator[tuple[str, Calibrated]]:
    """Everything as it is built, then each choice changed alone."""
    built = calibrate(graph, images, Quiet())
    yield f"as built; float: {', '.join(built.float_layers) or 'none'}", built
    yield "no layer left in float", replace(built, float_layers=())
    yield "no bias correction", replace(built, shifts={})
    yield "neither", replace(built, shifts={}, float_layers=())
    names = activations(built.model, body(built.model, U8S8.kinds))
    for kept in (1, 0.9999, 0.999):
        label = "ranges by extremes" if kept == 1 else f"ranges by {kept:.2%} of the values"
        yield label, replace(built, ranges=measure_ranges(built.model, images, names, Quiet(), kept))


def by_count(graph: DepthGraph, images: Images) -> Iterator[tuple[str, Calibrated]]:
    for count in (4, 8, 16, 32, 64):
        if count < len(images):
            yield f"the first {count} pictures", calibrate(graph, images[:count], Quiet())


def by_choice(graph: DepthGraph, images: Images, count: int = 24) -> Iterator[tuple[str, Calibrated]]:
    """Is choosing among the pictures better than taking any?"""
    for seed in range(3):
        chosen = np.random.default_rng(seed).permutation(len(images))[:count]
        yield f"{count} at random, seed {seed}", calibrate(graph, images[chosen], Quiet())
    brightness = np.argsort(images.mean(axis=(1, 2, 3)))
    yield f"{count} over brightness", calibrate(graph, images[_spread(brightness, count)], Quiet())
    depth = np.argsort(infer_model(graph.model, images).mean(axis=(1, 2)))
    yield f"{count} over depth", calibrate(graph, images[_spread(depth, count)], Quiet())


def by_kind(graph: DepthGraph, images: Images) -> Iterator[tuple[str, Calibrated]]:
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    yield "random noise", calibrate(graph, noise, Quiet())


def _spread(order: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    return order[np.linspace(0, len(order) - 1, count).round().astype(int)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, help="a calibration set")
    parser.add_argument("--simulated", type=int, default=128, help="render so many pictures where no set is given")
    arguments = parser.parse_args()
    graph = read_graph(arguments.model)
    if arguments.calibration:
        images, held_out = CalibrationSet.open(arguments.calibration).split()
    else:
        pictures = simulated(arguments.simulated, graph.input)
        # Rooms are rendered four views at a time: the last quarter shows rooms that the others do not.
        images, held_out = pictures[: -len(pictures) // 4], pictures[-len(pictures) // 4 :]
    reference = infer_model(graph.model, held_out)
    print("| choice | U8S8 within 5 % / 1 % | scale | S8 within 5 % / 1 % | scale |")
    print("| --- | --- | --- | --- | --- |")
    for rows in (variants, by_count, by_choice, by_kind):
        for label, calibrated in rows(graph, images):
            cells = []
            for encoding in (U8S8, S8):
                drift = measure_drift(infer_model(quantise(calibrated, encoding), held_out), reference)
                cells += [f"{drift.within_5:.3f} / {drift.within_1:.3f}", f"{drift.scale_ratio:.3f}"]
            print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
