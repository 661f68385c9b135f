"""The shell script of a bundle, which builds engines with trtexec."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from small_network import HEIGHT, WIDTH

from targets.board.options import EngineOptions
from targets.bundle.shell import build_script


@pytest.mark.parametrize(
    ("number", "has", "has_not"),
    [
        ("8502", "--fp16 --int8", "--stronglyTyped"),
        ("100300", "--stronglyTyped", "--int8"),
        ("110400", "--memPoolSize=workspace:256", "--stronglyTyped"),
    ],
)
def test_the_shell_script_takes_the_line_of_the_version_it_finds(
    tmp_path: Path, number: str, has: str, has_not: str
) -> None:
    script = build_script([("models/int8-s8.onnx", "int8")], (HEIGHT, WIDTH), EngineOptions(workspace=256))
    (tmp_path / "build.sh").write_text(script)
    trtexec = tmp_path / "trtexec"
    trtexec.write_text(
        f'#!/bin/sh\necho "&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # $*"\necho "$*" >> asked\n'
    )
    trtexec.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "build.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "--help" and len(asked) == 2
    assert has in asked[1] and has_not not in asked[1] and "--maxShapes=image:8x32x48x3" in asked[1]
    assert done.stdout.splitlines()[-1] == "Next: python3 run.py"


def test_the_shell_script_goes_on_past_a_precision_that_fails(tmp_path: Path) -> None:
    models = [("models/fp32.onnx", "fp32"), ("models/int8-s8.onnx", "int8")]
    (tmp_path / "build.sh").write_text(build_script(models, (HEIGHT, WIDTH), EngineOptions(dla=0)))
    trtexec = tmp_path / "trtexec"
    trtexec.write_text(
        '#!/bin/sh\necho "TensorRT.trtexec [TensorRT v8502]"\n'
        'case "$*" in *fp32*) exit 1 ;; *saveEngine*) touch engines/tensorrt-int8.engine ;; esac\n'
    )
    trtexec.chmod(0o755)
    earlier = ["tensorrt-fp32.engine", "tensorrt-fp32.engine.key.json", "tensorrt-rtx-fp32.engine.key.json"]
    (tmp_path / "engines").mkdir()
    for name in earlier:
        (tmp_path / "engines" / name).touch()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "build.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "Not built: fp32"
    left = {path.name for path in (tmp_path / "engines").iterdir()}
    assert left == {"tensorrt-int8.engine", earlier[2]}  # no engine without the key that says what it was built for


def test_the_shell_script_builds_into_its_own_folder_from_wherever_it_is_run(tmp_path: Path) -> None:
    folder = tmp_path / "a bundle"
    folder.mkdir()
    (folder / "build.sh").write_text(build_script([("models/fp32.onnx", "fp32")], (HEIGHT, WIDTH), EngineOptions()))
    trtexec = tmp_path / "trtexec"
    trtexec.write_text(
        '#!/bin/sh\necho "TensorRT.trtexec [TensorRT v100300]"\n'
        'for word; do case "$word" in --saveEngine=*) touch "${word#*=}" ;; esac; done\n'
    )
    trtexec.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "a bundle/build.sh"], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert (folder / "engines" / "tensorrt-fp32.engine").is_file() and not (tmp_path / "engines").exists()


def test_the_shell_script_without_trtexec_says_what_brings_it(tmp_path: Path) -> None:
    if Path("/usr/src/tensorrt/bin/trtexec").exists() or shutil.which("trtexec"):
        pytest.skip("trtexec is here")
    (tmp_path / "build.sh").write_text(build_script([], (1, 1), EngineOptions()))
    done = subprocess.run(["sh", "build.sh"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "apt install libnvinfer-bin" in done.stderr
