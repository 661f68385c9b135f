"""Teachers whose output is not metres, as stated behind their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from notes import Notes
from onnx_graphs import conv_norm, save
from user_code import write_user_code

from calibration.errors import ModelError, UnknownNameError, UsageError
from edgekd.models.depth_kinds import as_kind
from edgekd.models.pictures import probe_pictures
from edgekd.models.teachers import load_teacher


@pytest.fixture
def disparity(tmp_path: Path) -> Path:
    """A network with one positive map, here taken for disparity."""
    return save(conv_norm(), tmp_path / "net@home.onnx")


def _raw(path: Path, pictures: np.ndarray) -> np.ndarray:
    """The file's output for pictures uint8 [N, H, W, 3], by ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": (pictures / 255).transpose(0, 3, 1, 2).astype(np.float32)})[0]


@pytest.mark.parametrize("kind", ["inverse", "relative"])
def test_distances_keep_their_ratios_and_the_median_is_a_rooms(disparity: Path, kind: str) -> None:
    notes = Notes()
    teacher = load_teacher(f"{disparity}@{kind}", progress=notes)
    assert any(f"assumed to output {kind} depth" in note and "only ratios" in note for note in notes.said)
    assert (teacher.name, teacher.metric) == (f"net@home-{kind}", False)
    pictures = probe_pictures(12, 16, 2)
    depth = teacher.module(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255).numpy()
    raw = _raw(disparity, pictures)
    middle = np.sort(raw.ravel())[(raw.size - 1) // 2]
    # Depth is cut at a hundred times the median.
    expected = 2.5 * np.minimum(middle / raw, 100) if kind == "inverse" else 2.5 * raw / middle
    np.testing.assert_allclose(depth, expected, rtol=1e-4)


def test_a_kind_makes_another_teacher_of_the_same_weights(disparity: Path) -> None:
    metres = load_teacher(str(disparity))
    inverse, relative = (as_kind(metres, kind) for kind in ("inverse", "relative"))
    assert len({metres.digest, inverse.digest, relative.digest}) == 3
    stated = as_kind(metres, "metric")
    assert stated.metric and stated.digest == metres.digest and stated.module is metres.module


def test_a_kind_that_there_is_not_is_refused(disparity: Path) -> None:
    with pytest.raises(UsageError, match=r"no kind of depth named 'disparity'\. Use @metric, @relative, @inverse"):
        load_teacher(f"{disparity}@disparity")


@pytest.mark.parametrize("spec", ["rooms@inverse", "rooms@foo"])
def test_a_named_teacher_has_no_other_kind(spec: str) -> None:
    with pytest.raises(UnknownNameError, match="rooms"):
        load_teacher(spec)


def test_a_file_that_has_it_in_its_name_is_that_file(disparity: Path) -> None:
    named = disparity.rename(disparity.with_name("net.onnx@inverse"))
    with pytest.raises(UsageError, match="neither a supported model file"):
        load_teacher(str(named))


def test_what_is_wrong_with_the_network_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_user_code(tmp_path, "mynets_scales", monkeypatch)
    with pytest.raises(ModelError, match="outputs dict, but depth"):
        load_teacher(f"{name}:features@inverse")
