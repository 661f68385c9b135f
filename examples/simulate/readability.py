"""Do simulated rooms look like rooms? A teacher trained on real ones (FastDepth, NYU Depth v2) reads them.

    EDGEKD_SHARED=FOLDER python examples/simulate/readability.py [LOOK] [COUNT]

FOLDER holds teachers/fastdepth/fastdepth_7.onnx. Prints delta1 (share of pixels within 25 % of the true depth; per
picture, then averaged) as it is and with each picture's median put right, and how the depths are spread.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from edgekd.simulate.rooms import RoomSettings, render
from targets.input import Framing


def main(look: str = "simulated", count: int = 500) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    model = Path(os.environ["EDGEKD_SHARED"]) / "teachers/fastdepth/fastdepth_7.onnx"
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    framing = Framing(224, 224, resize_height=250, crop=(228, 304))
    settings = RoomSettings(look=look, views_per_room=1)
    raw, aligned, ratios, medians = [], [], [], []
    for index in range(count):
        image = render(settings, 20_000, index)
        assert image.depth is not None
        picture = framing.image(image.rgb).astype(np.float32) / 255
        (depth,) = session.run(None, {name: picture.transpose(2, 0, 1)[None]})
        predicted, truth = depth[0, 0], framing.nearest(image.depth)
        ratio = float(np.median(truth) / np.median(predicted))
        raw.append(_delta1(predicted, truth))
        aligned.append(_delta1(predicted * ratio, truth))
        ratios.append(1 / ratio)
        medians.append(float(np.median(truth)))
    print(f"{look}, {count} pictures: delta1 {np.mean(raw):.3f} raw, {np.mean(aligned):.3f} median-scaled")
    print(f"predicted / true median: {_spread(ratios)}; true median depth: {_spread(medians)} m")


def _delta1(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(((predicted < 1.25 * truth) & (truth < 1.25 * predicted)).mean())


def _spread(values: list[float]) -> str:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(value) for value in sys.argv[2:3]))
