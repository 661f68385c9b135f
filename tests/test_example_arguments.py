"""A wrong argument of a script in examples/ ends in one line that says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def last_line(folder: Path, script: str, *arguments: object) -> str:
    """What a refusal says."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder)
    assert done.returncode in (1, 2) and not done.stdout and "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("bench/others.py", ["nowhere"], "Error: nowhere is not an artefact"),
        ("bench/overhead.py", ["nowhere.onnx"], "nowhere.onnx not found"),
        ("bundle/framing.py", ["nowhere.jpg"], "Error: Picture nowhere.jpg not found"),
        ("calibration/export_cost.py", ["nowhere"], "Error: No run named 'nowhere'"),
        ("calibration/speed.py", ["nowhere"], "Error: No run named 'nowhere'"),
        ("paper/summary.py", ["--runs", "."], "table.py writes it"),
        ("targets/latency.py", ["nowhere"], "Error: nowhere is not an artefact"),
        ("targets/api_names.py", ["nowhere.whl"], "nowhere.whl is not a wheel"),
        ("targets/engines.py", [], "name ONNX files or a run's folder"),
        ("targets/engines.py", ["nowhere.onnx"], "nowhere.onnx not found"),
        ("targets/engines.py", ["."], "holds no models for TensorRT"),
        ("targets/engines.py", [".", "--make", "out"], ". is a folder: --make takes the onnx/student.onnx in it"),
        ("targets/engines.py", ["--make", "out"], "name ONNX files or a run's folder"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_one_line(tmp_path: Path, script: str, arguments: list[str], said: str) -> None:
    for needed in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(needed, reason="the scripts measure runtimes")
    if script.startswith("paper"):
        pytest.importorskip("torch", reason="the settings that tell runs apart are those of distillation")
    assert said in last_line(tmp_path, script, *arguments)
    assert not list(tmp_path.iterdir())


def test_an_engine_s_model_may_be_named_from_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "targets"))
    import engines

    (tmp_path / "artefacts" / "tensorrt-int8").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "artefacts" / "tensorrt-int8")
    steps = []

    def step(record: engines.Record, *words: str) -> object:
        steps.append(words)
        failed = words == ("version", "tensorrt_rtx")
        record.steps.append({"step": " ".join(words)} | ({"error": "not here"} if failed else {"result": {}}))
        return None if failed else {"done": True} if words[0] != "latency" else {}

    monkeypatch.setattr(engines.Record, "step", step)
    engines.measure(
        [Path("model.onnx")], ["tensorrt_rtx", "tensorrt"], tmp_path / "out"
    )  # no exit: another module is here
    assert (*steps[-1][:3], Path(steps[-1][3]).name) == (
        "latency", "tensorrt", "model.onnx", f"{tmp_path.name}-tensorrt-int8.engine",
    )  # fmt: skip


def test_rooms_that_cannot_be_drawn_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("embreex", reason="simulating rooms needs embreex")
    assert last_line(tmp_path, "simulate/contact_sheet.py", 0).startswith("Error: A contact sheet needs")
    assert "in 1 column or more" in last_line(tmp_path, "simulate/pictures.py", 3, 0)
    assert not list(tmp_path.iterdir())


def test_a_damaged_catalogue_is_named(tmp_path: Path) -> None:
    pytest.importorskip("trimesh", reason="meshes are read by trimesh")
    (tmp_path / "a.sh3f").write_bytes(b"not a zip file")
    assert "a.sh3f cannot be read as a catalogue" in last_line(tmp_path, "simulate/sweet_home.py", ".", "out")
    with zipfile.ZipFile(tmp_path / "a.sh3f", "w") as catalogue:
        catalogue.writestr("other.txt", "")
    assert "a.sh3f cannot be read as a catalogue" in last_line(tmp_path, "simulate/sweet_home.py", ".", "out")
