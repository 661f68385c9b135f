"""The user's own meshes in simulated rooms: sizes, colours and textures as in the file."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from mesh_files import FACES, UPRIGHT, painted_box, textured_quad
from PIL import Image

from calibration.errors import DataError
from edgekd.simulate.builder import Builder, part_bounds
from edgekd.simulate.camera import Camera
from edgekd.simulate.lens import develop
from edgekd.simulate.looks import LOOKS
from edgekd.simulate.material import Material
from edgekd.simulate.meshes.loading import UNPAINTED, load_mesh
from edgekd.simulate.meshes.tiles import BASIS, bake
from edgekd.simulate.pose import Pose
from edgekd.simulate.rays import cast
from edgekd.simulate.shapes import box
from edgekd.simulate.textures import reflectance

trimesh = pytest.importorskip("trimesh", reason="meshes are read by trimesh")


def test_sizes_and_axes_are_those_of_the_file(meshes):
    sizes = {"cupboard.glb": (0.8, 0.4, 1.5), "inner/stand.ply": (0.5, 0.5, 0.9), "crate.obj": (0.6, 0.5, 0.3)}
    for name, (width, depth, height) in sizes.items():
        parts = load_mesh(meshes / name)
        expected = [-width / 2, -depth / 2, 0, width / 2, depth / 2, height]
        np.testing.assert_allclose(part_bounds(parts), expected, atol=1e-5)
        for part in parts:
            across = np.cross(part.points[:, 1] - part.points[:, 0], part.points[:, 2] - part.points[:, 0])
            flat = across / np.linalg.norm(across, axis=1, keepdims=True)
            np.testing.assert_allclose(part.normals, np.repeat(flat[:, None], 3, axis=1), atol=1e-4)  # sharp edges


def look_at(parts, *, size=(4.0, 4.0, 2.5)) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance [H, W, 3] and ids of parts at the back wall, seen from the front."""
    builder = Builder(np.random.default_rng(0))
    builder.add_room(box(*size, Material("plain", ((0.5, 0.5, 0.5),) * 3)), Pose(2, 2))
    builder.add_object(parts, Pose(2, 0.5))
    scene = builder.build(size)
    camera = Camera((2.0, 3.0, 0.5), -np.pi / 2, 0.0, 0.0, 64, 64, 100.0)
    hits = cast(scene, camera)
    ids = scene.objects[hits.triangle].reshape(64, 64)
    return reflectance(scene, camera, hits).reshape(64, 64, 3), ids


def test_a_texture_is_seen_upright_in_its_colours(tmp_path):
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :32], picture[:32, 32:], picture[32:, :32], picture[32:, 32:] = (
        (255, 0, 0), (0, 255, 0), (0, 0, 255), (188, 188, 188),
    )  # fmt: skip
    textured_quad(Image.fromarray(picture)).export(tmp_path / "quad.glb")
    shown, ids = look_at(load_mesh(tmp_path / "quad.glb"))
    assert 1300 < (ids == 1).sum() < 1700  # 1 m at 2.5 m with a focal length of 100: 40 x 40 pixels
    rows, columns = np.nonzero(ids)
    top, left, bottom, right = rows.min() + 5, columns.min() + 5, rows.max() - 5, columns.max() - 5
    for row, column, colour in (
        (top, left, (1, 0, 0)),
        (top, right, (0, 1, 0)),
        (bottom, left, (0, 0, 1)),
        (bottom, right, (0.503, 0.503, 0.503)),  # sRGB 188 in linear light
    ):
        np.testing.assert_allclose(shown[row, column], colour, atol=0.02)


def test_colours_of_faces_and_materials_are_seen(tmp_path):
    for name, red, rest in (("box.glb", 200 / 255, 30 / 255), ("box.ply", 0.578, 0.013)):  # linear by glTF, sRGB
        painted_box([1, 1, 1], (200, 30, 30)).export(tmp_path / name)
        shown, ids = look_at(load_mesh(tmp_path / name))
        assert shown[ids == 1].mean(axis=0) == pytest.approx([red, rest, rest], abs=0.05)
    (tmp_path / "box.mtl").write_text("newmtl blue\nKd 0 0 0.9\n")
    text = trimesh.exchange.obj.export_obj(trimesh.creation.box(), include_normals=False)
    (tmp_path / "box.obj").write_text("mtllib box.mtl\nusemtl blue\n" + text)
    shown, ids = look_at(load_mesh(tmp_path / "box.obj"))
    assert shown[ids == 1].mean(axis=0) == pytest.approx([0.004, 0.004, 0.787], abs=0.02)


