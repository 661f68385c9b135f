"""A set that is used while it is still being rendered."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from calibration.files import sha256_bytes
from calibration.progress import Quiet
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.sample import SimulatedImage
from edgekd.simulate.shards import Entry, index_shard, read_image
from edgekd.simulate.store import set_request, shard_names, write_set

__all__ = ["GrowingSet"]


class GrowingSet:
    """Pictures 0 to count - 1 of `seed`, rendered into `folder` by `workers` processes; asking for one waits for it.

    An ImageSource. Rendering starts at once and goes on until all are done or `close` is called. Finished shards are
    kept, and the next rendering into the folder uses them. An error while rendering is raised where a picture is asked
    for.
    """

    def __init__(
        self, folder: Path, settings: RoomSettings, *, seed: int, count: int, workers: int, keep_depth: bool
    ) -> None:
        self._folder = folder
        self._request = set_request(settings, seed=seed, count=count, keep_depth=keep_depth)
        self._names = [name for name, numbers in shard_names(self._request).items() for _ in numbers]
        self._entries: dict[str, dict[int, Entry]] = {}
        self._whole: frozenset[str] = frozenset()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self.waited = 0.0  # seconds spent waiting for pictures
        self._thread = threading.Thread(
            target=self._render, args=(settings, seed, count, workers, keep_depth), name="rendering", daemon=True
        )
        self._thread.start()

    @property
    def digest(self) -> str:
        """A hash of all that determines the pictures: their own bytes are not known yet."""
        return sha256_bytes(json.dumps(self._request, sort_keys=True).encode())

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> SimulatedImage:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Picture {index} of a set of {len(self)}")
        index %= len(self)
        name = self._names[index]
        self._wait_for(name)
        path = self._folder / name
        if name not in self._entries:
            self._entries[name] = index_shard(path.read_bytes(), path)
        return read_image(path, self._entries[name][index])

    def close(self) -> None:
        """Stop rendering; finished shards are kept."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _wait_for(self, name: str) -> None:
        begun = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: name in self._whole or self._closed or self._error is not None)
            self.waited += time.monotonic() - begun
            if name not in self._whole:
                raise self._error if self._error is not None else _ClosedError("The set was closed")

    def _render(self, settings: RoomSettings, seed: int, count: int, workers: int, keep_depth: bool) -> None:
        try:
            write_set(
                self._folder,
                settings,
                seed=seed,
                count=count,
                workers=workers,
                keep_depth=keep_depth,
                progress=Quiet(),
                arrived=self._arrived,
            )
        except _ClosedError:
            pass
        except BaseException as error:  # any error must reach the thread that waits for a picture
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _arrived(self, shards: frozenset[str]) -> None:
        with self._changed:
            self._whole = shards
            self._changed.notify_all()
            if self._closed:
                raise _ClosedError("The set was closed")


class _ClosedError(RuntimeError):
    """Ends the rendering thread; it never leaves this file unless a closed set is asked for a picture."""
