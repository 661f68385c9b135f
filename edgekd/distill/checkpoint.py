"""The state of a distillation between two steps, written atomically and read without executing pickles."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from calibration.errors import RunError
from calibration.files import sha256_bytes, write_bytes
from calibration.reasons import out_of_memory

__all__ = ["Checkpoint", "all_finite"]


def all_finite(state: Any) -> bool:
    """Whether no number in nested tensors, lists and dicts is NaN or infinite."""
    if isinstance(state, torch.Tensor):
        return not state.is_floating_point() or bool(torch.isfinite(state).all())
    if isinstance(state, Mapping):
        return all(map(all_finite, state.values()))
    if isinstance(state, (list, tuple)):
        return all(map(all_finite, state))
    return not isinstance(state, float) or math.isfinite(state)


class Checkpoint:
    """`folder`/state.pt, with a key of the settings, teacher, images and student it belongs to."""

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self.path = folder / "state.pt"
        self._key = sha256_bytes(json.dumps(key, sort_keys=True).encode())

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Save the state after `step` steps. `state` holds tensors, numbers, strings, lists and dicts only."""
        buffer = io.BytesIO()
        torch.save({"key": self._key, "step": step, "state": dict(state)}, buffer)
        write_bytes(self.path, buffer.getvalue())

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """The last saved step and state, or None when there is none.

        Raises RunError when it is damaged or was made with other settings, teacher, student or images.
        """
        if not self.path.exists():
            return None
        anew = f"Delete {self.path.parent} to start the distillation over"
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            key, step, state = saved["key"], int(saved["step"]), dict(saved["state"])
        except Exception as error:  # damaged bytes can raise anything from IndexError to struct.error
            if out_of_memory(error):
                raise
            raise RunError(f"The checkpoint {self.path} cannot be read", fix=anew) from error
        if key != self._key:
            raise RunError(
                f"The checkpoint {self.path} is for a different teacher, student, image set or settings",
                fix=f"Run the command it was made with, choose another --out, or {anew[0].lower()}{anew[1:]}",
            )
        return step, state
