"""A folder of the user's own meshes: what rooms are furnished with, faults named."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace

import numpy as np
import pytest
from mesh_files import FACES, UPRIGHT, painted_box
from notes import Notes
from PIL import Image

from calibration.errors import DataError
from calibration.progress import Quiet
from edgekd.simulate.meshes.folder import MeshFolder
from edgekd.simulate.meshes.loading import load_mesh
from edgekd.simulate.rooms import RoomSettings, RoomSource, render
from edgekd.simulate.store import SimulatedSet, write_set

trimesh = pytest.importorskip("trimesh", reason="meshes are read by trimesh")

SMALL = RoomSettings(height=60, width=80)


def test_rooms_hold_meshes_with_ids_of_their_own_and_bytes_that_repeat(meshes):
    folder = MeshFolder.open(meshes, Quiet())
    assert len(folder) == 3
    settings = replace(SMALL, meshes=folder)
    images = [render(settings, 3, index) for index in range(24)]
    seen = 0
    for index, image in enumerate(images):
        again = render(settings, 3, index)
        assert np.array_equal(image.rgb, again.rgb) and np.array_equal(image.ids, again.ids)
        red = (image.rgb[..., 0] > 90) & (image.rgb[..., 1:].max(axis=2) < 0.5 * image.rgb[..., 0])
        if red.sum() > 60:
            owners, counts = np.unique(image.ids[red], return_counts=True)
            seen += bool(owners[counts.argmax()] > 0)
    assert seen >= 3, "the red cupboard is hardly ever seen as an object"
    assert not np.array_equal(images[0].rgb, render(SMALL, 3, 0).rgb)


def test_sets_with_meshes_go_through_workers_and_know_their_meshes(meshes, tmp_path):
    settings = replace(SMALL, meshes=MeshFolder.open(meshes, Quiet()))
    folders = [tmp_path / name for name in ("one", "two")]
    for workers, folder in enumerate(folders, start=1):
        write_set(folder, settings, seed=0, count=40, workers=workers, keep_depth=False, progress=Quiet())
    assert SimulatedSet.open(folders[0]).digest == SimulatedSet.open(folders[1]).digest
    painted_box([0.3, 0.3, 0.3], (1, 2, 3)).export(meshes / "more.glb")
    other = replace(SMALL, meshes=MeshFolder.open(meshes, Quiet()))
    with pytest.raises(DataError, match=r"other settings \(meshes\)"):
        write_set(folders[0], other, seed=0, count=40, workers=1, keep_depth=False, progress=Quiet())
    assert RoomSource(other, 0, 4).digest != RoomSource(settings, 0, 4).digest
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_without_meshes_settings_are_written_as_before():
    assert SMALL.to_json() == {"height": 60, "width": 80, "look": "simulated", "views_per_room": 4}


@pytest.mark.parametrize(
    ("side", "hint"), [(180.0, "centimetres"), (1800.0, "millimetres"), (0.002, "kilometres"), (90000.0, "metres")]
)
def test_a_mistaken_unit_is_named_with_its_remedy(tmp_path, side, hint):
    painted_box([side, side / 2, side / 2], (9, 9, 9)).export(tmp_path / "sofa.glb")
    with pytest.raises(DataError, match=rf"sofa\.glb is .* m along its longest side.*{hint}"):
        load_mesh(tmp_path / "sofa.glb")


def test_meshes_that_cannot_be_used_are_counted_and_named(meshes):
    (meshes / "noise.glb").write_bytes(b"glTF" + bytes(range(200)))
    (meshes / "empty.obj").write_text("")
    line = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], process=False)
    (meshes / "flat.ply").write_bytes(line.export(file_type="ply"))
    whole = (meshes / "cupboard.glb").read_bytes()
    (meshes / "cut.glb").write_bytes(whole[: len(whole) // 2])
    (meshes / "huge.obj").write_text("v 0 0 0\nv 250 0 0\nv 0 90 0\nf 1 2 3\n")
    before = logging.getLogger("trimesh").disabled
    notes = Notes()
    folder = MeshFolder.open(meshes, notes)
    assert set(folder.names) == {"cupboard.glb", "crate.obj", "inner/stand.ply"}
    assert notes.said[0] == "Skipped 5 of 8 meshes" and len(notes.said) == 4
    assert all("\n" not in line for line in notes.said) and "cut.glb" in notes.said[1]
    assert logging.getLogger("trimesh").disabled == before


def test_a_mesh_without_its_texture_is_used_plain_and_named(meshes):
    (meshes / "a.mtl").write_text("newmtl a\nKd 0 0 0.9\nmap_Kd textures\\wood.png\n")
    (meshes / "a.obj").write_text("mtllib a.mtl\nusemtl a\n" + UPRIGHT + FACES)
    notes = Notes()
    assert "a.obj" in MeshFolder.open(meshes, notes).names
    counted, named = notes.said
    assert "1 of 4 meshes" in counted and "a.obj" in named and "wood.png" in named
    Image.new("RGB", (8, 8), (200, 0, 0)).save(meshes / "wood.png")
    notes = Notes()
    MeshFolder.open(meshes, notes)
    assert notes.said == []


def test_a_folder_without_a_usable_mesh_is_refused(tmp_path):
    with pytest.raises(DataError, match="No meshes in"):
        MeshFolder.open(tmp_path, Quiet())
    (tmp_path / "sofa.obj").write_text("v 0 0 0\nv 250 0 0\nv 0 90 0\nf 1 2 3\n")
    with pytest.raises(DataError, match=r"The only mesh in .* cannot be used: .*sofa\.obj is 250 m.*centimetres"):
        MeshFolder.open(tmp_path, Quiet())
    with pytest.raises(DataError, match=r"Folder .*nowhere not found"):
        MeshFolder.open(tmp_path / "nowhere", Quiet())


def test_a_set_within_the_folder_of_meshes_goes_on_until_a_mesh_or_its_texture_changes(meshes):
    Image.new("RGB", (8, 8), (200, 0, 0)).save(meshes / "red.png")
    (meshes / "a.mtl").write_text("newmtl a\nmap_Kd red.png\n")
    (meshes / "a.obj").write_text("mtllib a.mtl\nusemtl a\n" + UPRIGHT + FACES)
    asked = {"seed": 0, "count": 3, "workers": 1, "keep_depth": False, "progress": Quiet()}

    def made() -> SimulatedSet:
        folder = MeshFolder.open(meshes, Quiet())
        assert set(folder.names) == {"a.obj", "cupboard.glb", "crate.obj", "inner/stand.ply"}
        return write_set(meshes / "set", replace(SMALL, meshes=folder), **asked)

    first = made()
    (meshes / ".DS_Store").write_bytes(b"of the system")
    (meshes / "._a.obj").write_bytes(b"of the system")
    (meshes / "set.preview.png").write_bytes(b"a preview")
    assert made().digest == first.digest
    Image.new("RGB", (8, 8), (0, 0, 200)).save(meshes / "red.png")
    with pytest.raises(DataError, match=r"other settings \(meshes\)"):
        made()
