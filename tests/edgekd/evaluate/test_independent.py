"""Evaluation from pictures to figures, against another implementation on the same arrays.

That one follows the field's evaluation scripts (one function per data set, masks and crops by hand), resamples with
SciPy and aligns with NumPy's least squares; it shares nothing with `edgekd.evaluate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from calibration.progress import Quiet
from edgekd.evaluate import DepthFrame, evaluate, get_protocol
from targets.input import Framing, InputSpec

CROPS = {  # rows and columns for a truth of this size, from the authors' code
    "nyu-eigen": lambda h, w: (45, 471, 41, 601),
    "kitti-garg": lambda h, w: tuple(
        np.array([0.40810811 * h, 0.99189189 * h, 0.03594771 * w, 0.96405229 * w]).astype(np.int32)
    ),
    "kitti-eigen": lambda h, w: tuple(
        np.array([0.3324324 * h, 0.91351351 * h, 0.0359477 * w, 0.96405229 * w]).astype(np.int32)
    ),
}
RANGES = {"nyu-eigen": (1e-3, 10), "kitti-garg": (1e-3, 80), "kitti-eigen": (1e-3, 80), "scannet": (0, 6)}


@dataclass
class Rooms:
    """Truths with holes; the picture holds only the number of the frame."""

    truths: list[NDArray[np.float32]]
    name: str = "rooms"
    note: str = ""
    digest: str = "d"

    def __len__(self) -> int:
        return len(self.truths)

    def __getitem__(self, index: int) -> DepthFrame:
        truth = self.truths[index]
        return DepthFrame(np.full((*truth.shape, 3), index, np.uint8), truth, f"scene {index % 3}", str(index))


def make(height: int, width: int, farthest: float, net: tuple[int, int]) -> tuple[Rooms, list[NDArray[np.float32]]]:
    generator = np.random.default_rng(4)
    truths, predictions = [], []
    for _ in range(4):
        coarse = generator.uniform(0.3, 1.1 * farthest, (7, 9)).astype(np.float32)
        truth = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        truth[generator.uniform(size=truth.shape) < 0.3] = 0
        guess = np.array(Image.fromarray(coarse).resize(net[::-1], Image.Resampling.BICUBIC))
        noise = generator.lognormal(0.1, 0.2, net)
        truths.append(truth.astype(np.float32))
        predictions.append(np.maximum(guess * noise, 0.05).astype(np.float32))
    return Rooms(truths), predictions


def errors(truth: NDArray[np.float64], guess: NDArray[np.float64]) -> dict[str, float]:
    ratio = np.maximum(truth / guess, guess / truth)
    log = np.log(guess) - np.log(truth)
    return {
        "absrel": np.mean(np.abs(truth - guess) / truth),
        "rmse": np.sqrt(((truth - guess) ** 2).mean()),
        "log10": np.mean(np.abs(np.log10(guess / truth))),
        "silog": 100 * np.sqrt(np.mean(log**2) - np.mean(log) ** 2),
        "delta1": (ratio < 1.25).mean(),
        "delta2": (ratio < 1.25**2).mean(),
        "delta3": (ratio < 1.25**3).mean(),
    }


def aligned(
    kind: str, guess: NDArray[np.float64], truth: NDArray[np.float64], low: float, high: float
) -> NDArray[np.float64]:
    if kind == "median":
        return guess * np.median(truth) / np.median(guess)
    if kind == "scale-shift":
        guess = guess * np.median(truth) / np.median(guess)
        inside = np.clip(guess, low, high)
        (scale, shift), *_ = np.linalg.lstsq(np.stack([inside, np.ones_like(guess)], axis=1), truth, rcond=None)
        return guess * scale + shift
    return guess


@pytest.mark.parametrize(
    ("protocol", "height", "width", "farthest", "net"),
    [
        ("nyu-eigen", 480, 640, 10, (120, 160)),
        ("kitti-garg", 375, 1242, 80, (96, 318)),
        ("kitti-eigen", 370, 1226, 80, (96, 318)),
    ],
)
def test_cropped_protocols(protocol: str, height: int, width: int, farthest: float, net: tuple[int, int]) -> None:
    data, predictions = make(height, width, farthest, net)
    spec = InputSpec(Framing(*net, resize_height=height, crop=(height, width)))  # the whole picture, distorted
    result = evaluate(lambda images: predictions[images[0, 0, 0, 0]][None], spec, data, get_protocol(protocol), Quiet())
    low, high = RANGES[protocol]
    top, bottom, left, right = CROPS[protocol](height, width)
    by_image: dict[str, list[dict[str, float]]] = {"raw": [], "median": [], "scale-shift": []}
    pooled: dict[str, list[NDArray[np.float64]]] = {"truth": [], "raw": [], "median": [], "scale-shift": []}
    for truth, prediction in zip(data.truths, predictions, strict=True):
        rows = (np.arange(height) + 0.5) * net[0] / height - 0.5
        columns = (np.arange(width) + 0.5) * net[1] / width - 0.5
        grid = np.meshgrid(rows, columns, indexing="ij")
        whole = map_coordinates(prediction.astype(np.float64), grid, order=1, mode="nearest")
        mask = np.zeros(truth.shape, bool)
        mask[top:bottom, left:right] = True
        mask &= (truth > low) & (truth < high)
        true = truth[mask].astype(np.float64)
        pooled["truth"].append(true)
        for kind in by_image:
            guess = np.clip(aligned(kind, whole[mask], true, low, high), low, high)
            by_image[kind].append(errors(true, guess))
            pooled[kind].append(guess)
    everything = np.concatenate(pooled["truth"])
    for kind, rows_of in by_image.items():
        expected = {name: np.mean([row[name] for row in rows_of]) for name in rows_of[0]}
        found = {name: result.means[kind][name] for name in expected}
        assert found == pytest.approx(expected, rel=1e-6)
        over_pixels = errors(everything, np.concatenate(pooled[kind]))
        del over_pixels["silog"]  # defined for one image
        found = {name: result.pixel_means[kind][name] for name in over_pixels}
        assert found == pytest.approx(over_pixels, rel=1e-6)


def test_scannet_on_the_networks_grid() -> None:
    data, predictions = make(96, 128, 7, (96, 128))
    spec = InputSpec(Framing(96, 128))
    result = evaluate(
        lambda images: predictions[images[0, 0, 0, 0]][None], spec, data, get_protocol("scannet"), Quiet()
    )
    rows = []
    for truth, prediction in zip(data.truths, predictions, strict=True):
        mask = (truth > 0) & (truth < 6)
        rows.append(errors(truth[mask].astype(np.float64), np.clip(prediction[mask].astype(np.float64), 1e-3, 6)))
    expected = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    assert {name: result.means["raw"][name] for name in expected} == pytest.approx(expected, rel=1e-6)
