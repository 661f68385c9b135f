"""Converts furniture from Sweet Home 3D's catalogues to meshes in metres, for simulated rooms.

    apt-get install sweethome3d-furniture            (820 models, CC-BY 3.0 and CC0, see its copyright file)
    python examples/simulate/sweet_home.py /usr/share/sweethome3d/furniture FURNITURE
    edgekd simulate --meshes FURNITURE

The models have units of their own; their true sizes are in the catalogues. Left out are things that are not a room's
furniture (doors, cars, trees, people) and things that hang (lamps, pictures).
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import trimesh

from calibration.errors import DataError
from calibration.files import write_bytes
from edgekd.simulate.meshes.loading import load_mesh

_OUTSIDE = ("Doors and windows", "Exterior", "Vehicles", "Staircases", "Characters", "Lights")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of catalogues (.sh3f)")
    parser.add_argument("target", type=Path, help="folder for the meshes")
    asked = parser.parse_args()
    catalogues = sorted(asked.source.glob("*.sh3f"))
    if not catalogues:
        parser.error(f"no .sh3f found in {asked.source}")
    counts: collections.Counter[str] = collections.Counter()
    for catalogue in catalogues:
        with tempfile.TemporaryDirectory() as folder:
            try:
                with zipfile.ZipFile(catalogue) as archive:
                    archive.extractall(folder)
                listed = entries(Path(folder) / "PluginFurnitureCatalog.properties")
            except (zipfile.BadZipFile, OSError) as error:
                parser.error(f"{catalogue} cannot be read as a catalogue: {error}")
            for entry in listed:
                outcome = convert(Path(folder), entry, asked.target)
                counts[outcome] += 1
    print(f"{counts.total()} models: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))


def entries(file: Path) -> list[dict[str, str]]:
    """The models of a catalogue: its properties, which are numbered key#n=value."""
    found: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*)$", file.read_text("latin-1"), re.MULTILINE):
        found.setdefault(int(number), {})[key] = value.strip()
    return list(found.values())


def convert(folder: Path, entry: dict[str, str], target: Path) -> str:
    """Write one model as .glb in metres; says what came of it."""
    if entry.get("category") in _OUTSIDE or entry.get("doorOrWindow") == "true":
        return "no furniture of a room"
    if float(entry.get("elevation", 0)) > 5:
        return "hanging"
    if "model" not in entry:
        return "without a model"
    path = folder / entry["model"].lstrip("/")
    try:
        scene = trimesh.load_scene(path)
        turn = np.eye(4)
        if "modelRotation" in entry:
            turn[:3, :3] = np.array(entry["modelRotation"].split(), float).reshape(3, 3)
        scene.apply_transform(turn)
        size = np.array([float(entry[key]) / 100 for key in ("width", "height", "depth")])
        scene.apply_transform(np.diag([*(size / np.maximum(scene.extents, 1e-6)), 1.0]))
        name = re.sub(r"\W+", "_", entry["id"]) + ".glb"
        target.mkdir(parents=True, exist_ok=True)
        write_bytes(target / name, scene.export(file_type="glb"))
    except (ValueError, KeyError, OSError, AttributeError, IndexError) as error:
        print(f"{path.name}: {error}", file=sys.stderr)
        return "unreadable"
    try:
        load_mesh(target / name)
    except DataError as error:
        print(error, file=sys.stderr)
        (target / name).unlink()
        return "unusable"
    return "converted"


if __name__ == "__main__":
    main()
