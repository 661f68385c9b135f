"""Parsers of edgekd's other files (runs, artefacts, bundles, benches) and npm packages, with corpora made by code."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from corpus import as_json, random_pixels, write_file
from parsed_networks import INPUT

from calibration.errors import EdgekdError

__all__ = [
    "archives_corpus",
    "artefacts_corpus",
    "benches_corpus",
    "board_errors",
    "bundles_corpus",
    "galleries_corpus",
    "read_archive",
    "read_artefact",
    "read_bench",
    "read_bundle",
    "read_gallery",
    "read_package",
    "read_run",
    "runs_corpus",
]


def runs_corpus() -> list[bytes]:
    step = {
        "asked": {"steps": 2},
        "inputs": {"teacher": "0"},
        "command": "edgekd distill --out {run}",
        "started": "2026",
        "versions": {"numpy": "2"},
        "outputs": {"a": {"sha256": "0", "size": 1}},
        "finished": "2026",
        "seconds": 1.0,
    }
    teacher = {"name": "t", "spec": "t", "digest": "0", "source": "s"}
    return [as_json({"format": 1, "created": "2026", "edgekd": "0", "teacher": teacher, "steps": {"distill": step}})]


def read_run(folder: Path, data: bytes) -> None:
    from edgekd.run import Run

    write_file(folder, "run.json", data)
    run = Run.open(folder)
    run.faults()
    for name, step in run.manifest.steps.items():
        run.is_done(name, inputs=step.inputs, asked=step.asked)
        run.differences(name, inputs={}, asked={"steps": 3})


def read_artefact(folder: Path, data: bytes) -> None:
    from targets.artefact import open_artefact

    write_file(folder, "model.onnx", b"m")
    write_file(folder, "artefact.json", data)
    open_artefact(folder)


def artefacts_corpus() -> list[bytes]:
    from calibration.files import sha256_bytes

    fields = {
        "target": "onnxruntime",
        "precision": "int8",
        "input": INPUT,
        "model": "model.onnx",
        "files": {"model.onnx": sha256_bytes(b"m")},
        "student": "0",
        "calibration": None,
        "versions": {"onnxruntime": "1"},
        "device": None,
        "can_run_here": True,
        "device_command": None,
        "settings": {"a": "b"},
        "drift": {"abs_rel": 0.1},
        "drift_on": "pictures",
    }
    return [as_json({"format": 1, **fields})]


def read_bundle(folder: Path, data: bytes) -> None:
    from targets.board.manifest import Bundle
    from targets.bundle.verify import bundle_faults

    for name in ("m", "p", "d"):
        write_file(folder, name, b"x")
    write_file(folder, "manifest.json", signed(data))
    Bundle(folder)
    bundle_faults(folder)


def bundles_corpus() -> list[bytes]:
    from calibration.files import sha256_bytes
    from targets.board.manifest import FORMAT

    files = {name: sha256_bytes(b"x") for name in ("m", "p", "d")}
    model = {"file": "m", "precision": "fp32", "runtimes": ["onnxruntime"], "error": 0.0, "tolerance": 0.1}
    value = {
        "format": FORMAT,
        "name": "n",
        "made_from": {"run": "r"},
        "framing": INPUT["framing"],
        "camera": [48, 64],
        "engine": "",
        "models": [model],
        "selftest": {"picture": "p", "depth": "d"},
        "files": files,
    }
    return [signed(as_json(value)), signed(as_json({**value, "camera": None}))]


def signed(data: bytes) -> bytes:
    """A manifest with the digest that fits it, so that what is tried is what lies behind the digest's own check."""
    from targets.board.manifest import manifest_digest

    try:
        value = json.loads(data)
        return as_json({**value, "digest": manifest_digest(value)})
    except Exception:  # whatever this is, the parser gets it unchanged
        return data


def read_archive(folder: Path, data: bytes) -> None:
    from targets.bundle.verify import bundle_faults

    bundle_faults(write_file(folder, "b.tar.gz", data))


def archives_corpus() -> list[bytes]:
    manifest, made = bundles_corpus()[0], []
    for mode in ("w:gz", "w"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
            for name, content in (("b/manifest.json", manifest), ("b/m", b"x"), ("b/p", b"x")):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        made.append(buffer.getvalue())
    return made


def read_bench(folder: Path, data: bytes) -> None:
    from edgekd.bench.result import BenchResult

    BenchResult.read(write_file(folder, "bench.json", data))


def benches_corpus() -> list[bytes]:
    from dataclasses import asdict

    from edgekd.bench.machine import describe_machine

    row = {
        "name": "onnxruntime-fp32",
        "target": "onnxruntime",
        "precision": "fp32",
        "size": 3,
        "model": "0",
        "student": "0",
        "calibration": None,
        "built": {},
        "drift": {"abs_rel": 0.1},
        "drift_on": None,
        "latency": None,
        "throughput": None,
        "cold": None,
        "flicker": None,
        "evaluation": None,
        "reason": "r",
        "fix": "f",
    }
    value = {
        "created": "2026",
        "run": "r",
        "machine": asdict(describe_machine()),
        "settings": {"threads": 1},
        "pictures": "p",
        "clip": None,
        "data": None,
        "idle_watts": {},
        "rows": [row],
        "schema": 2,
    }
    return [json.dumps(value, default=str).encode()]


def read_gallery(folder: Path, data: bytes) -> None:
    from edgekd.bench.gallery import Gallery

    Gallery.read(write_file(folder, "bench.npz", data))


def galleries_corpus() -> list[bytes]:
    from edgekd.bench.gallery import Gallery, Shown

    path = Path("/tmp") / f"gallery-{np.random.default_rng().integers(1 << 60)}.npz"
    shown = Shown(("a",), random_pixels(1, 2, 3, 3), {"x": np.ones((1, 2, 3), np.float32)})
    Gallery(shown).write(path)
    data = path.read_bytes()
    path.unlink()
    return [data]


def read_package(folder: Path, data: bytes) -> None:
    from edgekd.models.fetch import NpmFile, _member

    _member(write_file(folder, "p.tgz", data), NpmFile("p@1", "b/m", "0"), "get it by hand")


def board_errors() -> tuple[type[Exception], ...]:
    from targets.board.errors import BoardError

    return (EdgekdError, BoardError)
