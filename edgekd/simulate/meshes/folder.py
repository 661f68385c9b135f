"""A folder of meshes, checked once for those that can be used, and its meshes as furniture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from calibration.errors import DataError
from calibration.files import sha256_bytes, sha256_file
from calibration.progress import Progress
from calibration.wording import counted
from edgekd.simulate.builder import part_bounds
from edgekd.simulate.meshes.beside import FilesBeside
from edgekd.simulate.meshes.loading import LOADER, MESH_SUFFIXES, UNPAINTED, load_mesh
from edgekd.simulate.meshes.opening import require_trimesh
from edgekd.simulate.palette import Palette
from edgekd.simulate.scene import Triple
from edgekd.simulate.shapes import Part

__all__ = ["MeshFolder", "MeshPiece"]

_KEPT = 48  # meshes held in memory by each process
_TOLD = 3  # of the meshes left out and of those without a texture, how many are named


@dataclass(frozen=True)
class MeshFolder:
    """The usable meshes of a folder. It can be sent to another process, which loads a mesh when it places it."""

    folder: Path
    names: tuple[str, ...]
    digest: str  # of the meshes and of the files that they name

    @classmethod
    def open(cls, folder: Path, progress: Progress) -> MeshFolder:
        """Load every mesh once; those that cannot be used, or lack a texture, are counted and the first named in notes.

        Raises DataError for a folder without a usable mesh, MissingRuntimeError without trimesh.
        """
        folder = Path(folder)
        require_trimesh()
        if not folder.is_dir():
            raise DataError(f"Folder {folder} not found", fix="Check the path")
        found = [path for path in _shown(folder) if path.suffix.lower() in MESH_SUFFIXES]
        if not found:
            raise DataError(
                f"No meshes in {folder} (looked for {', '.join(MESH_SUFFIXES)})", fix="Choose another folder"
            )
        names, faults, bare, used = [], [], [], set()
        with progress.task("Checking meshes", total=len(found)) as advance:
            for path in found:
                beside = FilesBeside(path)
                try:
                    load_mesh(path, beside)
                    names.append(path.relative_to(folder).as_posix())
                    used |= {path, *(path.parent / name for name in beside.read)}
                    if beside.missing is not None:
                        bare.append(f"{path} names {beside.missing[:80]!r}. Copy that file beside the mesh.")
                except DataError as error:
                    faults.append(error)
                advance(1)
        if not names:
            which = "The only mesh" if len(found) == 1 else f"None of the {len(found)} meshes"
            usable = "cannot be used" if len(found) == 1 else "can be used"
            raise DataError(f"{which} in {folder} {usable}: {faults[0].message}", fix=faults[0].fix)
        if faults:
            progress.note(f"Skipped {len(faults)} of {counted(len(found), 'mesh', 'meshes')}")
            for fault in faults[:_TOLD]:
                progress.note(str(fault))
        if bare:
            progress.note(
                f"Plain where a texture or material is missing: {len(bare)} of {counted(len(names), 'mesh', 'meshes')}"
            )
            for mesh in bare[:_TOLD]:
                progress.note(mesh)
        contents = [(path.relative_to(folder).as_posix(), sha256_file(path)) for path in sorted(used)]
        return cls(folder, tuple(names), sha256_bytes(json.dumps([LOADER, contents, names]).encode()))

    def __len__(self) -> int:
        return len(self.names)

    def draw(self, rng: np.random.Generator) -> MeshPiece:
        """One of the meshes, all equally likely. Using it raises DataError if its file has since become unusable."""
        return MeshPiece(self.folder / self.names[int(rng.integers(len(self.names)))])


def _shown(folder: Path) -> list[Path]:
    """Its files and those below, without hidden ones: systems and editors leave them, and some are called .glb."""
    below = [path.relative_to(folder) for path in folder.rglob("*")]
    shown = (path for path in below if not any(part.startswith(".") for part in path.parts))
    return sorted(folder / path for path in shown if (folder / path).is_file())


@dataclass(frozen=True)
class MeshPiece:
    """A mesh as a piece of furniture."""

    path: Path

    def make(self, rng: np.random.Generator, palette: Palette) -> list[Part]:
        """Its parts; those without a colour of their own get one of the room's."""
        parts = _loaded(self.path)
        paint = palette.lacquer() if any(part.material is UNPAINTED for part in parts) else UNPAINTED
        return [
            Part(part.points, part.normals, part.points[..., :2] + part.points[..., 2:] * np.float32(0.7), paint)
            if part.material is UNPAINTED
            else part
            for part in parts
        ]

    @property
    def extent(self) -> Triple:
        """Width, depth and height in metres."""
        box = part_bounds(_loaded(self.path))
        return float(box[3] - box[0]), float(box[4] - box[1]), float(box[5] - box[2])


@lru_cache(maxsize=_KEPT)
def _loaded(path: Path) -> list[Part]:
    return load_mesh(path)
