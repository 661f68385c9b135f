"""What a layer left in float costs: its share of the arithmetic, and milliseconds where ONNX Runtime runs here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.progress import Progress
from targets.calibrated import Calibrated
from targets.quick import quantise_for_onnxruntime
from targets.reference import open_session, session_options
from targets.sensitivity import count_operations
from targets.turns import time_in_turns

__all__ = ["FloatLayer", "price_float_layers"]

_ROUNDS, _REPEATS = 10, 5


@dataclass(frozen=True)
class FloatLayer:
    """A layer that stays in float, why, and at what price."""

    name: str
    damage: float | None  # mean depth error over mean depth with this layer alone in int8
    share: float  # of the network's multiplications
    milliseconds: float  # that one inference would save with this layer in int8; may be negative

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def price_float_layers(calibrated: Calibrated, image: NDArray[np.uint8], progress: Progress) -> list[FloatLayer]:
    """Each float layer of the calibrated model, timed on one picture uint8 [1, H, W, 3] by ONNX Runtime, one thread.

    Models run in turns, so that a busy machine slows all alike; each time is a median.
    """
    if not calibrated.float_layers:
        return []
    variants = {"": calibrated}
    for layer in calibrated.float_layers:
        others = tuple(name for name in calibrated.float_layers if name != layer)
        variants[layer] = replace(calibrated, float_layers=others)
    times = _medians(variants, image, progress)
    operations = count_operations(calibrated.model)
    total = max(sum(operations.values()), 1)
    return [
        FloatLayer(layer, calibrated.damage.get(layer), operations[layer] / total, times[""] - times[layer])
        for layer in calibrated.float_layers
    ]


def _medians(variants: Mapping[str, Calibrated], image: NDArray[np.uint8], progress: Progress) -> dict[str, float]:
    sessions = {}
    for name, calibrated in variants.items():
        sessions[name] = open_session(quantise_for_onnxruntime(calibrated), session_options(threads=1))
    calls = {name: partial(session.run, ["depth"], {"image": image}) for name, session in sessions.items()}
    with progress.task("Timing float layers", _ROUNDS) as advance:
        taken = time_in_turns(calls, _ROUNDS, _REPEATS, lambda: advance(1))
    return {name: float(np.median(values)) for name, values in taken.items()}
