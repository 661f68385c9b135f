"""Preview strips: what the distillation is looking at, on one colour scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgekd.distill.batches import Batches
from edgekd.distill.steps import Fitting
from edgekd.distill.tensors import to_pictures, to_tensor
from edgekd.pictures import preview_strip, save_png

__all__ = ["Previews"]

_IMAGES = 4


class Previews:
    """Writes previews/<step>.png: simulated, mixed, transformed, teacher's depth, student's depth."""

    def __init__(self, folder: Path, batches: Batches, fitting: Fitting) -> None:
        self._folder = folder
        self._fitting = fitting
        # The same few pictures every time, so that strips of different steps can be compared.
        batch = batches.batch(0)
        simulated, mixed = batch.simulated.cpu().numpy(), batch.mixed.cpu().numpy()
        changed = np.flatnonzero((mixed != simulated).any((1, 2, 3)))
        others = np.setdiff1d(np.arange(len(mixed)), changed)
        chosen = np.concatenate([changed, others])[:_IMAGES]
        self._simulated, self._mixed = simulated[chosen], mixed[chosen]

    def write(self, step: int) -> Path:
        """Write the strip for `step` and return its path."""
        fitting = self._fitting
        adapted = fitting.adapt(to_tensor(self._mixed, fitting.device), seed=0)
        teacher = _planes(fitting.teach(adapted))
        student = None if fitting.student is None else _planes(fitting.student.predict(adapted))
        path = self._folder / f"{step:06d}.png"
        pictures = {"simulated": self._simulated, "mixed": self._mixed, "transformed": to_pictures(adapted)}
        depths = {"teacher's depth": teacher} | ({} if student is None else {"student's depth": student})
        save_png(path, preview_strip(pictures, depths))
        return path


def _planes(depth: Tensor) -> NDArray[np.float32]:
    return depth[:, 0].cpu().numpy()
