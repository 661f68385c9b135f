"""OpenVINO's infer requests of one model: for one picture at a time, and for any number."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Dict, Mapping, Tuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["InferRequests"]


class InferRequests:
    """Each is compiled on first use. One picture at a time is the usual case, and a fixed batch makes it faster."""

    def __init__(self, core: Any, path: Path, size: Tuple[int, int], device: str, settings: Mapping[str, Any]) -> None:
        self._core, self._path, self._size, self._device, self._settings = core, path, size, device, dict(settings)
        self._made: Dict[bool, Any] = {}  # by whether it is for one picture
        self._turn = Lock()

    def of(self, pictures: int) -> Any:
        """The request for a batch of this size. Raises OpenVINO's own error where the model does not compile."""
        single = pictures == 1
        if single not in self._made:
            model = self._core.read_model(str(self._path))
            if single:
                model.reshape({"image": [1, *self._size, 3]})
            self._made[single] = self._core.compile_model(model, self._device, self._settings).create_infer_request()
        return self._made[single]

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth float32 [N, h, w] of pictures uint8 [N, H, W, 3]. Any thread may call it; they take turns.

        Threads that shared a request at the same time would get each other's depth.
        """
        with self._turn:
            # Share nothing: a request that once shared the caller's array writes later pictures into it.
            given = self.of(len(images)).infer({"image": images}, share_inputs=False, share_outputs=False)
            depth: NDArray[np.float32] = np.asarray(given["depth"], dtype=np.float32)
        return depth

    def close(self) -> None:
        self._made.clear()
