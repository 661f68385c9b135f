"""Mesh files made to do harm: names that lead out of the folder or to the network, small files that ask for much."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("trimesh", reason="meshes are read by trimesh")

from calibration.errors import DataError
from edgekd.simulate.meshes.loading import load_mesh

POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32).tobytes()
CORNERS = np.array([[0, 0], [1, 0], [0, 1]], np.float32).tobytes()
OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl a\nf 1/1 2/2 3/3\n"
PLY = (
    "ply\nformat ascii 1.0\ncomment TextureFile {}\nelement vertex 3\nproperty float x\nproperty float y\n"
    "property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
)


def data_uri(data: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()


def picture(colour: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def gltf(**changed: Any) -> str:
    """A textured triangle, entirely inside the file."""
    accessor = {"componentType": 5126, "count": 3}
    whole = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"uri": data_uri(picture())}],
        "buffers": [{"byteLength": 60, "uri": data_uri(POINTS + CORNERS)}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 24}],
        "accessors": [{**accessor, "bufferView": 0, "type": "VEC3"}, {**accessor, "bufferView": 1, "type": "VEC2"}],
    }
    return json.dumps({**whole, **changed})


class Watched:
    """What this process opened, connected to or started."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._note)  # permanent: audit hooks cannot be removed

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and (event == "open" or event.startswith(("socket.", "subprocess.", "os.system", "os.posix_spawn"))):
            self.seen.append(f"{event} {arguments[0] if arguments else ''}")


WATCHED = Watched()


