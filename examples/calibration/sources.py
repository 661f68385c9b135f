"""What difference the calibration pictures make to int8: the table in calibration/README.md.

    edgekd calibrate --teacher fastdepth            # or edgekd distill: makes the model, its transformation and its set
    python examples/calibration/sources.py runs/fastdepth --pairs PAIRS/index.csv --scene 7scenes --same-place FOLDER

Calibrates the same model in the same way on every source of pictures. On real frames, which are used only to measure,
it compares the depth of each int8 model with the model's own fp32 depth, without alignment, and with the frames' depth
(delta1, 0.1-10 m). FOLDER holds pictures of the same place as SCENE, none of them in PAIRS. Measured on the frames of
SCENE, FOLDER is "the same place" and the other frames of PAIRS are "another place"; measured on those other frames,
FOLDER is "another place".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pictures import Images, framed, simulated_kinds
from runtimes import RUNTIMES
from without_pictures import calibrate_without_pictures

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.evaluate import open_dataset
from edgekd.evaluate.datasets.frame import frame_all
from edgekd.evaluate.metrics import score
from edgekd.pictures import list_pictures
from edgekd.run import find_run
from edgekd.steps.artefacts import run_model
from targets.calibrated import Calibrated
from targets.drift import measure_drift
from targets.graph import DepthGraph, read_graph
from targets.quantise import calibrate
from targets.reference import infer_model

Depth = NDArray[np.float32]
Source = tuple[str, Callable[[], Calibrated]]


def sources(graph: DepthGraph, run: Path, count: int) -> Iterator[Source]:
    """All but the real frames."""

    def of(images: Images) -> Callable[[], Calibrated]:
        return lambda: calibrate(graph, images, Quiet())

    noise = np.random.default_rng(0).integers(0, 256, (count, graph.input.height, graph.input.width, 3), np.uint8)
    yield "no pictures", lambda: calibrate_without_pictures(graph)
    yield "noise", of(noise)
    yield "one random array", of(noise[:1])
    for kind, images in simulated_kinds(graph, run, count).items():
        yield kind, of(images)
    yield "the run's own set", of(np.asarray(CalibrationSet.open(run / "calibration").split()[0]))


@dataclass(frozen=True)
class Frames:
    """Real frames to measure on, and what was measured."""

    title: str
    images: Images
    truth: Depth
    expected: Depth  # the model's own, in float
    rows: list[str] = field(default_factory=list)

    def measure(self, label: str, calibrated: Calibrated) -> None:
        before = delta1(self.expected, self.truth)
        for runtime, infer in RUNTIMES.items():
            depth = infer(calibrated, self.images)
            drift = measure_drift(depth, self.expected)
            figures = f"{drift.within_5:.3f} / {drift.within_1:.3f} | {drift.abs_rel:.4f} | {drift.scale_ratio:.4f}"
            change = delta1(depth, self.truth) - before
            self.rows.append(f"| {label} | {runtime} | {figures} | {drift.abs_rel_edges:.4f} | {change:+.4f} |")

    def show(self) -> None:
        print(f"\n{self.title}; fp32: delta1 {delta1(self.expected, self.truth):.3f}\n")
        print("| calibrated on | read by | within 5 % / 1 % | AbsRel drift | scale | edges | delta1 against fp32's |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        print("\n".join(self.rows), flush=True)


def delta1(depth: Depth, truth: Depth) -> float:
    return float(np.mean([score(d, t)["delta1"] for d, t in zip(depth, truth, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of edgekd calibrate or distill, with its transformation")
    parser.add_argument("--pairs", required=True, help="index.csv of RGB-D frames to measure on")
    parser.add_argument("--scene", required=True, help="the scene of PAIRS that FOLDER shows")
    parser.add_argument("--same-place", type=Path, required=True, help="pictures of that scene, none of them in PAIRS")
    parser.add_argument("--count", type=int, default=64, help="pictures from each source")
    arguments = parser.parse_args()
    run = find_run(arguments.run, Quiet())
    graph = read_graph(run_model(run))
    data = open_dataset(arguments.pairs)
    frames = [data[index] for index in range(len(data))]
    scenes = sorted({frame.scene for frame in frames})
    if arguments.scene not in scenes:
        parser.error(f"{arguments.pairs} has no scene {arguments.scene}, but {', '.join(scenes)}")
    framing = graph.input.framing
    same_place = framed(framing, list_pictures(arguments.same_place)[: arguments.count])

    def measured(inside: bool) -> Frames:
        chosen = [frame for frame in frames if (frame.scene == arguments.scene) is inside]
        images, truth = frame_all(chosen, framing)
        title = f"{len(chosen)} frames of {', '.join(sorted({frame.scene for frame in chosen}))}"
        return Frames(title, images, truth, infer_model(graph.model, images))

    here, elsewhere = measured(inside=True), measured(inside=False)
    for label, make in sources(graph, run.folder, arguments.count):
        print(label, file=sys.stderr)
        calibrated = make()
        for place in (here, elsewhere):
            place.measure(label, calibrated)
    here.measure("real, another place", calibrate(graph, elsewhere.images, Quiet()))
    calibrated = calibrate(graph, same_place, Quiet())
    here.measure("real, the same place", calibrated)
    elsewhere.measure("real, another place", calibrated)
    print(f"{graph.path}, {arguments.count} pictures of each source")
    here.show()
    elsewhere.show()


if __name__ == "__main__":
    run_script(main)
