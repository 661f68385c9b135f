"""Parsers of pictures, depth, sets of them and meshes, with corpora made by code."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
from corpus import as_json, random_pixels, saved_picture, write_file

__all__ = [
    "calibrations_corpus",
    "depths_corpus",
    "hdf5s_corpus",
    "indices_corpus",
    "meshes_corpus",
    "pictures_corpus",
    "read_board_picture",
    "read_calibration",
    "read_depth",
    "read_hdf5",
    "read_index",
    "read_masked",
    "read_mesh",
    "read_picture",
    "read_scenenet",
    "read_set_manifest",
    "read_shard",
    "set_manifests_corpus",
    "shards_corpus",
    "trajectories_corpus",
]


def pictures_corpus() -> list[bytes]:
    kinds = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP")
    made = [saved_picture(kind, random_pixels(5, 7, 3)) for kind in kinds]
    return [
        *made,
        saved_picture("PNG", random_pixels(5, 7, 4)),
        saved_picture("PNG", random_pixels(5, 7)),
        saved_picture("TIFF", random_pixels(5, 7)),
    ]


def read_picture(folder: Path, data: bytes) -> None:
    from edgekd.pictures.reading import read_picture

    read_picture(write_file(folder, "room.png", data))


def read_board_picture(folder: Path, data: bytes) -> None:
    from targets.board.png import decode_png

    decode_png(data, "picture.png")


def read_masked(folder: Path, data: bytes) -> None:
    from edgekd.simulate.readers import open_source

    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    write_file(folder, "images/a.png", saved_picture("PNG", random_pixels(5, 7, 3)))
    write_file(folder, "masks/a.png", data)
    open_source(folder)[0]


def depths_corpus() -> list[bytes]:
    arrays = []
    for array in (np.ones((3, 4), np.float32), np.ones((1, 3, 4), np.uint16)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        arrays.append(b"n" + buffer.getvalue())
    return [
        *arrays,
        b"p" + saved_picture("PNG", random_pixels(3, 4, kind=np.uint16)),
        b"g" + b"P5\n4 3\n65535\n" + bytes(24),
    ]


def read_depth(folder: Path, data: bytes) -> None:
    from edgekd.evaluate.datasets.depth import read_depth

    suffix = {b"p": ".png", b"g": ".pgm"}.get(data[:1], ".npy")
    read_depth(write_file(folder, f"depth{suffix}", data[1:]), 1000.0)


def read_index(folder: Path, data: bytes) -> None:
    from edgekd.evaluate.datasets.index import open_index

    write_file(folder, "a.png", saved_picture("PNG", random_pixels(5, 7, 3)))
    write_file(folder, "d.png", saved_picture("PNG", np.full((5, 7), 2000, np.uint16)))
    open_index(write_file(folder, "index.csv", data))[0]


def indices_corpus() -> list[bytes]:
    head = b"dataset,rgb,depth,depth_units_per_metre"
    return [head + b",scene\na,a.png,d.png,1000,s\n", head + b'\r\na,"a.png",d.png,1e3\r\nb,a.png,d.png,500\r\n']


def shards_corpus() -> list[bytes]:
    from edgekd.simulate.sample import SimulatedImage
    from edgekd.simulate.shards import write_shard

    path = Path("/tmp") / f"shard-{np.random.default_rng().integers(1 << 60)}.tar"
    image = SimulatedImage(random_pixels(4, 5, 3), random_pixels(4, 5, kind=np.uint16), np.ones((4, 5), np.float32))
    write_shard(path, [(0, image), (1, image)], keep_depth=True)
    data = path.read_bytes()
    path.unlink()
    return [data]


def read_shard(folder: Path, data: bytes) -> None:
    from edgekd.simulate.shards import index_shard, read_image

    path = write_file(folder, "00000.tar", data)
    for entry in list(index_shard(data, path).values())[:4]:
        read_image(path, entry)


def read_set_manifest(folder: Path, data: bytes) -> None:
    from edgekd.simulate.store import SimulatedSet

    write_file(folder, "manifest.json", data)
    write_file(folder, "00000.tar", b"")
    SimulatedSet.open(folder)


def set_manifests_corpus() -> list[bytes]:
    from calibration.files import sha256_bytes

    request = {"count": 3, "seed": 0, "keep_depth": False, "renderer": 1, "settings": {"views_per_room": 8}}
    return [as_json({"edgekd": "0", "request": request, "shards": {"00000.tar": sha256_bytes(b"")}})]


def read_calibration(folder: Path, data: bytes) -> None:
    from calibration.images import CalibrationSet

    cut = data.find(b"\n\n")
    write_file(folder, "calibration.json", data[:cut])
    write_file(folder, "images.npy", data[cut + 2 :])
    CalibrationSet.open(folder)


def calibrations_corpus() -> list[bytes]:
    from calibration.files import sha256_bytes

    buffer = io.BytesIO()
    np.save(buffer, random_pixels(2, 3, 4, 3))
    pixels = sha256_bytes(buffer.getvalue())
    fields = {"count": 2, "height": 3, "width": 4, "sha256": pixels, "origin": "o", "made_from": {"a": "b"}}
    digest = sha256_bytes(json.dumps(fields, sort_keys=True).encode())
    return [as_json({**fields, "digest": digest}) + b"\n\n" + buffer.getvalue()]


def read_scenenet(folder: Path, data: bytes) -> None:
    from edgekd.simulate.readers import open_source

    frames = folder / "val" / "0" / "12"
    if not frames.is_dir():
        planes = {"instance/25.png": random_pixels(6, 8), "depth/25.png": np.full((6, 8), 2000, np.uint16)}
        for name, plane in {"photo/25.jpg": random_pixels(6, 8, 3), **planes}.items():
            (frames / name).parent.mkdir(parents=True)
            write_file(frames, name, saved_picture("JPEG" if name.endswith("jpg") else "PNG", plane))
    write_file(folder, "scenenet_rgbd_val.pb", data)
    open_source(folder)[0]


def trajectories_corpus() -> list[bytes]:
    def field(number: int, value: bytes) -> bytes:
        return bytes([number * 8 + 2, len(value)]) + value

    instances = field(2, b"\x08\x05\x20\x03") + field(2, b"\x08\x07\x20\x02")
    view, missing = field(3, b"\x08\x19"), field(3, b"\x08\x1a")
    way = field(1, instances + view + missing + field(4, b"0/12"))
    return [way, way + field(1, instances + view + field(4, b"0/13"))]


def hdf5s_corpus() -> list[bytes]:
    import h5py

    made = []
    for array in (np.ones((3, 4), np.float32), random_pixels(3, 4, 3)):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file["dataset"] = array
        made.append(buffer.getvalue())
    return made


def read_hdf5(folder: Path, data: bytes) -> None:
    from edgekd.simulate.readers.hypersim import _dataset

    _dataset(write_file(folder, "frame.hdf5", data))


def meshes_corpus() -> list[bytes]:
    obj = (
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvn 0 0 1\nf 1 2 3\nf 1/1/1 3/1/1 4/1/1\nmtllib a.mtl\nusemtl a\n"
    )
    textured = b"mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl a\nf 1/1 2/2 3/3\n"
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
    text = as_json(gltf)
    text += b" " * (-len(text) % 4)
    chunks = len(text).to_bytes(4, "little") + b"JSON" + text + len(points).to_bytes(4, "little") + b"BIN\0" + points
    glb = b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks
    shown = {
        **gltf,
        "nodes": [{"mesh": 0}, {"mesh": 0, "translation": [0, 1, 0]}],
        "scenes": [{"nodes": [0, 1]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"uri": "a.png"}],
        "buffers": [{"byteLength": 36, "uri": f"data:;base64,{base64.b64encode(points).decode()}"}],
        "accessors": [accessor, {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC2"}],
    }
    return [b"o" + obj, b"o" + textured, b"p" + ply, b"g" + glb, b"j" + as_json(shown)]


def read_mesh(folder: Path, data: bytes) -> None:
    from edgekd.simulate.meshes.loading import load_mesh

    suffix = {b"o": ".obj", b"p": ".ply", b"j": ".gltf"}.get(data[:1], ".glb")
    write_file(folder, "a.mtl", b"newmtl a\nKd 1 1 1\nmap_Kd a.png\n")
    write_file(folder, "a.png", saved_picture("PNG", random_pixels(2, 2, 3)))
    load_mesh(write_file(folder, f"chair{suffix}", data[1:]))
