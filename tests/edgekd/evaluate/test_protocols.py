"""Protocols: which pixels they score, and that predictions are placed exactly on them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from calibration.errors import DataError, UnknownNameError, UsageError
from edgekd.evaluate.placing import place
from edgekd.evaluate.protocols import PROTOCOLS, Crop, ScoringProtocol, get_protocol
from targets.input import Framing

FASTDEPTH = Framing(224, 224, resize_height=250, crop=(228, 304))


def ramp(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Depth linear in position: bilinear sampling must reproduce it, and a shift of half a pixel would show."""
    return 2 + 0.01 * rows[:, None] + 0.004 * columns[None, :]


def centres(low: float, high: float, count: int) -> np.ndarray:
    return low + (np.arange(count) + 0.5) * (high - low) / count


def test_crops_are_those_of_the_authors() -> None:
    crop = PROTOCOLS["nyu-eigen"].crop
    assert crop is not None
    assert crop.box(480, 640) == (45, 471, 41, 601)
    garg, eigen = PROTOCOLS["kitti-garg"].crop, PROTOCOLS["kitti-eigen"].crop
    assert garg is not None and eigen is not None
    for height, width in [(375, 1242), (370, 1226), (352, 1216)]:
        shares = [0.40810811 * height, 0.99189189 * height, 0.03594771 * width, 0.96405229 * width]
        assert garg.box(height, width) == tuple(np.array(shares).astype(np.int32).tolist())
        shares = [0.3324324 * height, 0.91351351 * height, 0.0359477 * width, 0.96405229 * width]
        assert eigen.box(height, width) == tuple(np.array(shares).astype(np.int32).tolist())


@pytest.mark.parametrize("seen", [FASTDEPTH, Framing(224, 224), Framing(96, 320), Framing(480, 640)])
@pytest.mark.parametrize("name", ["nyu-eigen", "nyu-hu", "kitti-garg"])
def test_prediction_is_sampled_at_pixel_centres(name: str, seen: Framing) -> None:
    """The network's ramp lies at its own pixel centres; once placed, it is the ramp at the truth's pixel centres."""
    left, top, right, bottom = seen.box(480, 640)
    prediction = ramp(centres(top, bottom, seen.height), centres(left, right, seen.width))
    truth = ramp(np.arange(480) + 0.5, np.arange(640) + 0.5)
    placed, target, covered = place(prediction, truth, seen, PROTOCOLS[name])
    inside = covered.copy()  # nothing to interpolate with beyond the outermost centres
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    inside[: rows[0] + 6], inside[rows[-1] - 5 :] = False, False
    inside[:, : columns[0] + 6], inside[:, columns[-1] - 5 :] = False, False
    # As in the authors' code, Hu's grid takes the truth by nearest neighbour, half a pixel of 480x640 away.
    offset = 0.5 * (0.01 + 0.004) if name == "nyu-hu" else 0
    assert inside.sum() > 1000
    np.testing.assert_allclose(placed[inside], target[inside] - offset, atol=1e-9)


def test_the_networks_own_grid_is_left_alone() -> None:
    prediction = np.random.default_rng(0).uniform(1, 5, (224, 224))
    truth = np.random.default_rng(1).uniform(1, 5, (425, 560)).astype(np.float32)
    placed, target, covered = place(prediction, truth, FASTDEPTH, PROTOCOLS["plain"])
    assert (placed == prediction).all() and covered.all()
    assert (target == FASTDEPTH.nearest(truth)).all()


def test_hu_takes_the_truth_as_the_authors_do() -> None:
    """Scale to height 240 by nearest neighbour, centre crop 304x228, done here with Pillow."""
    truth = np.random.default_rng(2).uniform(1, 5, (480, 640)).astype(np.float32)
    small = Image.fromarray(truth).resize((320, 240), Image.Resampling.NEAREST)
    expected = np.asarray(small.crop((8, 6, 8 + 304, 6 + 228)))
    _, target, _ = place(np.ones((228, 304)), truth, Framing(228, 304, 240, (228, 304)), PROTOCOLS["nyu-hu"])
    np.testing.assert_array_equal(target, expected.astype(np.float64))


def test_what_the_network_did_not_see_is_not_scored() -> None:
    _, _, covered = place(np.ones((224, 224)), np.ones((480, 640)), FASTDEPTH, PROTOCOLS["nyu-eigen"])
    # FastDepth sees rows 21.12 to 458.88 and columns 28.16 to 611.84; the crop's rows are 45 to 471.
    assert covered.shape == (426, 560)
    assert covered.all(axis=1).sum() == 459 - 45
    assert covered.any(axis=0).all()


def test_nan_does_not_spread_beyond_its_neighbours() -> None:
    prediction = np.ones((480, 640))
    prediction[100, 100] = np.nan
    placed, _, _ = place(prediction, np.ones((480, 640)), Framing(480, 640), PROTOCOLS["nyu-eigen"])
    assert np.isnan(placed).sum() == 1


def test_a_crop_for_one_size_refuses_others() -> None:
    with pytest.raises(DataError, match="480x640, not 425x560"):
        place(np.ones((8, 8)), np.ones((425, 560)), Framing(8, 8), PROTOCOLS["nyu-eigen"])


def test_names() -> None:
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())
    assert get_protocol("plain").clamp == (0.1, 10.0)
    with pytest.raises(UnknownNameError, match="nyu-eigen"):
        get_protocol("nyu-eigne")


def test_impossible_protocols_are_refused_when_made() -> None:
    with pytest.raises(UsageError):
        ScoringProtocol("x", "", 5, 1, (0.1, 10))
    with pytest.raises(UsageError):
        ScoringProtocol("x", "", 0, 10, (0.1, float("inf")))
    with pytest.raises(UsageError, match="own grid"):
        ScoringProtocol("x", "", 0, 10, (0.1, 10), crop=Crop(0, 1, 0, 1))
    with pytest.raises(UsageError):
        Crop(0.5, 0.4, 0, 1)
