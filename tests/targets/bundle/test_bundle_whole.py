"""A bundle is whole or says what is wrong: its archive, its digests, its self-test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from small_bundle import run, write
from small_network import pictures, small_network

from calibration.errors import FileError
from targets.board.errors import MisfitError
from targets.board.manifest import FORMAT, Bundle, manifest_digest
from targets.bundle.selftest import make_selftest
from targets.bundle.verify import bundle_faults
from targets.bundle.write import WrittenBundle
from targets.reference import infer_model


def test_the_archive_holds_the_folder_and_is_the_same_twice(parts, tmp_path: Path) -> None:
    first, second = (write(parts, tmp_path / name / "small") for name in ("a", "b"))
    assert first.archive.read_bytes() == second.archive.read_bytes() and first.digest == second.digest
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "xzf", str(first.archive), "-C", str(tmp_path / "unpacked")], check=True)
    assert run(tmp_path / "unpacked" / "small", "--runtime", "onnxruntime").returncode == 0


def test_every_altered_or_missing_file_is_named(bundle: WrittenBundle) -> None:
    whole = {path: path.read_bytes() for path in bundle.folder.rglob("*") if path.is_file()}
    for path, content in whole.items():
        path.write_bytes(content[:-3])
        with pytest.raises(MisfitError, match=path.name):
            Bundle(bundle.folder)
        path.unlink()
        with pytest.raises(MisfitError, match=path.name):
            Bundle(bundle.folder)
        path.write_bytes(content)
    (bundle.folder / "models" / "fp32.onnx").write_bytes(b"")
    done = run(bundle.folder)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith(
        "fp32.onnx was altered or truncated after the bundle was made. Copy the bundle again.\n"
    )


def test_a_failed_self_test_says_by_how_much_and_the_others_stand(bundle: WrittenBundle) -> None:
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    for model in manifest["models"]:
        if model["precision"] == "int8":
            model["tolerance"] = 1e-9
    manifest["digest"] = manifest_digest(manifest)
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest))
    done = run(bundle.folder, "--runtime", "onnxruntime", "--json")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert line.startswith("Error: The self-test of int8 failed: depth differs by 0.") and "0.00% allowed" in line
    kept = json.loads((bundle.folder / "result.json").read_text())
    assert kept == json.loads(done.stdout)
    assert [row["precision"] for row in kept["rows"]] == ["fp32"]
    assert [failed["precision"] for failed in kept["failed"]] == ["int8"]
    alone = run(bundle.folder, "--runtime", "onnxruntime", "--precision", "int8")
    assert alone.returncode == 1 and alone.stderr.splitlines() == [line]


def test_a_full_disk_behind_the_output_is_one_line(bundle: WrittenBundle) -> None:
    command = [sys.executable, str(bundle.folder / "run.py"), "--seconds", "0", "--runtime", "onnxruntime", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: The disk is full") and "Traceback" not in done.stderr


def test_help_that_cannot_be_written_is_one_line_too(bundle: WrittenBundle) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(bundle.folder / "run.py"), "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "disk is full" in done.stderr


@pytest.mark.parametrize("part", ["tolerance", "engine", "crop"])
def test_a_manifest_that_was_altered_is_refused(bundle: WrittenBundle, part: str) -> None:
    """Tolerances, framing and engine options decide what run.py does as much as any file."""
    path = bundle.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if part == "tolerance":
        manifest["models"][0]["tolerance"] = 9.0
    elif part == "engine":
        manifest["engine"] = "effort=5"
    else:
        manifest["framing"]["crop"] = [3, 4]
    path.write_text(json.dumps(manifest))
    done = run(bundle.folder)
    assert done.returncode != 0 and "manifest.json was altered" in done.stderr
    with pytest.raises(FileError, match="was altered"):
        bundle_faults(bundle.folder)


def test_a_model_may_be_twice_as_far_off_as_it_was_or_a_little_off_by_its_precision() -> None:
    """Depth is exp(features + offset): the offset moves all of it by the same share."""
    moved = {
        name: (small_network(offset=0.7 + np.log1p(share)), precision)
        for name, share, precision in (
            ("far", 0.05, "int8"),
            ("near", 0.002, "int8"),
            ("half", 0.002, "fp16"),
            ("same", 0.0, "fp32"),
        )
    }
    tested = make_selftest(small_network(), moved, pictures(2))
    assert tested.errors == pytest.approx({"far": 0.05, "near": 0.002, "half": 0.002, "same": 0}, abs=1e-5)
    assert tested.tolerances == pytest.approx({"far": 0.1, "near": 0.03, "half": 0.01, "same": 0.01}, abs=1e-4)


def test_a_manifest_of_another_format_is_refused_although_its_digest_fits(bundle: WrittenBundle) -> None:
    path = bundle.folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), "format": FORMAT + 1}
    path.write_text(json.dumps({**manifest, "digest": manifest_digest(manifest)}))
    with pytest.raises(MisfitError, match=f"has format {FORMAT + 1}"):
        Bundle(bundle.folder)
    with pytest.raises(FileError, match=f"has format {FORMAT + 1}"):
        bundle_faults(bundle.folder)


def test_the_self_test_notices_exchanged_colours(parts, bundle: WrittenBundle) -> None:
    student, _ = parts
    picture = np.asarray(Image.open(bundle.folder / "selftest" / "picture.png"))
    right = np.load(bundle.folder / "selftest" / "depth.npy").astype(np.float32)
    swapped = infer_model(onnx.load(student), np.ascontiguousarray(picture[None, :, :, ::-1]))[0]
    noticed = np.mean(np.abs(swapped - right) / right) > max(bundle.tolerances.values())
    assert noticed == ("swapped red and blue" not in bundle.blind_to)
