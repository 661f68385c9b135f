from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def meshes(tmp_path) -> Path:
    """A folder of three meshes, one of them in a folder of its own."""
    trimesh = pytest.importorskip("trimesh", reason="meshes are read by trimesh")
    from mesh_files import painted_box

    folder = tmp_path / "meshes"
    (folder / "inner").mkdir(parents=True)
    painted_box([0.8, 1.5, 0.4], (200, 30, 30)).export(folder / "cupboard.glb")  # y is up
    painted_box([0.5, 0.5, 0.9], (30, 200, 30)).export(folder / "inner" / "stand.ply")  # z is up
    (folder / "crate.obj").write_text(trimesh.exchange.obj.export_obj(trimesh.creation.box(extents=[0.6, 0.3, 0.5])))
    return folder
