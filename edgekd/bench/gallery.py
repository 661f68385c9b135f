"""Pictures for a report, with the depth that every artefact gave for them on this machine.

They are held-out pictures of the run and, where the user allows it, the frames that were scored worst.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import EdgekdError, FileError
from calibration.files import replacing
from calibration.progress import Progress
from calibration.reasons import first_line
from edgekd.bench.bench import Scoring
from edgekd.bench.result import BenchRow
from edgekd.evaluate.datasets.frame import frame_all
from targets import get_target
from targets.base import Artefact, RunnerOptions
from targets.feeding import infer_each

__all__ = ["Gallery", "Shown", "make_gallery", "worst_frames"]

_WORST = 4
_FARTHEST = float(np.finfo(np.float16).max)
_LARGEST = 512 << 20  # bytes that a file may unpack to
_KIND = "edgekd gallery 1"


@dataclass(frozen=True)
class Shown:
    """Pictures uint8 [N, H, W, 3] at the network's resolution and their depth [N, H, W] in metres, by artefact."""

    names: tuple[str, ...]
    pictures: NDArray[np.uint8]
    depth: Mapping[str, NDArray[np.float32]]
    truth: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Gallery:
    """What was kept for a report; either part may be missing."""

    held_out: Shown | None = None
    worst: Shown | None = None
    note: str = ""  # why there are no worst frames, for people

    def write(self, path: Path) -> None:
        """Write as .npz, depth as 16-bit floats: this loses 0.05 %, and a report shows no difference that small."""
        arrays: dict[str, NDArray[Any]] = {}
        about: dict[str, Any] = {"kind": _KIND, "note": self.note}
        for part in ("held_out", "worst"):
            shown: Shown | None = getattr(self, part)
            if shown is None:
                continue
            about[part] = {"names": shown.names, "depth": list(shown.depth), "truth": shown.truth is not None}
            arrays[f"{part} pictures"] = shown.pictures
            arrays |= {f"{part} depth {name}": _half(plane) for name, plane in shown.depth.items()}
            if shown.truth is not None:
                arrays[f"{part} truth"] = _half(shown.truth)
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, about=text, **arrays)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> Gallery:
        """The inverse of `write`. Raises FileError for anything else."""
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                if sum(member.file_size for member in arrays.zip.infolist()) > _LARGEST:
                    raise ValueError(f"it unpacks to more than {_LARGEST >> 20} MB")
                about = json.loads(arrays["about"].tobytes())
                if about["kind"] != _KIND:
                    raise ValueError(f"kind {about['kind']!r}")
                parts = {part: _shown(part, about[part], arrays) for part in ("held_out", "worst") if part in about}
                return cls(**parts, note=str(about["note"]))
        except Exception as error:  # a damaged archive fails anywhere in zipfile, zlib and numpy
            raise FileError(f"{path} cannot be read ({error})", fix="Measure again with `edgekd bench`") from error


def _half(depth: NDArray[np.float32]) -> NDArray[np.float16]:
    """As 16-bit floats. Depth beyond their 65,504, as of a network without a known unit, must not become infinite."""
    return np.where(np.isfinite(depth), depth.clip(-_FARTHEST, _FARTHEST), depth).astype(np.float16)


def _shown(part: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Shown:
    depth = {name: arrays[f"{part} depth {name}"].astype(np.float32) for name in about["depth"]}
    truth = arrays[f"{part} truth"].astype(np.float32) if about["truth"] else None
    return Shown(tuple(about["names"]), arrays[f"{part} pictures"], depth, truth)


def worst_frames(rows: Sequence[BenchRow], count: int = _WORST) -> list[int]:
    """Numbers of the frames with the highest AbsRel, worst first, over int8 artefacts if any was scored."""
    scored = [(row.precision, row.evaluation) for row in rows if row.evaluation is not None]
    chosen = [evaluation for precision, evaluation in scored if precision == "int8"] or [e for _, e in scored]
    if not chosen:
        return []
    errors = {
        place: float(np.mean([evaluation.rows[place].scores["raw"]["absrel"] for evaluation in chosen]))
        for place, row in enumerate(chosen[0].rows)
        if row.valid
    }
    return sorted(errors, key=lambda place: -errors[place])[:count]


def make_gallery(
    artefacts: Sequence[Artefact],
    rows: Sequence[BenchRow],
    held_out: NDArray[np.uint8],
    options: RunnerOptions,
    progress: Progress,
    *,
    scoring: Scoring | None,
    keep_frames: bool,
) -> Gallery:
    """Infer the held-out pictures uint8 [N, H, W, 3], and the worst frames, with every artefact that was measured."""
    measured = {row.name for row in rows if row.latency is not None}
    used = [artefact for artefact in artefacts if artefact.name in measured]
    worst = worst_frames(rows)
    note, frames, truths = "", held_out[:0], None
    names: tuple[str, ...] = ()
    if scoring is None:
        note = "Nothing was scored yet: edgekd bench --data PATH"
    elif not keep_frames:
        note = "The scored frames were not kept, as requested (--no-frames, --reproduce)"
    elif worst and used:
        spec = used[0].input
        try:
            chosen = [scoring.data[place] for place in worst]
            frames, truths = frame_all(chosen, spec.framing)
            names = tuple(frame.name for frame in chosen)
        except EdgekdError as error:  # they could be read a moment ago, so the figures stand
            note = f"The worst frames can no longer be read: {error.message}"
            progress.note(note)
    depth_out: dict[str, NDArray[np.float32]] = {}
    depth_worst: dict[str, NDArray[np.float32]] = {}
    with progress.task("Saving pictures for the report", total=len(used)) as advance:
        for artefact in used:
            try:
                with get_target(artefact.target).open(artefact, options) as runner:
                    depth_out[artefact.name] = infer_each(runner, held_out)
                    if len(frames):
                        depth_worst[artefact.name] = infer_each(runner, frames)
            except Exception as error:  # it ran a moment ago; runtimes' errors have no common base class
                progress.note(f"No report pictures from {artefact.name}: {first_line(error)}")
            advance(1)
    if len(frames) and not depth_worst:
        note = "The worst frames could not be inferred again"
    numbers = tuple(f"held-out picture {number}" for number in range(1, len(held_out) + 1))
    return Gallery(
        Shown(numbers, np.asarray(held_out), depth_out) if depth_out else None,
        Shown(names, frames, depth_worst, truths) if depth_worst else None,
        note,
    )
