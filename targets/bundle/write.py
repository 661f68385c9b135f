"""Writing a bundle: a folder, and the same as .tar.gz, that builds, checks and runs itself on a device."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, UsageError
from calibration.files import replacing, replacing_folder, sha256_file, write_bytes, write_json
from targets.base import Precision
from targets.board.manifest import FORMAT, manifest_digest
from targets.board.options import EngineOptions
from targets.board.png import encode_png
from targets.bundle.assemble import assemble
from targets.bundle.readme import readme
from targets.bundle.selftest import SelfTest, make_selftest
from targets.bundle.shell import build_script
from targets.bundle.verify import is_bundle, is_bundle_archive
from targets.camera import with_camera
from targets.graph import DepthGraph, load_model, write_model

if TYPE_CHECKING:
    import onnx

__all__ = ["BundleOptions", "Encoding", "WrittenBundle", "require_nothing_predicted", "require_place", "write_bundle"]

_PICTURE, _DEPTH = "selftest/picture.png", "selftest/depth.npy"


@dataclass(frozen=True)
class Encoding:
    """An ONNX model for the bundle, and the runtimes that are to run it."""

    path: Path
    precision: Precision
    runtimes: tuple[str, ...]

    @property
    def file(self) -> str:
        """Its path in the bundle: int8 has two encodings, the other precisions one for every runtime."""
        kind = f"-{'s8' if 'tensorrt' in self.runtimes[0] else 'u8s8'}" if self.precision == "int8" else ""
        return f"models/{self.precision}{kind}.onnx"


@dataclass(frozen=True)
class BundleOptions:
    """`camera` is (height, width) of frames that go in as they are; with None, run.py frames them for the network.

    `metric` is whether depth is in metres; if not, its unit is unknown, and the bundle says so.
    """

    name: str
    camera: tuple[int, int] | None = None
    engine: EngineOptions = field(default_factory=EngineOptions)
    metric: bool = True


@dataclass(frozen=True)
class WrittenBundle:
    """What was made. `blind_to` are mistakes that the self-test would not notice with these models and pictures."""

    folder: Path
    archive: Path
    digest: str
    size: int  # bytes of the folder
    models_size: int
    errors: Mapping[str, float]
    tolerances: Mapping[str, float]
    blind_to: tuple[str, ...]


def write_bundle(
    graph: DepthGraph,
    encodings: Sequence[Encoding],
    pictures: NDArray[np.uint8],
    options: BundleOptions,
    made_from: Mapping[str, Any],
    into: Path,
) -> WrittenBundle:
    """Write the folder `into` and `into`.tar.gz, each completely or not at all.

    `graph` is the fp32 model that the encodings were made from; `pictures` uint8 [N, h, w, 3] are at the network's
    resolution, and one of them becomes the self-test. Replaces what is at `into`: see `require_place`. Raises
    DataError, ModelError or FileError.
    """
    if not encodings or not len(pictures):
        raise DataError("A bundle needs models and a picture to test them on", fix="Export first: edgekd export")
    framing = graph.input.framing

    def framed(model: onnx.ModelProto) -> onnx.ModelProto:
        return model if options.camera is None else with_camera(model, framing, options.camera)

    models = {encoding.file: (framed(load_model(encoding.path)), encoding.precision) for encoding in encodings}
    frames = pictures if options.camera is None else _as_frames(pictures, options.camera, framing.box)
    tested = make_selftest(framed(graph.model), models, frames)
    with replacing_folder(into) as folder:
        for file, (model, _) in models.items():
            (folder / file).parent.mkdir(exist_ok=True)
            write_model(folder / file, model)
        _write_selftest(folder, tested)
        size = options.camera or (framing.height, framing.width)
        engines = [(e.file, e.precision) for e in encodings if "tensorrt" in e.runtimes]
        if engines:
            _write_program(folder / "build.sh", build_script(engines, size, options.engine))
        _write_program(folder / "run.py", assemble())
        write_bytes(folder / "README.md", readme(options, graph.input.framing, encodings, tested).encode())
        files = {path: sha256_file(folder / path) for path in _files(folder)}
        manifest = {
            "format": FORMAT,
            "name": options.name,
            "made_from": dict(made_from),
            "framing": graph.input.to_json()["framing"],
            "camera": options.camera,
            "metric": options.metric,
            "engine": str(options.engine),
            "models": [_model(encoding, tested) for encoding in encodings],
            "selftest": {"picture": _PICTURE, "depth": _DEPTH},
            "files": files,
        }
        digest = manifest_digest(manifest)
        write_json(folder / "manifest.json", {**manifest, "digest": digest})
    archive = _archive(into)
    _pack(into, archive)
    sizes = {path: (into / path).stat().st_size for path in _files(into)}
    models_size = sum(sizes[file] for file in models)
    blind = tuple(tested.blind_to())
    return WrittenBundle(
        into, archive, digest, sum(sizes.values()), models_size, tested.errors, tested.tolerances, blind
    )


def require_place(into: Path) -> None:
    """Raise UsageError where a bundle cannot be written: an earlier one is replaced, and nothing else.

    The folder may be a run, or hold the only copy of something; the archive may be the backup of a run.
    """
    folder = is_bundle(into) or not into.exists() or (into.is_dir() and not any(into.iterdir()))
    archive = _archive(into)
    for path, free in ((into, folder), (archive, not archive.exists() or is_bundle_archive(archive))):
        if not free:
            raise UsageError(
                f"{path} exists and is not a bundle", fix="Choose another folder with --out, or move it away"
            )


def require_nothing_predicted(into: Path) -> None:
    """Raise UsageError where the bundle in `into` holds depth that its run.py predicted: a new one would replace it."""
    predicted = into / "depth"  # run.py's own default
    if predicted.is_dir() and any(predicted.iterdir()):
        raise UsageError(
            f"{predicted} holds depth that run.py predicted, and the bundle around it is to be replaced",
            fix=f"Move {predicted} away",
        )


def _archive(into: Path) -> Path:
    """Where the same as .tar.gz is written."""
    return into.with_name(f"{into.name}.tar.gz")


def _model(encoding: Encoding, tested: SelfTest) -> dict[str, Any]:
    return {
        "file": encoding.file,
        "precision": encoding.precision,
        "runtimes": list(encoding.runtimes),
        "error": tested.errors[encoding.file],
        "tolerance": tested.tolerances[encoding.file],
    }


def _write_program(path: Path, text: str) -> None:
    write_bytes(path, text.encode())
    path.chmod(0o755)


def _write_selftest(folder: Path, tested: SelfTest) -> None:
    write_bytes(folder / _PICTURE, encode_png(tested.picture))
    with replacing(folder / _DEPTH) as temporary, open(temporary, "wb") as stream:
        np.save(stream, tested.depth.astype(np.float16), allow_pickle=False)  # accurate to 0.05 %, in half the bytes


def _as_frames(pictures: NDArray[np.uint8], camera: tuple[int, int], box: Any) -> NDArray[np.uint8]:
    """Frames uint8 [N, *camera, 3] in which the network sees the pictures; grey around them."""
    from PIL import Image

    left, top, right, bottom = (round(edge) for edge in box(*camera))
    frames = np.full((len(pictures), *camera, 3), 128, np.uint8)
    for frame, picture in zip(frames, pictures, strict=True):
        frame[top:bottom, left:right] = np.asarray(Image.fromarray(picture).resize((right - left, bottom - top)))
    return frames


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _pack(folder: Path, archive: Path) -> None:
    """Pack without times or owners, so that the same bundle always gives the same bytes."""

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with (
        replacing(archive) as temporary,
        open(temporary, "wb") as stream,
        gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in _files(folder):
            tar.add(folder / path, f"{folder.name}/{path}", recursive=False, filter=anonymous)
