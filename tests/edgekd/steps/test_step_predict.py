"""Depth of a user's own pictures: where it lies in the picture, and what is written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from notes import Notes
from PIL import Image

from calibration.errors import DataError
from calibration.progress import Progress, Quiet
from edgekd.run import Run
from edgekd.steps.artefacts import choose_artefact
from edgekd.steps.predict import Prediction, onto_picture, predict_pictures
from targets.base import RunnerOptions
from targets.input import Framing


@pytest.mark.parametrize(
    ("framing", "height", "width"),
    [
        (Framing(20, 30), 40, 60),  # the whole picture, twice as large
        (Framing(20, 30), 47, 101),  # the middle of a wide one
        (Framing(20, 30), 90, 30),  # the middle of a tall one
        (Framing(22, 22, resize_height=25, crop=(22, 30)), 100, 130),  # crop and distort, as FastDepth
        (Framing(40, 60), 20, 30),  # a picture smaller than the network's input
    ],
)
def test_depth_lies_where_the_network_saw_it(framing: Framing, height: int, width: int) -> None:
    # A plane that is linear in the picture's coordinates, sampled at the centres of the network's pixels, must come
    # back as the same plane at the centres of the picture's pixels, except in the half pixel at the border of the view.
    def plane(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return 1 + 0.03 * rows[:, None] + 0.01 * columns[None, :]

    left, top, right, bottom = framing.box(height, width)
    step_down, step_across = (bottom - top) / framing.height, (right - left) / framing.width
    rows = top + (np.arange(framing.height) + 0.5) * step_down
    columns = left + (np.arange(framing.width) + 0.5) * step_across
    depth = onto_picture(plane(rows, columns).astype(np.float32), framing, height, width)
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    inner = ((y > top + step_down / 2) & (y < bottom - step_down / 2))[:, None] & (
        (x > left + step_across / 2) & (x < right - step_across / 2)
    )
    outside = ((y < top) | (y > bottom))[:, None] | ((x < left) | (x > right))[None, :]
    np.testing.assert_allclose(depth[inner], plane(y, x)[inner], rtol=1e-4)
    assert (depth[outside] == 0).all()
    assert (depth[~outside] > 0).all()


@pytest.fixture
def pictures(exported_run: Path) -> Path:
    from small_network import pictures as made

    folder = Path("pictures")
    folder.mkdir()
    Image.fromarray(made(1, 3, 40, 100)[0]).save(folder / "wide.room.png")
    Image.fromarray(made(1, 4, 64, 96)[0]).save(folder / "room.jpg")
    Image.fromarray(made(1, 5, 64, 96)[0]).save(folder / "room.png")
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def predict(
    source: Path, *, values: bool = False, progress: Progress | None = None
) -> tuple[list[Prediction], list[Path]]:
    artefact = choose_artefact(Run.open(Path("runs/small")), "onnxruntime-fp32")
    return predict_pictures(artefact, source, Path("out"), RunnerOptions(), progress or Quiet(), values=values)


def test_metres_of_another_command_stay_and_are_told_of(pictures: Path) -> None:
    Path("out").mkdir()
    np.save("out/room.png.depth.npy", np.ones(3))  # from an earlier command
    np.save("out/other.depth.npy", np.ones(3))
    before, notes = Path("out/room.png.depth.npy").read_bytes(), Notes()
    predict(pictures, progress=notes)
    assert Path("out/room.png.depth.npy").read_bytes() == before
    assert notes.said == ["out still holds .depth.npy files of an earlier command (1); --npy rewrites them"]


def test_what_a_killed_command_left_is_removed_and_what_another_writes_now_is_not(pictures: Path) -> None:
    Path("out").mkdir()
    killed = [Path(f"out/.{name}.abcdefgh.part") for name in ("room.png.colour.png", "wide.room.depth.npy")]
    kept = [Path(f"out/.{name}.part") for name in ("room.png.depth.png.hgfedcba", "somebody's.colour.png.abcdefgh")]
    for path in (*killed, *kept):
        path.touch()
    for path in (*killed, kept[1]):
        os.utime(path, (1e9, 1e9))
    predict(pictures)
    assert not any(path.exists() for path in killed) and all(path.exists() for path in kept)


def test_every_picture_gets_colour_and_millimetres_at_its_own_size(pictures: Path) -> None:
    made, unread = predict(pictures, values=True)
    assert not unread
    assert [prediction.picture.name for prediction in made] == ["room.jpg", "room.png", "wide.room.png"]
    assert len({prediction.depth for prediction in made}) == 3  # pictures of the same stem do not overwrite each other
    for prediction in made:
        assert prediction.values is not None
        metres, millimetres = np.load(prediction.values), pixels(prediction.depth)
        assert millimetres.dtype == np.uint16
        assert millimetres.shape == metres.shape == pixels(prediction.picture).shape[:2]
        np.testing.assert_allclose(millimetres, metres * 1000, atol=0.5001)
        assert pixels(prediction.colour).shape[2] == 3
    assert made[0].covered == 1
    assert made[2].covered == pytest.approx(0.6)  # 48x32 covers 60 of 100 columns of a picture 40 high


def test_the_depth_is_that_of_the_model(pictures: Path) -> None:
    from small_network import SPEC, reference_depth, small_network

    (made,), _ = predict(pictures / "room.png", values=True)
    assert made.values is not None
    rgb = pixels(pictures / "room.png")
    expected = reference_depth(small_network(), SPEC.framing.image(rgb)[None])[0]
    depth = np.load(made.values)
    assert np.abs(depth[::2, ::2] - expected).mean() < 0.1 * expected.mean()
    assert made.median == pytest.approx(float(np.median(expected)), rel=0.05)


def test_a_damaged_picture_of_a_folder_is_named_and_the_others_are_done(pictures: Path) -> None:
    (pictures / "broken.png").write_bytes((pictures / "room.png").read_bytes()[:200])
    made, unread = predict(pictures)
    assert len(made) == 3 and unread == [pictures / "broken.png"]
    assert len(list(Path("out").glob("*.depth.png"))) == 3
    with pytest.raises(DataError, match=r"broken\.png is truncated"):
        predict(pictures / "broken.png")


def test_a_source_that_is_not_there(exported_run: Path) -> None:
    with pytest.raises(DataError, match=r"Picture nowhere\.png not found"):
        predict(Path("nowhere.png"))
    assert not Path("out").exists()
