"""Meshes to write into files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

trimesh = pytest.importorskip("trimesh", reason="meshes are read by trimesh")

UPRIGHT = "v -0.5 0 0\nv 0.5 0 0\nv 0.5 1 0\nv -0.5 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACES = "f 1/1 2/2 3/3 4/4\n"


def painted_box(extents, colour) -> object:
    mesh = trimesh.creation.box(extents=extents)
    mesh.visual.face_colors = [*colour, 255]
    return mesh


def textured_quad(picture: Image.Image) -> object:
    """An upright quad, 1 m wide and 1 m high, facing glTF's front (+z), with the picture upright on it."""
    corners = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0.5, 1, 0], [-0.5, 1, 0]])
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)  # trimesh counts v from below
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture, baseColorFactor=[255, 255, 255, 255])
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)
