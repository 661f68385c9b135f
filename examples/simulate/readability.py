"""Do simulated rooms look like rooms to a teacher that was trained on real ones (FastDepth, NYU Depth v2)?

    python examples/simulate/readability.py [LOOK] [COUNT] [--teacher fastdepth]

Prints delta1 (share of pixels within a factor of 1.25 of the true depth; per picture, then averaged), raw and with each
picture's median corrected, and how the depths are spread.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from calibration.script import run_script
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.teachers import load_teacher
from edgekd.simulate.looks import LOOKS
from edgekd.simulate.rooms import RoomSettings, render

_SEED = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("look", nargs="?", default="simulated", choices=LOOKS)
    parser.add_argument("count", nargs="?", type=int, default=500)
    parser.add_argument("--teacher", default="fastdepth")
    asked = parser.parse_args()
    if asked.count < 1:
        parser.error("at least 1 picture is needed")
    teacher = load_teacher(asked.teacher)
    normalise, framing = Normalise(teacher.input), teacher.input.framing
    settings = RoomSettings(look=asked.look, views_per_room=1)
    raw, aligned, ratios, medians = [], [], [], []
    for index in range(asked.count):
        image = render(settings, _SEED, index)
        assert image.depth is not None
        picture = to_tensor(framing.image(image.rgb)[None], torch.device("cpu"))
        with torch.no_grad():
            predicted = teacher.module(normalise(picture))[0, 0].numpy()
        truth = framing.nearest(image.depth)
        ratio = float(np.median(truth) / np.median(predicted))
        raw.append(_delta1(predicted, truth))
        aligned.append(_delta1(predicted * ratio, truth))
        ratios.append(1 / ratio)
        medians.append(float(np.median(truth)))
    print(
        f"{teacher.name} on {asked.look}, {asked.count} pictures of seed {_SEED}: "
        f"delta1 {np.mean(raw):.3f} raw, {np.mean(aligned):.3f} median-scaled"
    )
    print(f"predicted / true median: {_spread(ratios)}; true median depth: {_spread(medians)} m")


def _delta1(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(((predicted < 1.25 * truth) & (truth < 1.25 * predicted)).mean())


def _spread(values: list[float]) -> str:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    run_script(main)
