"""An index.csv, or a folder that holds one: a line for each frame.

Columns: dataset, rgb, depth, depth_units_per_metre and optionally scene (by default the dataset). Paths are relative to
the index. depth_units_per_metre is what a depth of one metre is stored as: 1000 for millimetres.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from calibration.errors import DataError
from calibration.files import name_of
from calibration.wording import counted
from edgekd.evaluate.datasets.frame import DepthDataset
from edgekd.evaluate.datasets.pairs import Pair, open_pairs

__all__ = ["matches", "open_index"]

_COLUMNS = ("dataset", "rgb", "depth", "depth_units_per_metre")


def matches(path: Path) -> bool:
    return path.suffix.lower() == ".csv" or (path / "index.csv").is_file()


def open_index(path: Path) -> DepthDataset:
    """Open an index. Raises DataError naming the line that is wrong."""
    path = path / "index.csv" if path.is_dir() else path
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)  # also before a quoted path
            columns = reader.fieldnames = tuple(name.strip() for name in reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read {path} ({error})", fix="Save it as comma-separated UTF-8 text") from error
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise DataError(
            f"{path} lacks the column {', '.join(missing)}", fix=f"Give it the columns {','.join(_COLUMNS)}[,scene]"
        )
    if not rows:
        raise DataError(f"{path} lists no frames", fix="Add a line for each frame")
    pairs = [_pair(path, line, row) for line, row in rows]
    return open_pairs(
        f"{name_of(path.absolute().parent)}/{path.name}",
        counted(len(pairs), "frame"),
        pairs,
        mend_units=f"Fix the column depth_units_per_metre in {path}: 1000 for millimetres, 1 for metres",
    )


def _pair(index: Path, line: int, row: dict[str, str | None]) -> Pair:
    values = {column: (row.get(column) or "").strip() for column in (*_COLUMNS, "scene")}
    for column in _COLUMNS:
        if not values[column]:
            raise DataError(f"{index} line {line} has no {column}", fix="Fill it in or remove the line")
    try:
        units = float(values["depth_units_per_metre"])
    except ValueError:
        units = math.nan
    if not (math.isfinite(units) and units > 0):
        raise DataError(
            f"{index} line {line}: depth_units_per_metre is {values['depth_units_per_metre']!r}",
            fix="Use a positive number: 1000 for millimetres, 1 for metres",
        )
    rgb, depth = index.parent / values["rgb"], index.parent / values["depth"]
    return Pair(rgb, depth, units, values["scene"] or values["dataset"], values["rgb"])