def test_a_texture_of_16_bits_is_as_bright_as_one_of_8(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd grey.png\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nusemtl a\n" + UPRIGHT + FACES)
    for grey in (np.full((8, 8), 188, np.uint8), np.full((8, 8), 188 * 257, np.uint16)):
        Image.fromarray(grey).save(tmp_path / "grey.png")
        seen, ids = look_at(load_mesh(tmp_path / "a.obj"))
        assert seen[ids == 1].mean(axis=0) == pytest.approx([0.503] * 3, abs=0.02)


@pytest.mark.parametrize("head", ["", "mtllib none.mtl\nusemtl a\n", "mtllib a.mtl\nusemtl a\n"])
def test_an_obj_without_a_colour_is_painted_like_the_room(tmp_path, head):
    """Even with texture coordinates, for which trimesh makes up a dark grey picture."""
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd none.png\n")
    (tmp_path / "a.obj").write_text(head + UPRIGHT + FACES)
    assert [part.material for part in load_mesh(tmp_path / "a.obj")] == [UNPAINTED]


def test_an_obj_and_its_materials_may_begin_with_the_mark_of_utf_8(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl a\nKd 0 0 0.9\n", encoding="utf-8-sig")
    (tmp_path / "a.obj").write_text(UPRIGHT + "mtllib a.mtl\nusemtl a\n" + FACES, encoding="utf-8-sig")
    (part,) = load_mesh(tmp_path / "a.obj")
    assert len(part.points) == 2 and part.material.colours[0] == pytest.approx([0, 0, 0.787], abs=0.01)


def test_a_texture_is_found_whatever_the_case_of_its_name(tmp_path):
    Image.new("RGB", (8, 8), (188, 188, 188)).save(tmp_path / "Wood.PNG")
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd textures\\wood.png\n")
    (tmp_path / "a.obj").write_text("mtllib A.MTL\nusemtl a\n" + UPRIGHT + FACES)
    seen, ids = look_at(load_mesh(tmp_path / "a.obj"))
    assert seen[ids == 1].mean(axis=0) == pytest.approx([0.503] * 3, abs=0.02)


@pytest.mark.parametrize(
    ("colour", "shown"), [("", 1.0), ("Kd 0 0 0\n", 1.0), ("Kd 0.4 0.4 0.4\n", 0.133), ("Kd 0.8 0.8 0.8\n", 0.604)]
)
def test_a_picture_of_an_obj_is_as_bright_as_its_material_says(tmp_path, colour, shown):
    Image.new("RGB", (8, 8), (255, 255, 255)).save(tmp_path / "white.png")
    (tmp_path / "a.mtl").write_text(f"newmtl a\n{colour}map_Kd white.png\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nusemtl a\n" + UPRIGHT + FACES)
    seen, ids = look_at(load_mesh(tmp_path / "a.obj"))
    assert seen[ids == 1].mean(axis=0) == pytest.approx([shown] * 3, abs=0.02)


def coloured_gltf(path: Path, colours: np.ndarray, *, factor: list[float] | None) -> None:
    """Writes a square that faces glTF's front, with COLOR_0, and with a material if there is a factor."""
    kinds = {"float32": 5126, "uint8": 5121, "uint16": 5123}
    points = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0.5, 1, 0], [-0.5, 1, 0]], np.float32)
    parts = [points, np.array([0, 1, 2, 0, 2, 3], np.uint16), colours]
    data, starts = b"", []
    for part in parts:
        starts.append(len(data))
        data += part.tobytes()
    whole = {"normalized": True} if colours.dtype != np.float32 else {}
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 2}, "indices": 1}
    scene = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive if factor is None else {**primitive, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": factor or [1, 1, 1, 1]}}],
        "buffers": [{"byteLength": len(data), "uri": "data:;base64," + base64.b64encode(data).decode()}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": part.nbytes}
            for start, part in zip(starts, parts, strict=True)
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 6, "type": "SCALAR"},
            {"bufferView": 2, "componentType": kinds[str(colours.dtype)], "count": 4, "type": "VEC4", **whole},
        ],
    }
    path.write_text(json.dumps(scene))


