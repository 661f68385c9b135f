"""The files that a mesh names (materials, textures, buffers): those beside it are read, no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from edgekd.simulate.meshes.limits import MOST_BYTES

__all__ = ["FilesBeside"]


class FilesBeside:
    """A resolver for trimesh. Its own reads any file before version 5.0, and since then drops textures silently."""

    def __init__(self, mesh: Path) -> None:
        self.folder = mesh.parent.resolve()
        self.file_name = mesh.name  # trimesh names what has no name after it
        self.outside: str | None = None  # the first name that leads out of the folder
        self._left = MOST_BYTES

    def get(self, name: str) -> bytes:
        """The content of a file in the mesh's folder or below it, or of one of that name right beside the mesh.

        Raises FileNotFoundError; `outside` then says whether the name leads out of the folder.
        """
        name, leads_out = name.strip(), "://" in name
        for candidate in (name, PureWindowsPath(name).name):  # exporters write the paths of their own machine
            path = (self.folder / candidate).resolve()
            inside = path.is_relative_to(self.folder)
            if inside and path.is_file():
                return self._read(path)
            leads_out |= not inside
        if leads_out:
            self.outside = self.outside or name
        raise FileNotFoundError(f"there is no {name[:80]!r} beside it")

    __getitem__ = get

    def keys(self) -> Iterator[str]:
        """No names: nothing is listed."""
        return iter(())

    def _read(self, path: Path) -> bytes:
        self._left -= path.stat().st_size
        if self._left < 0:
            raise ValueError(f"it names more than {MOST_BYTES >> 20} MB of files")
        return path.read_bytes()
