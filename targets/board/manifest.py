"""What a bundle holds: manifest.json, and whether every file is as it was made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Mapping

from targets.board.errors import MisfitError
from targets.board.files import read_bytes
from targets.board.framing import Framing
from targets.board.options import EngineOptions

__all__ = ["FORMAT", "Bundle", "BundledModel", "manifest_digest"]

FORMAT = 2
"""Version of manifest.json; a runner refuses any other."""

_AGAIN = "copy the bundle again"


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Hex SHA-256 of everything in a manifest except the digest itself."""
    said = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class BundledModel:
    """One ONNX model of a bundle."""

    def __init__(self, folder: Path, value: Mapping[str, Any], sha256: str) -> None:
        self.sha256 = sha256
        self.path = folder / str(value["file"])
        self.precision = str(value["precision"])
        self.runtimes: list[str] = list(value["runtimes"])
        self.error = float(value["error"])  # mean relative difference from fp32 on the self-test, when it was made
        self.tolerance = float(value["tolerance"])  # the most that the self-test allows


class Bundle:
    """An opened bundle whose files are intact. Raises MisfitError naming the file that is not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            value = json.loads(read_bytes(folder / "manifest.json", _AGAIN).decode())
            if value["format"] != FORMAT:
                message = "manifest.json has format {}; this run.py reads {}".format(value["format"], FORMAT)
                raise MisfitError(message, "Rebuild the bundle: edgekd bundle")
            if manifest_digest(value) != value["digest"]:
                message = f"{folder}/manifest.json was altered after the bundle was made"
                raise MisfitError(message, "Copy the bundle again")
            self.name = str(value["name"])
            self.framing = Framing(value["framing"])
            camera = value["camera"]  # (height, width) of the frames that the models take as they are
            self.camera = None if camera is None else (int(camera[0]), int(camera[1]))
            self.metric = bool(value.get("metric", True))  # otherwise the unit of depth is unknown
            files = dict(value["files"])
            for name in [*files, *value["selftest"].values(), *(model["file"] for model in value["models"])]:
                if name not in files or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
                    raise ValueError(f"it names {name!r}, which is not a file of the bundle")
            self.models = [BundledModel(folder, model, files[str(model["file"])]) for model in value["models"]]
            self.options = EngineOptions.parse(str(value["engine"]))
            self.digest = str(value["digest"])
            self.picture, self.depth = folder / value["selftest"]["picture"], folder / value["selftest"]["depth"]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
            raise MisfitError(f"{folder}/manifest.json cannot be read ({error!r})", "Copy the bundle again") from error
        for name, digest in files.items():
            if hashlib.sha256(read_bytes(folder / name, _AGAIN)).hexdigest() != digest:
                message = f"{folder / name} was altered or truncated after the bundle was made"
                raise MisfitError(message, "Copy the bundle again")

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of what the models take."""
        return self.camera or (self.framing.height, self.framing.width)

    def models_for(self, runtime: str) -> list[BundledModel]:
        return [model for model in self.models if runtime in model.runtimes]
