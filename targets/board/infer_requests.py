"""OpenVINO's infer requests of one model: for one picture at a time, and for any number."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

__all__ = ["InferRequests"]


class InferRequests:
    """Each is compiled on first use. One picture at a time is the usual case, and a fixed batch makes it faster."""

    def __init__(self, core: Any, path: Path, size: Tuple[int, int], device: str, settings: Mapping[str, Any]) -> None:
        self._core, self._path, self._size, self._device, self._settings = core, path, size, device, dict(settings)
        self._made: Dict[bool, Any] = {}  # by whether it is for one picture

    def of(self, pictures: int) -> Any:
        """The request for a batch of this size. Raises OpenVINO's own error where the model does not compile."""
        single = pictures == 1
        if single not in self._made:
            model = self._core.read_model(str(self._path))
            if single:
                model.reshape({"image": [1, *self._size, 3]})
            self._made[single] = self._core.compile_model(model, self._device, self._settings).create_infer_request()
        return self._made[single]

    def close(self) -> None:
        self._made.clear()
