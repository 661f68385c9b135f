"""What the doctor says of a Jetson, from the files of three JetPacks (see jetson/README.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgekd.cli.app import run
from edgekd.steps import doctor
from edgekd.steps.jetson import Jetson, examine_jetson

TREES = Path(__file__).with_name("jetson")


def board(name: str) -> Jetson:
    found = examine_jetson(TREES / name)
    assert found is not None
    return found


def test_jetpack_5_that_has_all_it_needs() -> None:
    found = board("jetpack5")
    assert (found.board, found.linux, found.jetpack) == ("NVIDIA Orin Nano Developer Kit", "35.4.1", "5.1.2")
    assert (found.tensorrt, found.tensorrt_python, found.cuda) == ("8.5.2", "8.5.2", "11.4.19")
    assert (found.power_mode, found.power_modes) == ("15W", ("15W", "7W"))
    assert (found.memory, found.memory_free) == (6480072 * 1024, 4415664 * 1024)
    assert found.problems == ()


def test_jetpack_6_without_pythons_module_in_a_slow_mode_and_short_of_memory() -> None:
    found = board("jetpack6")
    assert (found.linux, found.jetpack, found.tensorrt) == ("36.4.7", "6.2.1", "10.3.0.30")  # no package states 6.2.1
    assert (found.tensorrt_python, found.cuda, found.power_mode) == (None, "12.6.11", "15W")
    assert [(problem.what, problem.fix) for problem in found.problems] == [
        ("TensorRT", "sudo apt install python3-libnvinfer"),
        ("power", "sudo nvpmodel -m 2"),
        ("memory", "sudo systemctl isolate multi-user, or build with --engine workspace=256"),
    ]


def test_jetpack_7_just_flashed_lacks_everything_and_each_has_its_command() -> None:
    found = board("jetpack7")
    assert (found.board, found.linux, found.jetpack) == ("NVIDIA Jetson AGX Thor Developer Kit", "38.2.0", "7.0")
    assert (found.tensorrt, found.cuda, found.trtexec, found.power_mode) == (None, None, None, "MAXN")
    assert {problem.what: problem.fix for problem in found.problems} == {
        "TensorRT": "sudo apt update && sudo apt install tensorrt python3-libnvinfer",
        "CUDA": "sudo apt install nvidia-jetpack-runtime",
        "numpy": "sudo apt install python3-numpy",
        "OpenCV": "sudo apt install python3-opencv",
    }


@pytest.mark.parametrize(
    ("linux", "jetpack"),
    [
        ("R35 (release), REVISION: 6.1", "5.1.5"),
        ("R36 (release), REVISION: 4.0", "6.1"),
        ("R39 (release), REVISION: 2.10", "7.2"),
    ],
)
def test_jetpack_is_told_from_the_release(tmp_path: Path, linux: str, jetpack: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nv_tegra_release").write_text(f"# {linux}, GCID: 1\n")
    found = examine_jetson(tmp_path)
    assert found is not None and found.jetpack == jetpack


def test_jetpack_4_is_told_to_be_too_old(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nv_tegra_release").write_text("# R32 (release), REVISION: 7.1, GCID: 1\n")
    found = examine_jetson(tmp_path)
    assert found is not None and [problem.fix for problem in found.problems] == ["Flash JetPack 5 or newer"]


def test_a_missing_driver_and_versions_apart(tmp_path: Path) -> None:
    shutil.copytree(TREES / "jetpack5", tmp_path / "board")
    (tmp_path / "board/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1").unlink()
    status = tmp_path / "board/var/lib/dpkg/status"
    status.write_text(status.read_text().replace("8.5.2-1+cuda11.4", "8.6.2-1+cuda11.4", 1))
    found = examine_jetson(tmp_path / "board")
    assert found is not None
    assert [problem.fix for problem in found.problems] == [
        "sudo apt install nvidia-l4t-cuda",
        "sudo apt install --only-upgrade tensorrt python3-libnvinfer",
    ]


def test_any_other_machine_is_none(tmp_path: Path) -> None:
    assert examine_jetson(tmp_path) is None


def test_the_doctor_shows_the_board_and_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "ROOT", TREES / "jetpack6")
    assert run(["doctor"]) == 0
    shown = capsys.readouterr().out
    for words in ("JetPack", "6.2.1 (Jetson Linux 36.4.7)", "10.3.0.30", "15W", "sudo nvpmodel -m 2"):
        assert words in shown
    assert run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jetson"]["cuda"] == "12.6.11"