@pytest.mark.parametrize("kind", ["float32", "uint8", "uint16"])
@pytest.mark.parametrize("factor", [None, [1, 0.5, 1, 1]], ids=["no material", "a material"])
def test_vertex_colours_of_gltf_are_linear_and_multiply_the_material(tmp_path, kind, factor):
    scale = 1 if kind == "float32" else np.iinfo(kind).max
    coloured_gltf(tmp_path / "a.gltf", (np.array([[0.5, 0.5, 0.02, 1]] * 4) * scale).astype(kind), factor=factor)
    seen, ids = look_at(load_mesh(tmp_path / "a.gltf"))
    assert seen[ids == 1].mean(axis=0) == pytest.approx([0.5, 0.25 if factor else 0.5, 0.02], abs=0.03)


RED, GREEN = np.array([[0.1, 0.4], [0.4, 0.4], [0.4, 0.1], [0.1, 0.1]]), np.array([0.5, 0.0])
"""Where the picture below is red, and how far from there it is green."""


def quantised_gltf(path: Path, *coordinates: np.ndarray, points: np.ndarray | None = None, **picture) -> None:
    """Writes an upright square of 1 m whose picture is red, green, blue and white, as tools for the web write it: the
    sets of texture coordinates, and the points, in integers if they are."""
    kinds = {"float32": 5126, "int16": 5122, "uint8": 5121, "uint16": 5123}
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) if points is None else points
    shown = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8).repeat(32, 0).repeat(32, 1)
    stream = io.BytesIO()
    Image.fromarray(shown).save(stream, "PNG")
    parts = [square, np.array([0, 1, 2, 0, 2, 3], np.uint16), *coordinates]
    data = [base64.b64encode(part.tobytes()).decode() for part in parts]
    names = {f"TEXCOORD_{number}": 2 + number for number in range(len(coordinates))}
    scene = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "scale": [0.5, 0.5, 0.5]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, **names}, "indices": 1, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0, **picture}}}],
        "textures": [{"source": 0}],
        "images": [{"uri": "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()}],
        "buffers": [
            {"byteLength": part.nbytes, "uri": f"data:;base64,{text}"} for part, text in zip(parts, data, strict=True)
        ],
        "bufferViews": [{"buffer": number, "byteLength": part.nbytes} for number, part in enumerate(parts)],
        "accessors": [
            {
                "bufferView": number,
                "componentType": kinds[str(part.dtype)],
                "count": len(part),
                "type": "SCALAR" if part.ndim == 1 else f"VEC{part.shape[1]}",
                "normalized": part.ndim > 1 and part.dtype != np.float32,
            }
            for number, part in enumerate(parts)
        ],
    }
    path.write_text(json.dumps(scene))


def moved(**by) -> dict:
    return {"extensions": {"KHR_texture_transform": by}}


@pytest.mark.parametrize(
    ("coordinates", "picture", "colour"),
    [
        (((RED + GREEN) * 255,), {}, (0, 1, 0)),
        (((RED + GREEN) * 65535,), {}, (0, 1, 0)),
        ((RED, RED + GREEN), {"texCoord": 1}, (0, 1, 0)),
        ((RED,), moved(offset=[0.5, 0]), (0, 1, 0)),
        ((RED * 65535,), moved(scale=[0.5, 0.5], rotation=np.pi / 2, offset=[0, 1]), (0, 0, 1)),  # the specification's
        ((RED, RED + GREEN), {**moved(texCoord=1, offset=[0, 0.5]), "texCoord": 0}, (1, 1, 1)),
    ],
)
def test_coordinates_of_gltf_may_be_integers_of_another_set_or_moved(tmp_path, coordinates, picture, colour):
    largest = max(np.max(part) for part in coordinates)
    kind = np.float32 if largest <= 1 else np.uint8 if largest <= 255 else np.uint16
    quantised_gltf(tmp_path / "a.gltf", *(np.asarray(part).astype(kind) for part in coordinates), **picture)
    shown, ids = look_at(load_mesh(tmp_path / "a.gltf"))
    assert shown[ids == 1].mean(axis=0) == pytest.approx(colour, abs=0.02)


def test_points_of_gltf_may_be_shares_in_integers(tmp_path):
    points = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * 32767
    quantised_gltf(tmp_path / "a.gltf", RED.astype(np.float32), points=points.astype(np.int16))
    np.testing.assert_allclose(part_bounds(load_mesh(tmp_path / "a.gltf")), [-0.5, 0, 0, 0.5, 0, 1], atol=1e-5)


def test_a_compressed_gltf_is_named_as_such(tmp_path):
    quantised_gltf(tmp_path / "a.gltf", RED.astype(np.float32))
    scene = json.loads((tmp_path / "a.gltf").read_text())
    scene["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    (tmp_path / "a.gltf").write_text(json.dumps(scene))
    with pytest.raises(DataError, match=r"compressed with KHR_draco_mesh_compression: export it without"):
        load_mesh(tmp_path / "a.gltf")


def test_a_scan_in_a_countrys_coordinates_keeps_its_shape(tmp_path):
    crate = trimesh.creation.box(extents=[0.6, 0.3, 0.5])
    crate.apply_translation([500_000.25, 120, 4_500_000.125])
    (tmp_path / "crate.obj").write_text(trimesh.exchange.obj.export_obj(crate, digits=6))
    bounds = part_bounds(load_mesh(tmp_path / "crate.obj"))
    np.testing.assert_allclose(bounds, [-0.3, -0.25, 0, 0.3, 0.25, 0.3], atol=1e-5)


def test_a_tile_mixes_to_its_picture_and_its_mean():
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    tile = bake(Image.fromarray(picture), (1.0, 1.0, 1.0))
    texels = tile.texels[: 256 * 256] / [255, 255, 127.5]
    base = np.array(BASIS)
    mixed = base[0] + texels[:, :1] * (base[1] - base[0]) + texels[:, 1:2] * (base[2] - base[0])
    stored = picture.reshape(-1, 3) / 255
    linear = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(mixed * texels[:, 2:], linear, atol=0.02)


def test_a_mesh_without_colour_is_painted_like_the_room(meshes):
    from edgekd.simulate.meshes.folder import MeshPiece
    from edgekd.simulate.palette import Palette

    rng = np.random.default_rng(0)
    parts = MeshPiece(meshes / "crate.obj").make(rng, Palette(LOOKS["simulated"], rng))
    assert all(part.material != UNPAINTED for part in parts)
    assert develop(look_at(parts)[0], LOOKS["simulated"].lens, rng).std() > 5


def area(path: Path) -> float:
    points = np.concatenate([part.points for part in load_mesh(path)])
    return float(np.linalg.norm(np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]), axis=1).sum() / 2)


