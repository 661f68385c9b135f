"""The state of a distillation between two steps, written atomically and read without executing pickles."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from calibration.errors import RunError
from calibration.files import sha256_bytes, write_bytes
from calibration.reasons import first_line, out_of_memory

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
        self._anew = f"delete {folder} to start the distillation over"
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
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            key, step, state = saved["key"], int(saved["step"]), dict(saved["state"])
        except Exception as error:  # damaged bytes can raise anything from IndexError to struct.error
            if out_of_memory(error):
                raise
            raise RunError(
                f"The checkpoint {self.path} cannot be read", fix=self._anew[0].upper() + self._anew[1:]
            ) from error
        if key != self._key:
            raise RunError(
                f"The checkpoint {self.path} is for a different teacher, student, image set or settings",
                fix=f"Run the command it was made with, choose another --out, or {self._anew}",
            )
        return step, state

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Raise RunError where the saved state does not fit what is loaded from it, whatever torch raises then.

        The key is the same, but another version of edgekd, torch or torch-pruning may build another student or
        optimiser.
        """
        try:
            yield
        except Exception as error:  # a missing part, another shape, another number of parameters
            if out_of_memory(error):
                raise
            raise RunError(
                f"The checkpoint {self.path} does not fit the networks that it is for: another version of edgekd, "
                f"torch or torch-pruning made it ({first_line(error)[:120]})",
                fix=f"Go on with that version, or {self._anew}",
            ) from error
