"""`edgekd calibrate` of a teacher without BatchNorm, with statistics that `edgekd statistics` measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="calibrating needs torch")

from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402

from calibration.errors import ModelError, UsageError  # noqa: E402
from calibration.files import sha256_file  # noqa: E402
from calibration.images import CalibrationSet  # noqa: E402
from edgekd.cli.app import run  # noqa: E402
from edgekd.models.teacher import Teacher  # noqa: E402
from edgekd.run import Run  # noqa: E402
from targets.input import Framing, InputSpec  # noqa: E402

HEIGHT, WIDTH = 32, 48
SPEC = "test_calibrate_with_statistics:grouped"


def grouped() -> Teacher:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.Softplus())
    return Teacher("grouped", net.eval(), InputSpec(Framing(HEIGHT, WIDTH)), digest="grouped", source="made for a test")


def other() -> Teacher:
    made = grouped()
    return Teacher("other", made.module, made.input, digest="other", source=made.source)


@pytest.fixture
def statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    Path("private").mkdir()
    for number in range(10):
        picture = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(picture).save(f"private/{number}.png")
    assert run(["statistics", "--teacher", SPEC, "--images", "private"]) == 0
    return Path("statistics.safetensors")


def test_pictures_are_fitted_to_the_file(statistics: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["calibrate", "--teacher", SPEC, "--images", "150", "--steps", "4"]
    assert run([*command, "--out", "with", "--statistics", str(statistics)]) == 0
    assert "has no statistics to fit pictures to" not in capsys.readouterr().err
    made = Run.open(Path("with"))
    assert made.manifest.steps["calibrate"].inputs["statistics"] == sha256_file(statistics)
    assert "transformed" in CalibrationSet.open(made.folder / "calibration").origin
    assert run([*command, "--out", "without"]) == 0
    assert "unless you pass a file from edgekd statistics (--statistics)" in " ".join(capsys.readouterr().err.split())


def test_a_file_that_cannot_serve_is_refused(statistics: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["calibrate", "--teacher", SPEC, "--out", "run", "--statistics", str(statistics)]
    assert run([*command, "--no-transformation"]) == UsageError.exit_code
    assert "is for the transformation, which is off" in " ".join(capsys.readouterr().err.split())
    command[2] = SPEC.replace("grouped", "other")
    assert run(command) == ModelError.exit_code
    assert "The statistics are of a different teacher: grouped" in " ".join(capsys.readouterr().err.split())
    assert not Path("run").exists()