@pytest.mark.parametrize("order", [range(1, 7), range(6, 0, -1), [3, 4, 5, 6, 1, 2], range(-6, 0)])
def test_a_concave_face_covers_no_more_than_itself(tmp_path, order):
    """An L of 1 m2 and a half: a corner seat, or a table top with a corner cut out."""
    corners = [(0, 0), (2, 0), (2, 0.5), (0.5, 0.5), (0.5, 1.5), (0, 1.5)]
    lines = [f"v {x} {y} 0" for x, y in corners] + [f"vt {x} {y}" for x, y in corners]
    face = " ".join(f"{corner}/{corner}" for corner in order)
    (tmp_path / "seat.obj").write_text("\n".join([*lines, f"f {face}", ""]))
    assert area(tmp_path / "seat.obj") == pytest.approx(1.5, rel=1e-5)


def test_a_concave_quad_and_a_convex_one_side_by_side(tmp_path):
    corners = "v 0 0 0\nv 2 0 0\nv 0.5 0.5 0\nv 0 2 0\nv 0 -1 0\nv 2 -1 0\n"
    (tmp_path / "a.obj").write_text(f"{corners}f 2 3 4 1\nf 1 5 \\\n6 2\n")
    assert area(tmp_path / "a.obj") == pytest.approx(1 + 2, rel=1e-5)


@pytest.mark.parametrize("corners", [[(0, 0), (1, 1), (1, 0), (0, 1)], [(np.cos(n), np.sin(n)) for n in range(300)]])
def test_a_face_that_crosses_itself_is_read_as_before(tmp_path, corners):
    lines = [f"v {x} {y} 0" for x, y in corners]
    face = " ".join(str(number + 1) for number in range(len(corners)))
    (tmp_path / "a.obj").write_text("\n".join([*lines, f"f {face}", ""]))
    assert load_mesh(tmp_path / "a.obj")


def test_colours_of_older_ply_files_are_shown(tmp_path):
    painted_box([0.5, 0.5, 0.9], (200, 30, 30)).export(tmp_path / "new.ply")
    data = (tmp_path / "new.ply").read_bytes()
    assert b" red" in data
    for name in (b"red", b"green", b"blue"):
        data = data.replace(b" " + name, b" diffuse_" + name, 1)
    (tmp_path / "old.ply").write_bytes(data)
    new, old = (load_mesh(tmp_path / name) for name in ("new.ply", "old.ply"))
    assert old[0].material == new[0].material != UNPAINTED
