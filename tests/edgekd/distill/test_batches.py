from __future__ import annotations

import numpy as np
import pytest
import torch

from calibration.errors import DataError
from edgekd.distill.batches import Batches
from edgekd.distill.framed_images import FramedImages
from edgekd.distill.resident import ResidentImages, training_images
from edgekd.distill.settings import DistillSettings, GrowthSettings, MixingSettings
from targets.input import Framing

FRAMING = Framing(32, 48)


def make(boxes, **settings) -> Batches:
    return Batches(FramedImages(boxes, FRAMING), DistillSettings(batch=4, set_aside=8, **settings))


def watched(boxes, count: int):
    """`count` images like `boxes`, and the list of indices that were read."""
    asked: list[int] = []

    class Watched(type(boxes)):
        def __getitem__(self, index: int):
            asked.append(index)
            return super().__getitem__(index)

    return Watched(count), asked


def test_a_batch_is_a_function_of_the_seed_and_its_number(boxes) -> None:
    forward, backward = make(boxes, seed=3), make(boxes, seed=3)
    for step in (0, 5, 23):
        forward.batch(step)
    assert (forward.batch(5).mixed == backward.batch(5).mixed).all()
    assert not (forward.batch(5).mixed == make(boxes, seed=4).batch(5).mixed).all()
    streamed = list(forward.stream(3, 6))
    assert [batch.step for batch in streamed] == [3, 4, 5]
    assert (streamed[2].mixed == backward.batch(5).mixed).all()


@pytest.mark.parametrize("mixing", [MixingSettings(probability=0.8), None])
def test_images_that_stay_on_a_device_make_the_same_batches(boxes, mixing) -> None:
    settings = DistillSettings(batch=4, set_aside=8, seed=5, mixing=mixing)
    resident = Batches(ResidentImages(boxes, FRAMING, torch.device("cpu")), settings)
    kept = make(boxes, seed=5, mixing=mixing)
    changed = 0
    for step in range(24):
        assert (resident.batch(step).simulated == kept.batch(step).simulated).all()
        assert (resident.batch(step).mixed == kept.batch(step).mixed).all()
        changed += int((kept.batch(step).mixed != kept.batch(step).simulated).any())
    assert (changed > 12) == (mixing is not None)
    assert (resident.aside() == kept.aside()).all()


def test_an_image_is_brought_to_the_device_once(boxes) -> None:
    source, asked = watched(boxes, 40)
    batches = Batches(ResidentImages(source, FRAMING, torch.device("cpu")), DistillSettings(batch=4, set_aside=8))
    for step in range(24):  # three epochs
        batches.batch(step)
    assert len(asked) == len(set(asked)) == 32


def test_an_image_that_is_not_kept_is_read_once_a_batch(boxes) -> None:
    source, asked = watched(boxes, 40)
    settings = DistillSettings(batch=4, set_aside=8, mixing=MixingSettings(probability=1.0))
    batches = Batches(FramedImages(source, FRAMING, kept_bytes=0), settings)
    for step in range(4):
        batches.batch(step)
    assert len(asked) == 16


@pytest.mark.parametrize(("free", "kept"), [(1 << 30, ResidentImages), (1 << 16, FramedImages)])
def test_images_stay_on_a_gpu_where_they_fit(boxes, monkeypatch, free: int, kept: type) -> None:
    """The driver's answers are made up, so that this is tested without a GPU."""
    asked = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (asked.append(number), (free, 8 << 30))[1])
    monkeypatch.setattr(torch, "empty", lambda *size, device, **of: torch.zeros(*size, **of))
    for device in ("cuda", "cuda:1"):
        assert type(training_images(boxes, FRAMING, torch.device(device))) is kept
    assert asked == [0, 1]
    assert type(training_images(boxes, FRAMING, torch.device("cpu"))) is FramedImages


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own(boxes) -> None:
    source, asked = watched(boxes, 40)
    batches = Batches(FramedImages(source, FRAMING, kept_bytes=0), DistillSettings(batch=4, set_aside=8, mixing=None))
    for step in range(16):
        batches.batch(step)
    assert sorted(asked[:32]) == sorted(asked[32:]) == sorted({*range(40)} - {*batches.set_aside})
    assert asked[:32] != asked[32:]


def test_the_seed_decides_what_is_set_aside(boxes) -> None:
    assert (make(boxes, seed=1).set_aside == make(boxes, seed=1).set_aside).all()
    assert not (make(boxes, seed=1).set_aside == make(boxes, seed=2).set_aside).all()


def test_half_of_the_images_are_mirrored(boxes) -> None:
    batches, plain = make(boxes, mixing=None), FramedImages(boxes, FRAMING)
    mirrored = {np.ascontiguousarray(plain[index][0][:, ::-1]).tobytes() for index in range(len(boxes))}
    shown = [picture.tobytes() for step in range(24) for picture in batches.batch(step).simulated.numpy()]
    turned = [picture in mirrored for picture in shown]
    assert 0.35 < sum(turned) / len(turned) < 0.65
    assert len({tuple(turned[start : start + 4]) for start in range(0, 96, 4)}) > 5  # not the same places every time


def test_images_set_aside_are_in_no_batch(boxes) -> None:
    batches = make(boxes, mixing=None)
    aside = {picture.tobytes() for picture in batches.aside()}
    assert len(aside) == 8
    seen = set()
    for step in range(16):  # two epochs of 32 images
        for picture in batches.batch(step).simulated.numpy():
            seen |= {picture.tobytes(), np.ascontiguousarray(picture[:, ::-1]).tobytes()}
    assert not aside & seen
    assert len(seen) == 2 * 32  # and every other image was trained on


def test_without_mixing_the_simulated_images_are_what_is_trained_on(boxes) -> None:
    batch = make(boxes, mixing=None).batch(0)
    assert (batch.mixed == batch.simulated).all()
    mixed = make(boxes).batch(0)
    assert not (mixed.mixed == mixed.simulated).all()


def test_too_few_images_are_refused_with_how_many_are_needed(boxes) -> None:
    with pytest.raises(DataError, match="at least 144"):
        Batches(FramedImages(boxes, FRAMING), DistillSettings(batch=4, set_aside=128))


def test_while_images_are_rendered_a_step_draws_from_as_many_as_its_number_allows(boxes) -> None:
    source, asked = watched(boxes, 100)
    growth = GrowthSettings(first=20, until=0.5)
    batches = make(source, steps=40, growth=growth, seed=1)
    assert [batches.available(step) for step in (0, 10, 20, 39)] == [20, 60, 100, 100]
    batches.aside()
    assert max(asked) < 20
    aside = set(asked)
    for step in range(40):
        asked.clear()
        batches.batch(step)
        assert max(asked, default=0) < batches.available(step)
        assert not aside & set(asked)
    again = make(type(boxes)(100), steps=40, growth=growth, seed=1)
    assert (again.batch(7).mixed == batches.batch(7).mixed).all()


def test_a_batch_of_growing_images_holds_none_twice_and_leaves_enough_to_draw_from(boxes) -> None:
    source, asked = watched(boxes, 100)
    settings = DistillSettings(batch=4, set_aside=8, steps=40, mixing=None, growth=GrowthSettings(first=1))
    batches = Batches(FramedImages(source, FRAMING, kept_bytes=0), settings)
    assert batches.available(0) == 8 + 2 * 4
    for step in range(12):
        batches.batch(step)
    assert all(len(set(asked[start : start + 4])) == 4 for start in range(0, 48, 4))
