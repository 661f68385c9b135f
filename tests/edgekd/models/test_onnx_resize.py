"""Which pixels a Resize of each opset and kind picks or blends, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx import helper
from onnx_agreement import ORT_VERSION, agree, floats, ints, weights
from onnx_graphs import network, save

from edgekd.models.onnx_import import import_onnx


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("nearest", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("size", [(24, 32), (6, 8), (17, 29)])
def test_nearest_picks_the_pixels_onnxruntime_picks(
    coordinates: str, nearest: str, size: tuple[int, int], tmp_path: Path
) -> None:
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="nearest",
        coordinate_transformation_mode=coordinates, nearest_mode=nearest,
    )  # fmt: skip
    agree(network([node], {"sizes": ints(1, 3, *size)}, batch=1), tmp_path)


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("size", [(24, 32), (6, 8), (17, 29)])
def test_linear_blends_as_onnxruntime_does(coordinates: str, size: tuple[int, int], tmp_path: Path) -> None:
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode=coordinates
    )
    agree(network([node], {"sizes": ints(1, 3, *size)}, batch=1), tmp_path)


@pytest.mark.parametrize("scales", [(2.0, 2.0), (1.3, 0.7), (0.5, 3.0)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_scales_round_the_size_down(mode: str, scales: tuple[float, float], tmp_path: Path) -> None:
    node = helper.make_node(
        "Resize",
        ["x", "", "scales"],
        ["y"],
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    agree(network([node], {"scales": floats(1, 1, *scales)}), tmp_path)


@pytest.mark.parametrize("scale", [1 / 3, 0.2, 1.1, 0.7, 0.3, 1.2])
@pytest.mark.parametrize(
    ("mode", "coordinates", "nearest"),
    [
        ("nearest", "asymmetric", "floor"),
        ("nearest", "half_pixel", "round_prefer_floor"),
        ("nearest", "half_pixel", "round_prefer_ceil"),
        ("nearest", "half_pixel_symmetric", "floor"),
        ("linear", "half_pixel", "floor"),
        ("linear", "asymmetric", "floor"),
    ],
)
def test_scales_are_those_of_float32(mode: str, coordinates: str, nearest: str, scale: float, tmp_path: Path) -> None:
    """0.7 of 60 is 42 in float32 and 41 in float64; the last bit decides where a pixel begins."""
    if (nearest, scale) == ("round_prefer_ceil", 0.3) and ORT_VERSION < (1, 28):
        pytest.skip("onnxruntime before 1.28 rounds another bit")
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], mode=mode, coordinate_transformation_mode=coordinates,
        nearest_mode=nearest,
    )  # fmt: skip
    model = network([node], {"scales": floats(1, 1, scale, scale)}, opset=19, size=(60, 90))
    agree(model, tmp_path, size=(60, 90))


@pytest.mark.parametrize("scale", [0.7, 2.0])
def test_opset_10_picks_the_pixels_onnxruntime_picks(scale: float, tmp_path: Path) -> None:
    node = helper.make_node("Resize", ["x", "scales"], ["y"], mode="nearest")
    agree(network([node], {"scales": floats(1, 1, scale, scale)}, opset=10), tmp_path)


def test_opset_10_resize(tmp_path: Path) -> None:
    node = helper.make_node("Resize", ["x", "scales"], ["y"], mode="linear")
    agree(network([node], {"scales": floats(1, 1, 2, 2)}, opset=10), tmp_path)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
def test_resizing_goes_on_in_half_precision(mode: str, coordinates: str, tmp_path: Path) -> None:
    """As on a GPU, where a teacher runs under autocast."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node(
            "Resize", ["c", "", "", "sizes"], ["y"], mode=mode, coordinate_transformation_mode=coordinates
        ),
    ]
    constants = {"w": weights(4, 3, 1, 1), "sizes": ints(1, 4, 17, 29)}
    module = import_onnx(save(network(nodes, constants, batch=1), tmp_path / "net.onnx")).module
    x = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = module(x)
    torch.testing.assert_close(half.float(), module(x), atol=0.05, rtol=0.05)
