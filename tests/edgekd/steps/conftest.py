"""A measured run for the tests of reports, and a distillation of a few steps for those of distilling."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from short_distillations import SETTINGS

from calibration.progress import Quiet
from edgekd.bench import BenchSettings, Scoring
from edgekd.evaluate import get_protocol, open_dataset
from edgekd.run import Run
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set
from edgekd.steps.bench import bench_run
from edgekd.steps.images import ImagesSpec

if TYPE_CHECKING:
    from edgekd.steps.distill import DistillRequest  # which needs torch

QUICK = BenchSettings(minimum=50, seconds=0, cold=False)


@pytest.fixture(scope="session")
def benched_once(exported_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one bench without data and one with six frames, one of them twice as far as the network says."""
    from small_network import SPEC, pictures, reference_depth, small_network

    root = tmp_path_factory.mktemp("benched")
    shutil.copytree(exported_once, root / "small")
    for part in ("rgb", "depth"):
        (root / "data" / part).mkdir(parents=True)
    for number, picture in enumerate(pictures(6, seed=9)):
        Image.fromarray(picture).save(root / "data" / "rgb" / f"{number}.png")
        truth = reference_depth(small_network(), SPEC.framing.image(picture)[None])[0]
        np.save(root / "data" / "depth" / f"{number}.npy", truth * (2 if number == 4 else 1))
    run = Run.open(root / "small")
    bench_run(run, (), QUICK, Quiet())
    scoring = Scoring(open_dataset(str(root / "data")), get_protocol("plain"), "data")
    bench_run(run, (), QUICK, Quiet(), scoring=scoring)
    lines = [{"step": step, "loss": 1 / (step + 1), "seconds": 0.1} for step in range(50)]
    (root / "small" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 5')
    (root / "small" / "previews").mkdir()
    Image.fromarray(pictures(1, 2)[0]).save(root / "small" / "previews" / "000050.png")
    return root / "small"


@pytest.fixture
def benched(benched_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(benched_once, tmp_path / "runs" / "small")
    monkeypatch.chdir(tmp_path)
    return Path("runs/small")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """OpenMP's threads busy-wait: on a machine with other work, two of them take forty times as long as one."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImagesSpec:
    from odd_teachers import HEIGHT, WIDTH

    folder = tmp_path_factory.mktemp("images") / "set"
    settings = RoomSettings(height=HEIGHT, width=WIDTH, views_per_room=24)  # one room: building rooms is slow
    write_set(folder, settings, seed=0, count=24, workers=1, keep_depth=False, progress=Quiet())
    return ImagesSpec(folder=folder)


@pytest.fixture
def distill_request(images: ImagesSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DistillRequest:
    from odd_teachers import TEACHER

    from edgekd.steps.distill import DistillRequest

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return DistillRequest(teacher=TEACHER, student="mobile-s", images=images, settings=SETTINGS, device="cpu")
