"""Every parser of files from outside: how it is called, and a small corpus that code makes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import EdgekdError
from calibration.progress import Quiet

__all__ = ["PARSERS", "Parser"]


@dataclass(frozen=True)
class Parser:
    """`read` is given an empty folder and the bytes of one file; it may raise what `allowed` names."""

    read: Callable[[Path, bytes], object]
    corpus: Callable[[], list[bytes]]
    allowed: tuple[type[Exception], ...] = (EdgekdError,)


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _pixels(*shape: int, kind: type = np.uint8) -> Any:
    return np.random.default_rng(0).integers(0, 255, shape).astype(kind)


def _saved(kind: str, array: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


# ONNX


def _network() -> list[bytes]:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def model(nodes: list[Any], constants: dict[str, Any]) -> bytes:
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, 8, 8])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        made: bytes = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
        return made

    weights = {"w": np.ones((1, 3, 3, 3), np.float32), "b": np.ones(1, np.float32)}
    conv = helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1])
    sizes = {"s": np.array([2], np.int64), "e": np.array([1, 1, 8, 8], np.int64)}
    chain = [
        conv,
        helper.make_node("ConstantOfShape", ["e"], ["f"]),
        helper.make_node("Add", ["c", "f"], ["y"]),
    ]
    resize = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["c", "", "k"], ["y"], mode="nearest"),
    ]
    scales = {"k": np.array([1, 1, 2, 2], np.float32)}
    external = onnx.load_model_from_string(model([conv, helper.make_node("Relu", ["c"], ["y"])], weights))
    tensor = external.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../w.bin"
    return [
        model([conv, helper.make_node("Relu", ["c"], ["y"])], weights),
        model(chain, weights | sizes),
        model(resize, weights | scales),
        external.SerializeToString(),
    ]


def _import_onnx(folder: Path, data: bytes) -> None:
    from edgekd.models.onnx_import import import_onnx

    import_onnx(_file(folder, "net.onnx", data))


def _preflight(folder: Path, data: bytes) -> None:
    from edgekd.steps.preflight import preflight_models

    preflight_models([str(_file(folder, "net.onnx", data))], Quiet())


def _student() -> list[bytes]:
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "contract"))
    from small_network import small_network

    model: bytes = small_network().SerializeToString()
    return [model]


def _graph(folder: Path, data: bytes) -> None:
    from targets.graph import read_graph

    read_graph(_file(folder, "student.onnx", data))


# Weights


def _state_dicts() -> list[bytes]:
    import torch

    made = []
    for held in ({"w": torch.ones(2, 2)}, {"state_dict": {"w": torch.ones(3), "n": torch.tensor(1)}, "epoch": 3}):
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(held, buffer, _use_new_zipfile_serialization=zipped)
            made.append(buffer.getvalue())
    return made


def _checkpoint(folder: Path, data: bytes) -> None:
    from edgekd.models.from_checkpoint import _load_pickled

    _load_pickled(_file(folder, "net.pt", data))


def _safetensors(described: dict[str, Any], key: str) -> bytes:
    import torch
    from safetensors.torch import save

    from edgekd.models.weights import tensors_digest

    tensors = {"0.mean": torch.ones(2), "0.variance": torch.ones(2)}
    return bytes(save(tensors, metadata={key: json.dumps({**described, "weights": tensors_digest(tensors)})}))


_INPUT = {
    "framing": {"height": 8, "width": 8, "resize_height": None, "crop": None},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}


def _weights(folder: Path, data: bytes) -> None:
    from calibration.weights import weights_fault
    from edgekd.models.weights import load_weights

    path = _file(folder, "net.safetensors", data)
    for read in (weights_fault, load_weights):
        try:
            read(path)
        except EdgekdError:
            continue


def _statistics(folder: Path, data: bytes) -> None:
    from edgekd.distill.statistics_file import StatisticsFile

    StatisticsFile.read(_file(folder, "s.safetensors", data))


def _statistics_corpus() -> list[bytes]:
    described = {"teacher": "t", "digest": "0" * 64, "pictures": 20, "layers": ["a"]}
    return [_safetensors(described, "edgekd.statistics")]


def _input(folder: Path, data: bytes) -> None:
    from edgekd.models.freeze import stated_input

    _file(folder, "net.onnx.input.json", data)
    stated_input(folder / "net.onnx")


# Pictures and depth


def _pictures() -> list[bytes]:
    kinds = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP")
    made = [_saved(kind, _pixels(5, 7, 3)) for kind in kinds]
    return [*made, _saved("PNG", _pixels(5, 7, 4)), _saved("PNG", _pixels(5, 7)), _saved("TIFF", _pixels(5, 7))]


def _picture(folder: Path, data: bytes) -> None:
    from edgekd.pictures.reading import read_picture

    read_picture(_file(folder, "room.png", data))


def _board_picture(folder: Path, data: bytes) -> None:
    from targets.board.png import decode_png

    decode_png(data, "picture.png")


def _masked(folder: Path, data: bytes) -> None:
    from edgekd.simulate.readers import open_source

    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    _file(folder, "images/a.png", _saved("PNG", _pixels(5, 7, 3)))
    _file(folder, "masks/a.png", data)
    open_source(folder)[0]


def _depths() -> list[bytes]:
    arrays = []
    for array in (np.ones((3, 4), np.float32), np.ones((1, 3, 4), np.uint16)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        arrays.append(b"n" + buffer.getvalue())
    return [
        *arrays,
        b"p" + _saved("PNG", _pixels(3, 4, kind=np.uint16)),
        b"g" + b"P5\n4 3\n65535\n" + bytes(24),
    ]


def _depth(folder: Path, data: bytes) -> None:
    from edgekd.evaluate.datasets.depth import read_depth

    suffix = {b"p": ".png", b"g": ".pgm"}.get(data[:1], ".npy")
    read_depth(_file(folder, f"depth{suffix}", data[1:]), 1000.0)


def _index(folder: Path, data: bytes) -> None:
    from edgekd.evaluate.datasets.index import open_index

    open_index(_file(folder, "index.csv", data))


# Sets


def _shards() -> list[bytes]:
    from edgekd.simulate.sample import SimulatedImage
    from edgekd.simulate.shards import write_shard

    path = Path("/tmp") / f"shard-{np.random.default_rng().integers(1 << 60)}.tar"
    image = SimulatedImage(_pixels(4, 5, 3), _pixels(4, 5, kind=np.uint16), np.ones((4, 5), np.float32))
    write_shard(path, [(0, image), (1, image)], keep_depth=True)
    data = path.read_bytes()
    path.unlink()
    return [data]


def _shard(folder: Path, data: bytes) -> None:
    from edgekd.simulate.shards import index_shard, read_image

    path = _file(folder, "00000.tar", data)
    for entry in list(index_shard(data, path).values())[:4]:
        read_image(path, entry)


def _set_manifest(folder: Path, data: bytes) -> None:
    from edgekd.simulate.store import SimulatedSet

    _file(folder, "manifest.json", data)
    _file(folder, "00000.tar", b"")
    SimulatedSet.open(folder)


def _set_manifests() -> list[bytes]:
    from calibration.files import sha256_bytes

    request = {"count": 3, "seed": 0, "keep_depth": False, "renderer": 1, "settings": {"views_per_room": 8}}
    return [_json({"edgekd": "0", "request": request, "shards": {"00000.tar": sha256_bytes(b"")}})]


def _calibration(folder: Path, data: bytes) -> None:
    from calibration.images import CalibrationSet

    cut = data.find(b"\n\n")
    _file(folder, "calibration.json", data[:cut])
    _file(folder, "images.npy", data[cut + 2 :])
    CalibrationSet.open(folder)


def _calibrations() -> list[bytes]:
    from calibration.files import sha256_bytes

    buffer = io.BytesIO()
    np.save(buffer, _pixels(2, 3, 4, 3))
    pixels = sha256_bytes(buffer.getvalue())
    fields = {"count": 2, "height": 3, "width": 4, "sha256": pixels, "origin": "o", "made_from": {"a": "b"}}
    digest = sha256_bytes(json.dumps(fields, sort_keys=True).encode())
    return [_json({**fields, "digest": digest}) + b"\n\n" + buffer.getvalue()]


def _scenenet(folder: Path, data: bytes) -> None:
    from edgekd.simulate.readers import open_source

    _file(folder, "scenenet_rgbd_val.pb", data)
    open_source(folder)


def _trajectories() -> list[bytes]:
    def field(number: int, value: bytes) -> bytes:
        return bytes([number * 8 + 2, len(value)]) + value

    way = field(2, b"\x08\x05\x20\x03") + field(3, b"\x08\x19") + field(4, b"0/12")
    return [field(1, way), field(1, way) * 2]


def _hdf5s() -> list[bytes]:
    import h5py

    made = []
    for array in (np.ones((3, 4), np.float32), _pixels(3, 4, 3)):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file["dataset"] = array
        made.append(buffer.getvalue())
    return made


def _hdf5(folder: Path, data: bytes) -> None:
    from edgekd.simulate.readers.hypersim import _dataset

    _dataset(_file(folder, "frame.hdf5", data))


def _meshes() -> list[bytes]:
    obj = (
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvn 0 0 1\nf 1 2 3\nf 1/1/1 3/1/1 4/1/1\nmtllib a.mtl\nusemtl a\n"
    )
    head = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    ply = head + b"element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32).tobytes()
    accessor = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}
    gltf = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "buffers": [{"byteLength": len(points)}],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}],
        "accessors": [accessor],
    }
    text = _json(gltf)
    text += b" " * (-len(text) % 4)
    chunks = len(text).to_bytes(4, "little") + b"JSON" + text + len(points).to_bytes(4, "little") + b"BIN\0" + points
    glb = b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks
    return [b"o" + obj, b"p" + ply, b"g" + glb]


def _mesh(folder: Path, data: bytes) -> None:
    from edgekd.simulate.meshes.loading import load_mesh

    suffix = {b"o": ".obj", b"p": ".ply"}.get(data[:1], ".glb")
    load_mesh(_file(folder, f"chair{suffix}", data[1:]))


# Manifests


def _runs() -> list[bytes]:
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
    return [_json({"format": 1, "created": "2026", "edgekd": "0", "teacher": teacher, "steps": {"distill": step}})]


def _run(folder: Path, data: bytes) -> None:
    from edgekd.run import Run

    _file(folder, "run.json", data)
    run = Run.open(folder)
    run.faults()
    for name, step in run.manifest.steps.items():
        run.is_done(name, inputs=step.inputs, asked=step.asked)
        run.differences(name, inputs={}, asked={"steps": 3})


def _artefact(folder: Path, data: bytes) -> None:
    from targets.artefact import open_artefact

    _file(folder, "model.onnx", b"m")
    _file(folder, "artefact.json", data)
    open_artefact(folder)


def _artefacts() -> list[bytes]:
    from calibration.files import sha256_bytes

    fields = {
        "target": "onnxruntime",
        "precision": "int8",
        "input": _INPUT,
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
    return [_json({"format": 1, **fields})]


def _bundle(folder: Path, data: bytes) -> None:
    from targets.board.manifest import Bundle
    from targets.bundle.verify import bundle_faults

    for name in ("m", "p", "d"):
        _file(folder, name, b"x")
    _file(folder, "manifest.json", data)
    Bundle(folder)
    bundle_faults(folder)


def _bundles() -> list[bytes]:
    from calibration.files import sha256_bytes

    files, made_from = {name: sha256_bytes(b"x") for name in ("m", "p", "d")}, {"run": "r"}
    model = {"file": "m", "precision": "fp32", "runtimes": ["onnxruntime"], "error": 0.0, "tolerance": 0.1}
    value = {
        "format": 1,
        "name": "n",
        "digest": sha256_bytes(json.dumps([files, made_from], sort_keys=True).encode()),
        "made_from": made_from,
        "framing": _INPUT["framing"],
        "camera": [48, 64],
        "engine": "",
        "models": [model],
        "selftest": {"picture": "p", "depth": "d"},
        "files": files,
    }
    return [_json(value), _json({**value, "camera": None})]


def _archive(folder: Path, data: bytes) -> None:
    from targets.bundle.verify import bundle_faults

    bundle_faults(_file(folder, "b.tar.gz", data))


def _archives() -> list[bytes]:
    manifest, made = _bundles()[0], []
    for mode in ("w:gz", "w"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
            for name, content in (("b/manifest.json", manifest), ("b/m", b"x"), ("b/p", b"x")):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        made.append(buffer.getvalue())
    return made


def _bench(folder: Path, data: bytes) -> None:
    from edgekd.bench.result import BenchResult

    BenchResult.read(_file(folder, "bench.json", data))


def _benches() -> list[bytes]:
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


def _gallery(folder: Path, data: bytes) -> None:
    from edgekd.bench.gallery import Gallery

    Gallery.read(_file(folder, "bench.npz", data))


def _galleries() -> list[bytes]:
    from edgekd.bench.gallery import Gallery, Shown

    path = Path("/tmp") / f"gallery-{np.random.default_rng().integers(1 << 60)}.npz"
    shown = Shown(("a",), _pixels(1, 2, 3, 3), {"x": np.ones((1, 2, 3), np.float32)})
    Gallery(shown).write(path)
    data = path.read_bytes()
    path.unlink()
    return [data]


def _package(folder: Path, data: bytes) -> None:
    from edgekd.models.fetch import NpmFile, _member

    _member(_file(folder, "p.tgz", data), NpmFile("p@1", "b/m", "0"), "get it by hand")


def _board_errors() -> tuple[type[Exception], ...]:
    from targets.board.errors import BoardError

    return (EdgekdError, BoardError)


PARSERS = {
    "onnx": Parser(_import_onnx, _network),
    "onnx-preflight": Parser(_preflight, _network),
    "onnx-student": Parser(_graph, _student),
    "checkpoint": Parser(_checkpoint, _state_dicts),
    "weights": Parser(
        _weights, lambda: [_safetensors({"architecture": "rooms", "input": _INPUT}, "edgekd"), *_statistics_corpus()]
    ),
    "statistics": Parser(_statistics, _statistics_corpus),
    "input": Parser(_input, lambda: [_json(_INPUT)]),
    "picture": Parser(_picture, _pictures),
    "board-picture": Parser(_board_picture, lambda: [_saved("PNG", _pixels(5, 7, 3))], _board_errors()),
    "mask": Parser(_masked, lambda: [_saved("PNG", _pixels(5, 7)), _saved("PNG", _pixels(5, 7, kind=np.uint16))]),
    "depth": Parser(_depth, _depths),
    "index": Parser(_index, lambda: [b"dataset,rgb,depth,depth_units_per_metre,scene\na,index.csv,index.csv,1000,s\n"]),
    "shard": Parser(_shard, _shards),
    "simulated-set": Parser(_set_manifest, _set_manifests),
    "calibration-set": Parser(_calibration, _calibrations),
    "scenenet": Parser(_scenenet, _trajectories),
    "hdf5": Parser(_hdf5, _hdf5s),
    "mesh": Parser(_mesh, _meshes),
    "run": Parser(_run, _runs),
    "artefact": Parser(_artefact, _artefacts),
    "bundle": Parser(_bundle, _bundles, _board_errors()),
    "bundle-archive": Parser(_archive, _archives),
    "bench": Parser(_bench, _benches),
    "gallery": Parser(_gallery, _galleries),
    "package": Parser(_package, _archives),
}
"""By name. A corpus is what the fuzzer starts from: whole files, as small as they get."""