@pytest.fixture
def watched() -> Iterator[Watched]:
    WATCHED.seen.clear()
    WATCHED.on = True
    yield WATCHED
    WATCHED.on = False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for meshes, beside files that no mesh may read."""
    (tmp_path / "secret.png").write_bytes(picture())
    (tmp_path / "secret.mtl").write_text("newmtl a\nKd 1 0 0\n")
    (tmp_path / "secret.bin").write_bytes(POINTS + CORNERS)
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "link").symlink_to(tmp_path)
    return tmp_path / "meshes"


def save(folder: Path, kind: str, name: str) -> Path:
    if kind == "mtllib":
        path = folder / "chair.obj"
        path.write_text(f"mtllib {name}\n{OBJ}")
    elif kind == "map_Kd":
        (folder / "chair.mtl").write_text(f"newmtl a\nmap_Kd {name}\n")
        path = save(folder, "mtllib", "chair.mtl")
    elif kind == "ply":
        path = folder / "chair.ply"
        path.write_text(PLY.format(name))
    else:
        path = folder / "chair.gltf"
        changed = {"images": [{"uri": name}]} if kind == "image" else {"buffers": [{"byteLength": 60, "uri": name}]}
        path.write_text(gltf(**changed))
    return path


@pytest.mark.parametrize(
    "where",
    ["../{}", "{folder}/../{}", "link/{}", "sub/../../{}", "http://127.0.0.1:9/{}", "%2e%2e/{}", "%2E%2E%2F{}",
     "-s 1 1 1 ../{}"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("kind", "name"),
    [("mtllib", "secret.mtl"), ("map_Kd", "secret.png"), ("ply", "secret.png"), ("image", "secret.png"),
     ("buffer", "secret.bin")],
)  # fmt: skip
def test_a_file_outside_the_folder_is_neither_opened_nor_asked_for(
    kind: str, name: str, where: str, folder: Path, watched: Watched, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save(folder, kind, where.format(name, folder=folder))
    load_mesh_of_nothing(folder)  # so that imports on first use do not count
    watched.seen.clear()
    with pytest.raises(DataError, match="outside its folder") as caught:
        load_mesh(path)
    assert "\n" not in str(caught.value)
    touched = {Path(entry.removeprefix("open ")) for entry in watched.seen if entry.startswith("open ")}
    assert touched <= {path, folder / "chair.mtl"}
    assert not [entry for entry in watched.seen if not entry.startswith("open ")]
    assert capfd.readouterr() == ("", "")


def load_mesh_of_nothing(folder: Path) -> None:
    for name, text in (("a.obj", OBJ), ("a.ply", PLY.format("none.png")), ("a.gltf", gltf())):
        (folder / name).write_text(text)
        load_mesh(folder / name)


def test_files_beside_a_mesh_and_those_within_it_are_read(folder: Path) -> None:
    (folder / "textures").mkdir()
    (folder / "textures" / "red.png").write_bytes(picture())
    (folder / "red.png").write_bytes(picture())
    (folder / "chair.bin").write_bytes(POINTS + CORNERS)
    (folder / "my red.png").write_bytes(picture())
    (folder / "my chair.bin").write_bytes(POINTS + CORNERS)
    textured = [
        ("image", "my red.png"),
        ("image", "my%20red.png"),  # as glTF requires
        ("buffer", "my%20chair.bin"),
        ("map_Kd", "my red.png"),
        ("map_Kd", "-s 1 1 1 red.png"),
        ("map_Kd", "-clamp on  -o 0 0 0 my red.png"),
        ("map_Kd", "-bm 0.5 /home/somebody/my red.png"),
        ("map_Kd", "textures/red.png"),
        ("map_Kd", "/home/somebody/red.png"),  # as exporters write it: the file of that name beside the mesh is read
        ("map_Kd", r"C:\Users\somebody\red.png"),
        ("image", "textures/red.png"),
        ("image", data_uri(picture())),
        ("buffer", "chair.bin"),
    ]
    for kind, name in textured:
        (part,) = load_mesh(save(folder, kind, name))
        assert part.material.tile is not None, name
        np.testing.assert_allclose(part.material.tile.mean[:2], [1, 0], atol=0.01)
    (part,) = load_mesh(save(folder, "image", "missing.png"))  # without its texture, the plain colour stays
    assert part.material.tile is None


def test_names_that_are_not_utf8_are_read(folder: Path) -> None:
    (folder / "gr\u00fcn.mtl").write_bytes("newmtl Gr\u00fcn\nKd 0 1 0\n".encode("latin-1"))
    for encoding in ("latin-1", "utf-8"):
        text = OBJ.replace("usemtl a", "usemtl Gr\u00fcn")
        (folder / "chair.obj").write_bytes(f"mtllib gr\u00fcn.mtl\n{text}".encode(encoding))
        (part,) = load_mesh(folder / "chair.obj")
        assert part.material.colours[0] == (0, 1, 0)


OLD = {"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": {"index": 0}}}}


@pytest.mark.parametrize("changed", [{}, {"materials": [OLD]}], ids=["plain", "specular"])
def test_a_texture_is_never_decoded_by_another_program(folder: Path, watched: Watched, changed: dict[str, Any]) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    path = folder / "chair.gltf"
    path.write_text(gltf(images=[{"uri": data_uri(eps)}], **changed))
    with pytest.raises(DataError, match="EPS"):
        load_mesh(path)
    assert not [entry for entry in watched.seen if entry.startswith("subprocess.")]


@pytest.mark.parametrize("suffix", [".gltf", ".glb"])
def test_a_texture_of_an_old_material_is_seen_in_its_colours(folder: Path, suffix: str) -> None:
    text = gltf(materials=[OLD]).encode()
    if suffix == ".glb":
        text += b" " * (-len(text) % 4)
        sizes = [(2).to_bytes(4, "little"), (20 + len(text)).to_bytes(4, "little"), len(text).to_bytes(4, "little")]
        text = b"glTF" + b"".join(sizes) + b"JSON" + text
    (folder / f"chair{suffix}").write_bytes(text)
    (part,) = load_mesh(folder / f"chair{suffix}")
    assert part.material.tile is not None
    np.testing.assert_allclose(part.material.tile.mean[:2], [1, 0], atol=0.01)


def deep(width: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, width)).save(buffer, "PNG")
    return buffer.getvalue()


ZEROS = {"componentType": 5126, "count": 300_000_000, "type": "VEC3"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("chair.gltf", gltf(accessors=[ZEROS, ZEROS]), "unpacks to 13,733 MB"),
        ("chair.gltf", gltf(bufferViews=[{"buffer": 0, "byteLength": 1 << 29}] * 2), "1,025 MB"),
        ("chair.gltf", gltf(scenes=[{"nodes": list(range(3000))}], nodes=[{"mesh": 0}] * 3000), "3,001 nodes"),
        ("chair.gltf", gltf(accessors=[{**ZEROS, "count": -5}]), "-5 is not a count"),
        ("chair.gltf", gltf(images=[{"uri": data_uri(deep(9500))}]), "90,250,000 pixels"),
        ("chair.gltf", gltf(images=[{"uri": data_uri(deep(9500))}], materials=[OLD]), "90,250,000 pixels"),
        ("chair.obj", OBJ + "usemtl b\nf 1 2 3\n" * 6000, "6,001 times"),
        ("chair.obj", OBJ + "f 1 2 3\n" * 300_001, "300,002 triangles"),
        ("chair.ply", PLY.replace("vertex 3", "vertex 99999999999"), "cannot be read"),
    ],
)
def test_a_small_file_that_asks_for_much_is_one_line(folder: Path, name: str, text: str, words: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        load_mesh(folder / name)
    assert "\n" not in str(caught.value)


def test_many_pieces_share_one_texture(folder: Path) -> None:
    (folder / "shelf.gltf").write_text(
        gltf(
            scenes=[{"nodes": list(range(500))}],
            nodes=[{"mesh": 0, "translation": [0.01 * n, 0, 0]} for n in range(500)],
        )
    )
    parts = load_mesh(folder / "shelf.gltf")
    assert len(parts) == 500 and len({id(part.material.tile) for part in parts}) == 1
    across = np.concatenate([part.points.reshape(-1, 3) for part in parts])[:, 0]
    assert np.ptp(across) == pytest.approx(5.99, abs=1e-4)


def test_what_trimesh_logs_is_not_shown_and_its_logger_stays_as_it_was(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger("trimesh").level
    (folder / "broken.png").write_bytes(b"no picture")
    load_mesh(save(folder, "ply", "broken.png"))
    assert capfd.readouterr() == ("", "") and logging.getLogger("trimesh").level == before
