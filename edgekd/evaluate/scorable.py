"""A look at all frames of a data set, in seconds, before a model is measured on them for minutes."""

from __future__ import annotations

import numpy as np

from calibration.errors import DataError
from calibration.progress import Progress
from calibration.wording import counted
from edgekd.evaluate.datasets.frame import DepthDataset
from edgekd.evaluate.metrics import valid
from edgekd.evaluate.placing import place
from edgekd.evaluate.protocols import ScoringProtocol
from targets.input import Framing

__all__ = ["nothing_scored", "require_scorable"]

_ANY_DEPTH = np.ones((1, 1), np.float32)  # in place of a prediction, which does not decide what is scored


def require_scorable(data: DepthDataset, protocol: ScoringProtocol, progress: Progress) -> None:
    """Raise DataError for a frame that cannot be read or does not fit the protocol, and when none has depth to score.

    Frames without such depth, among others with it, are noted: `evaluate` will skip them.
    """
    empty = []
    with progress.task(f"Reading {data.name}", total=len(data)) as advance:
        for index in range(len(data)):
            frame = data[index]
            try:
                _, truth, _ = place(_ANY_DEPTH, frame.depth, Framing(*frame.depth.shape), protocol)
            except DataError as error:
                raise DataError(f"{frame.name}: {error.message}", fix=error.fix) from error
            if not valid(truth, protocol.low, protocol.high).any():
                empty.append(frame.name)
            advance(1)
    if len(empty) == len(data):
        raise nothing_scored(data, protocol)
    if empty:
        frames = counted(len(empty), "frame has", "frames have")
        progress.note(f"{frames} no depth that {protocol.name} scores and will be skipped, first {empty[0]}")


def nothing_scored(data: DepthDataset, protocol: ScoringProtocol) -> DataError:
    """The error that says that no frame has a pixel to score."""
    return DataError(
        f"No frame of {data.name} has a pixel that protocol {protocol.name!r} scores "
        f"(depth inside {protocol.low:g}-{protocol.high:g} m)",
        fix="Check the depth's units, or choose another protocol",
    )
