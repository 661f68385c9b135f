"""A folder with rgb/ and depth/, whose files have the same names apart from the suffix.

Depth in 16-bit PNG or PGM is taken as millimetres, in .npy as metres; for other units write an index.csv.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calibration.errors import DataError
from calibration.files import name_of
from calibration.wording import counted
from edgekd.evaluate.datasets.depth import DEPTH_SUFFIXES
from edgekd.evaluate.datasets.frame import DepthDataset
from edgekd.evaluate.datasets.pairs import Pair, open_pairs
from edgekd.pictures.reading import list_pictures

__all__ = ["matches", "open_folders"]


def matches(path: Path) -> bool:
    return (path / "rgb").is_dir() and (path / "depth").is_dir()


def open_folders(path: Path) -> DepthDataset:
    """Open such a folder. Raises DataError naming a picture without depth, or depth without a picture."""
    pictures = _by_stem(list_pictures(path / "rgb"))
    files = [file for file in sorted((path / "depth").iterdir()) if file.is_file() and not file.name.startswith(".")]
    depths = _by_stem([file for file in files if file.suffix.lower() in DEPTH_SUFFIXES])
    for stem in pictures.keys() ^ depths.keys():
        present, lacking = ("rgb", "depth") if stem in pictures else ("depth", "rgb")
        raise DataError(
            f"{(pictures if stem in pictures else depths)[stem]} has no match in {path / lacking}",
            fix=f"Add {lacking}/{stem} or remove {present}/{stem}",
        )
    pairs = [
        Pair(picture, depths[stem], 1.0 if depths[stem].suffix.lower() == ".npy" else 1000.0, name_of(path), stem)
        for stem, picture in pictures.items()
    ]
    return open_pairs(
        name_of(path),
        f"{counted(len(pairs), 'frame')}; depth taken as millimetres in PNG and PGM, as metres in NPY",
        pairs,
        mend_units=f"List the frames in {path / 'index.csv'} with the column depth_units_per_metre",
    )


def _by_stem(files: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(file.stem, file)
        if other is not file:
            raise DataError(
                f"{other} and {file.name} differ only in the suffix, which is ambiguous",
                fix="Remove or rename one of them",
            )
    return found
