"""The self-test of a bundle: a picture, the depth that fp32 gives for it, and how far each model may be from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from targets.drift import check_depth
from targets.reference import infer_model

if TYPE_CHECKING:
    import onnx

__all__ = ["SelfTest", "make_selftest"]

_LEAST = {"fp32": 0.01, "fp16": 0.01, "int8": 0.03}
"""The smallest tolerances: TensorRT computes fp32 with TF32's 10 bits, and its int8 kernels round ties differently."""

_TOLERANCE_FACTOR = 2.0  # a model's error on the device may be this many times that on ONNX Runtime


@dataclass(frozen=True)
class SelfTest:
    """`errors` and `tolerances` are mean relative differences of depth from fp32, by the model's file name."""

    picture: NDArray[np.uint8]  # [H, W, 3]
    depth: NDArray[np.float32]  # [h, w], of fp32
    errors: Mapping[str, float]
    tolerances: Mapping[str, float]
    swapped: float  # the same difference if BGR were taken for RGB
    flipped: float  # and if the picture were upside down

    def blind_to(self) -> list[str]:
        """The mistakes that the widest tolerance would let pass."""
        most = max(self.tolerances.values())
        seen = {"swapped red and blue": self.swapped, "an upside-down picture": self.flipped}
        return [mistake for mistake, error in seen.items() if error <= most]


def make_selftest(
    fp32: onnx.ModelProto, models: Mapping[str, tuple[onnx.ModelProto, str]], pictures: NDArray[np.uint8]
) -> SelfTest:
    """Choose the picture of uint8 [N, H, W, 3] that shows swapped colours best, and measure each (model, precision).

    Raises ModelError when a depth is not finite.
    """
    depth = infer_model(fp32, pictures)
    check_depth(depth, "the fp32 model")
    swaps = infer_model(fp32, np.ascontiguousarray(pictures[..., ::-1]))
    best = int(np.argmax([_difference(swapped, right) for swapped, right in zip(swaps, depth, strict=True)]))
    picture, expected = pictures[best], depth[best]
    errors = {}
    for name, (model, _) in models.items():
        found = infer_model(model, picture[None])
        check_depth(found, name)
        errors[name] = _difference(found[0], expected)
    tolerances = {name: max(_LEAST[models[name][1]], _TOLERANCE_FACTOR * error) for name, error in errors.items()}
    upside_down = infer_model(fp32, np.ascontiguousarray(picture[None, ::-1]))[0]
    return SelfTest(
        picture, expected, errors, tolerances, _difference(swaps[best], expected), _difference(upside_down, expected)
    )


def _difference(depth: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return float(np.mean(np.abs(depth - reference) / np.maximum(reference, 0.01)))
