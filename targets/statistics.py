"""What the training pictures looked like inside the network, as far as its BatchNorm layers stored it.

A BatchNorm with scale gamma and shift beta gave its channel a mean of beta and a deviation of |gamma| over the pictures
it was trained on. Folding it into a convolution loses that, so the fp32 model's metadata keeps it, by the name of the
convolution whose output it describes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from targets.graph import metadata

if TYPE_CHECKING:
    import onnx

__all__ = ["STATISTICS_KEY", "ChannelStatistics", "pack_statistics", "read_statistics"]

STATISTICS_KEY = "edgekd.statistics"
"""The metadata key."""


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and deviation [C], float32, of each channel of a convolution's output, before its activation function."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


def pack_statistics(statistics: Mapping[str, ChannelStatistics]) -> str:
    """The statistics as text for the metadata: JSON of half-precision numbers in base64."""
    return json.dumps({name: [_pack(one.mean), _pack(one.deviation)] for name, one in statistics.items()})


def read_statistics(model: onnx.ModelProto) -> dict[str, ChannelStatistics]:
    """What the model's metadata holds, by the name of the convolution; empty where it holds nothing.

    Raises ModelError when it cannot be read.
    """
    text = metadata(model).get(STATISTICS_KEY, "{}")
    try:
        found = json.loads(text)
        return {name: ChannelStatistics(_unpack(mean), _unpack(deviation)) for name, (mean, deviation) in found.items()}
    except (ValueError, TypeError, AttributeError, binascii.Error) as error:
        raise ModelError(
            f"{STATISTICS_KEY} in the model's metadata cannot be read ({error})", fix="Export the model again"
        ) from error


def _pack(values: NDArray[np.float32]) -> str:
    return base64.b64encode(np.clip(values, -6e4, 6e4).astype("<f2").tobytes()).decode()


def _unpack(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float32)
