"""KITTI, as unpacked from its depth benchmark: 16-bit PNG with 256 units per metre.

    val_selection_cropped/{image,groundtruth_depth}/           the 1,000 selected frames of 352x1216
    <root>/[raw/]<date>/<drive>/image_02/data/                 raw pictures, with the annotated depth beside them:
    <root>/[data_depth_annotated/]{val,train}/<drive>/proj_depth/groundtruth/image_02/

Of the second layout, the drives under val/ are scored if there are any, otherwise those under train/.
"""

from __future__ import annotations

from pathlib import Path

from calibration.errors import DataError
from calibration.files import name_of
from edgekd.evaluate.datasets.frame import DepthDataset
from edgekd.evaluate.datasets.pairs import Pair, open_pairs

__all__ = ["matches_annotated", "matches_selection", "open_annotated", "open_selection"]

_UNITS = 256.0
_MEND = "KITTI's depth has 256 units per metre; for anything else list the frames in an index.csv"


def matches_selection(path: Path) -> bool:
    return _selection(path) is not None


def open_selection(path: Path) -> DepthDataset:
    """Open val_selection_cropped, or a folder that holds it. Raises DataError naming a picture without depth."""
    root = _selection(path)
    assert root is not None
    pairs = []
    for rgb in sorted((root / "image").glob("*.png")):
        # 2011_09_26_drive_0002_sync_image_0000000005_image_02.png
        drive, _, rest = rgb.name.partition("_image_")
        depth = root / "groundtruth_depth" / f"{drive}_groundtruth_depth_{rest}"
        pairs.append(Pair(rgb, depth, _UNITS, drive, rgb.stem))
    _require(pairs, root / "image")
    return open_pairs(f"KITTI {name_of(root)}", f"{len(pairs)} selected frames", pairs, mend_units=_MEND)


def matches_annotated(path: Path) -> bool:
    return _annotated(path) is not None


def open_annotated(path: Path) -> DepthDataset:
    """Open raw pictures with annotated depth. Raises DataError naming a depth whose raw picture is missing."""
    split = _annotated(path)
    assert split is not None
    pairs = []
    for depth in sorted(split.glob("*_sync/proj_depth/groundtruth/image_0[23]/*.png")):
        drive, camera = depth.parents[3].name, depth.parent.name
        inside = Path(drive[:10]) / drive / camera / "data" / depth.name
        places = [root / inside for root in (path, path / "raw", path / "raw_data")]
        rgb = next((place for place in places if place.is_file()), places[0])
        pairs.append(Pair(rgb, depth, _UNITS, drive, f"{drive}/{camera}/{depth.stem}"))
    _require(pairs, split)
    return open_pairs(
        f"KITTI annotated {split.name}",
        f"all {len(pairs)} annotated frames of {split.name}/, not Eigen's list of 652",
        pairs,
        mend_units=_MEND,
    )


def _selection(path: Path) -> Path | None:
    roots = (path, path / "val_selection_cropped", path / "depth_selection" / "val_selection_cropped")
    return next((r for r in roots if (r / "image").is_dir() and (r / "groundtruth_depth").is_dir()), None)


def _annotated(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    splits = [root / split for split in ("val", "train") for root in (path, path / "data_depth_annotated")]
    return next((split for split in splits if any(split.glob("*_sync/proj_depth/groundtruth"))), None)


def _require(pairs: list[Pair], where: Path) -> None:
    if not pairs:
        raise DataError(f"There are no PNG files in {where}", fix="Unpack the archive again")
