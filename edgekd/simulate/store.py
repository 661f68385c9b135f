"""Sets of simulated images on disk: a folder of shards and manifest.json, the same bytes for any number of workers."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.errors import DataError, FileError
from calibration.files import read_json, sha256_bytes, sha256_file, write_json
from calibration.progress import Progress
from calibration.wording import counted
from edgekd.simulate.rooms import RENDERER, RoomSettings
from edgekd.simulate.sample import SimulatedImage
from edgekd.simulate.shards import Entry, index_shard, read_image
from edgekd.simulate.workers import make_shards

__all__ = ["SimulatedSet", "is_set", "set_request", "shard_names", "write_set"]

_MANIFEST = "manifest.json"
_MOST = 100_000_000  # pictures that a manifest may declare
_PICTURES = 32  # per shard, rounded up to whole rooms: few, so that an interruption loses little


@dataclass(frozen=True)
class SimulatedSet:
    """A complete set, opened. An ImageSource; it can be sent to another process."""

    folder: Path
    digest: str
    request: Mapping[str, Any]  # settings, seed, count, keep_depth, renderer
    entries: tuple[tuple[str, Entry], ...]  # shard name and place of each picture

    @classmethod
    def open(cls, folder: Path) -> SimulatedSet:
        """Open a set and check every shard against its digest. Raises FileError naming the file that does not fit."""
        folder = Path(folder)
        manifest = _read_manifest(folder)
        remake = "Run the same simulation into this folder again; it renders what is missing"
        names = shard_names(manifest["request"])
        if set(names) != set(manifest["shards"]):
            made, wanted = len(manifest["shards"]), len(names)
            raise FileError(f"The set {folder} is unfinished: {made} of {counted(wanted, 'shard')}", fix=remake)
        entries: list[tuple[str, Entry]] = []
        for name in names:
            path = folder / name
            try:
                data = path.read_bytes()
            except OSError as error:
                raise FileError(f"Cannot read {path}: {error.strerror}", fix=remake) from error
            if sha256_bytes(data) != manifest["shards"][name]:
                raise FileError(f"{path} was truncated or altered after it was made", fix=remake)
            found = index_shard(data, path)
            entries += [(name, found[number]) for number in sorted(found)]
        digest = sha256_bytes(json.dumps([manifest["request"], manifest["shards"]], sort_keys=True).encode())
        return cls(folder, digest, manifest["request"], tuple(entries))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> SimulatedImage:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Picture {index} of a set of {len(self)}")
        name, entry = self.entries[index]
        return read_image(self.folder / name, entry)


def set_request(settings: RoomSettings, *, seed: int, count: int, keep_depth: bool) -> dict[str, Any]:
    """All that determines a set's pictures, as its manifest holds it."""
    return {
        "renderer": RENDERER,
        "settings": settings.to_json(),
        "seed": seed,
        "count": count,
        "keep_depth": keep_depth,
    }


def write_set(
    folder: Path,
    settings: RoomSettings,
    *,
    seed: int,
    count: int,
    workers: int,
    keep_depth: bool,
    progress: Progress,
    arrived: Callable[[frozenset[str]], None] = lambda shards: None,
) -> SimulatedSet:
    """Render pictures 0 to count - 1 of `seed` into `folder`; what an interrupted run finished is kept.

    `arrived` is called with the names of all complete shards, at the start and whenever one is added; an exception from
    it ends the rendering. Raises DataError for an invalid count or folder, FileError or DiskFullError from writing.
    """
    folder = Path(folder)
    if count < 1 or workers < 1:
        raise DataError(f"Cannot render {count} pictures with {workers} workers", fix="Use at least 1 of each")
    request = set_request(settings, seed=seed, count=count, keep_depth=keep_depth)
    shards = _finished(folder, request)
    arrived(frozenset(shards))
    wanted = shard_names(request)
    missing = {name: numbers for name, numbers in wanted.items() if name not in shards}
    with progress.task("Simulating rooms", total=count) as advance:
        advance(count - sum(len(numbers) for numbers in missing.values()))
        made = make_shards(folder, settings, seed, missing, workers=workers, keep_depth=keep_depth)
        with contextlib.closing(made):  # so that no worker outlives an interruption
            for name, digest in made:
                shards[name] = digest
                _write_manifest(folder, request, {key: shards[key] for key in wanted if key in shards})
                advance(len(missing[name]))
                arrived(frozenset(shards))
    return SimulatedSet.open(folder)


def is_set(folder: Path) -> bool:
    """Whether a folder holds a set, complete or not. Other tools write a manifest.json, too; a damaged one is taken for
    ours, so that an error names it."""
    manifest = Path(folder) / _MANIFEST
    try:
        found = read_json(manifest)
    except FileError:
        return manifest.is_file()
    return isinstance(found, dict) and "request" in found


def shard_names(request: Mapping[str, Any]) -> dict[str, range]:
    """Each shard's file name and the pictures it holds; the views of one room are never split."""
    views = int(request["settings"]["views_per_room"])
    size, count = views * math.ceil(_PICTURES / views), int(request["count"])
    return {f"{n:05d}.tar": range(start, min(start + size, count)) for n, start in enumerate(range(0, count, size))}


def _finished(folder: Path, request: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the shards that exist and are intact. Starts the manifest in an empty folder."""
    if not (folder / _MANIFEST).exists():
        if folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise DataError(f"{folder} holds other files, not a set of simulated images", fix="Choose an empty folder")
        _write_manifest(folder, request, {})
        return {}
    manifest = _read_manifest(folder)
    if manifest["request"] != request:
        changed = _differences(manifest["request"], request)
        raise DataError(
            f"{folder} holds a set with other settings ({', '.join(changed)})",
            fix="Choose another folder, or delete this one",
        )
    for stale in folder.glob(".*.part"):
        stale.unlink(missing_ok=True)
    shards: dict[str, str] = manifest["shards"]
    return {n: d for n, d in shards.items() if (folder / n).is_file() and sha256_file(folder / n) == d}


def _differences(*requests: Mapping[str, Any]) -> list[str]:
    """The names of the entries in which two requests differ, those of the settings included."""
    one, other = ({**request, **request["settings"], "settings": None} for request in requests)
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))


def _write_manifest(folder: Path, request: Mapping[str, Any], shards: Mapping[str, str]) -> None:
    from importlib.metadata import version

    write_json(folder / _MANIFEST, {"edgekd": version("edgekd"), "request": dict(request), "shards": dict(shards)})


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    manifest = read_json(path)
    try:
        if not isinstance(manifest["shards"], dict):
            raise TypeError("shards")
        if not 0 < int(manifest["request"]["count"]) <= _MOST:
            raise ValueError(f"count {manifest['request']['count']}")
        if not 0 < int(manifest["request"]["settings"]["views_per_room"]) <= _MOST:
            raise ValueError("views_per_room")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FileError(
            f"{path} does not describe a set of simulated images ({error!r})", fix="Simulate the set again"
        ) from error
    return dict(manifest)
