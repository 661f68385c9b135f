"""Simulated images in the cache: rendered by one process, waited for by others."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from holding import held_elsewhere
from notes import Notes
from PIL import Image

from calibration.errors import UsageError
from calibration.progress import Quiet
from edgekd.run.lock import locked
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import SimulatedSet, set_request, write_set
from edgekd.steps import images
from edgekd.steps.images import ImagesSpec, grow_images, open_images

pytest.importorskip("embreex", reason="simulating rooms needs embreex")

SPEC = ImagesSpec(count=4)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    monkeypatch.setattr(images, "_RETRY_SECONDS", 0.1)
    return images._cached(SPEC)


def render(folder: Path) -> None:
    write_set(folder, RoomSettings(), seed=0, count=4, workers=1, keep_depth=False, progress=Quiet())


def test_a_whole_set_is_opened_while_another_process_holds_it(cached: Path) -> None:
    """A process that trains while it renders holds the set for hours, even once it is whole."""
    render(cached)
    with locked(cached):
        assert len(open_images(SPEC, Quiet())) == 4


def test_a_set_that_another_process_renders_is_waited_for(cached: Path) -> None:
    def render_and_train() -> None:
        render(cached)
        time.sleep(1.0)

    notes = Notes()
    with held_elsewhere(cached, render_and_train):
        assert len(open_images(SPEC, notes)) == 4
    assert len([line for line in notes.said if "waiting for it" in line]) == 1


def test_pictures_in_the_background_come_from_a_set_that_another_process_holds(cached: Path) -> None:
    """Two distillations with --background on the same rooms: the first trains for hours after they are rendered."""
    render(cached)
    with locked(cached), grow_images(SPEC, Quiet()) as growing:
        whole = SimulatedSet.open(cached)
        assert all((growing[index].rgb == whole[index].rgb).all() for index in range(4))
    (cached / "manifest.json").unlink()
    for shard in cached.glob("*.tar"):
        shard.unlink()
    notes = Notes()
    with held_elsewhere(cached), grow_images(SPEC, notes) as growing:
        assert growing[3].rgb.any()
    assert len([line for line in notes.said if "waiting for it" in line]) == 1


def test_the_images_of_another_seed_are_others_and_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    opened = open_images(ImagesSpec(count=1, seed=3), Quiet())
    assert isinstance(opened, SimulatedSet) and opened.request == set_request(
        RoomSettings(), seed=3, count=1, keep_depth=False
    )
    specs = [ImagesSpec(count=1, seed=3), ImagesSpec(count=1, seed=4), ImagesSpec(count=2, seed=3)]
    digests = {spec.digest for spec in specs}
    monkeypatch.setattr(images, "RENDERER", images.RENDERER + 1)  # draws other pictures of the same seeds
    digests |= {spec.digest for spec in specs}
    assert len(digests) == 6


def test_a_folder_of_too_few_pictures_says_which_were_left_out(tmp_path: Path) -> None:
    for number in range(3):
        Image.effect_noise((16, 16), 50).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    notes = Notes()
    with pytest.raises(UsageError, match="2 images are too few"):
        ImagesSpec(folder=tmp_path).require(3, notes)
    assert "Skipped 1 of 3 pictures" in notes.said[0] and "1.png" in notes.said[0]
