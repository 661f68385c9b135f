"""The files that a mesh names (materials, textures, buffers): those beside it are read, no others."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from edgekd.simulate.meshes.declared import MOST_BYTES

__all__ = ["FilesBeside", "as_utf8"]

_MOST_WORDS = 25  # in the options before a texture's name in an .mtl: all of them once


class FilesBeside:
    """A resolver for trimesh, whose own reads any file before version 5.0 and since then drops textures silently."""

    def __init__(self, mesh: Path) -> None:
        self.folder = mesh.parent.resolve()
        self.file_name = mesh.name  # trimesh names unnamed meshes after it
        self.outside: str | None = None  # the first name that leads out of the folder
        self.missing: str | None = None  # the first name of a file that is not there
        self.read: set[str] = set()  # paths relative to the folder
        self._left = MOST_BYTES
        self._added: dict[str, bytes] = {}

    def add(self, data: bytes) -> str:
        """A name for bytes that are in no file, under which the mesh may then name them."""
        name = f"edgekd:{len(self._added)}"
        self._added[name] = data
        return name

    def get(self, name: str) -> bytes:
        """The content of a file in the mesh's folder or below it, or of one of that name right beside the mesh.

        Raises FileNotFoundError; `outside` then says whether the name leads out of the folder.
        """
        name, leads_out = name.strip(), False
        if name in self._added:
            return self._added[name]
        for candidate in _spellings(name):
            leads_out |= "://" in candidate
            for place in (candidate, PureWindowsPath(candidate).name):  # exporters write their own machine's paths
                path = (self.folder / place).resolve()
                inside = path.is_relative_to(self.folder)
                if inside and path != self.folder and not path.is_file():
                    path = _of_any_case(path).resolve()
                    inside = path.is_relative_to(self.folder)
                if inside and path.is_file():
                    return self._read(path)
                leads_out |= not inside
        if leads_out:
            self.outside = self.outside or name
        else:
            self.missing = self.missing or name
        raise FileNotFoundError(f"{name[:80]!r} not found beside it")

    __getitem__ = get

    def keys(self) -> Iterator[str]:
        """No names: files are not listed."""
        return iter(())

    def _read(self, path: Path) -> bytes:
        self._left -= path.stat().st_size
        if self._left < 0:
            raise ValueError(f"it names more than {MOST_BYTES >> 20} MB of files")
        self.read.add(path.relative_to(self.folder).as_posix())
        data = path.read_bytes()
        return as_utf8(data) if path.suffix.lower() == ".mtl" else data


def as_utf8(text: bytes) -> bytes:
    """Text that is not UTF-8 is read as Latin-1, which older exporters write: trimesh would need a package to guess.
    The mark that Windows puts before UTF-8 is dropped: trimesh would not understand the first line."""
    text = text.removeprefix(codecs.BOM_UTF8)
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()
    return text


def _of_any_case(path: Path) -> Path:
    """The only file whose name differs in case alone, which is no difference on the machine that many come from."""
    found: list[Path] = []
    with contextlib.suppress(OSError):  # no such folder, or one that may not be read
        found = [entry for entry in path.parent.iterdir() if entry.name.lower() == path.name.lower()]
    return found[0] if len(found) == 1 else path


def _spellings(name: str) -> Iterator[str]:
    """What a name may mean, the likeliest first: as it stands, percent-decoded (glTF), after options (.mtl: -s 2 2 1
    wood.png)."""
    yield name
    if (decoded := unquote(name)) != name:
        yield decoded
    if name.startswith("-"):
        words = len(name.split(maxsplit=_MOST_WORDS + 1))
        yield from (name.split(maxsplit=count)[count] for count in range(1, words))
