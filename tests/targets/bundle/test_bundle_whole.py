"""A bundle is whole or says what is wrong: its archive, its digests, its self-test."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from small_bundle import CAMERA, run, write
from small_network import HEIGHT, SPEC, WIDTH, pictures, small_network

from calibration.errors import FileError
from targets.board.errors import MisfitError
from targets.board.manifest import FORMAT, Bundle, manifest_digest
from targets.board.options import EngineOptions
from targets.bundle.selftest import make_selftest
from targets.bundle.verify import bundle_faults, is_bundle
from targets.bundle.write import BundleOptions, WrittenBundle, write_bundle
from targets.graph import read_graph
from targets.reference import infer_model


def test_the_archive_holds_the_folder_and_is_the_same_twice(parts, tmp_path: Path) -> None:
    first, second = (write(parts, tmp_path / name / "small") for name in ("a", "b"))
    assert first.archive.read_bytes() == second.archive.read_bytes() and first.digest == second.digest
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "xzf", str(first.archive), "-C", str(tmp_path / "unpacked")], check=True)
    for folder in (first.folder, tmp_path / "unpacked" / "small"):
        assert all(os.access(folder / name, os.X_OK) for name in ("run.py", "build.sh"))
    assert run(tmp_path / "unpacked" / "small", "--runtime", "onnxruntime").returncode == 0
    assert first.models_size == sum(path.stat().st_size for path in (first.folder / "models").iterdir())
    renamed = first.archive.rename(tmp_path / "small.tgz")  # as some browsers and mail programs do
    faults, checked = bundle_faults(renamed)
    assert is_bundle(renamed) and not faults and checked > 5


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


def test_of_an_archive_too_every_altered_or_missing_file_is_named(bundle: WrittenBundle, tmp_path: Path) -> None:
    """Packed anew, so that only its digests tell: gzip's own checksum fits."""
    with tarfile.open(bundle.archive) as tar:
        held = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    for name, content in held.items():
        if name == "small/manifest.json":
            continue
        for said, altered in (("was altered", content[:-1] + b"?"), ("is missing", None)):
            with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as tar:
                for path, data in {**held, name: altered}.items():
                    if data is not None:
                        member = tarfile.TarInfo(path)
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
            (fault,), checked = bundle_faults(tmp_path / "other.tar.gz")
            assert f"{name.removeprefix('small/')} {said}" in fault.message and checked == len(held) - 1


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


def across() -> np.ndarray:
    """A picture that is the same upside down: red on the left, blue on the right."""
    right = np.broadcast_to(np.arange(WIDTH) * 5, (HEIGHT, WIDTH))
    return np.stack([240 - right, np.full_like(right, 60), right], axis=-1).astype(np.uint8)


def down() -> np.ndarray:
    """A grey picture, which is the same with red and blue exchanged: dark above, light below."""
    below = np.broadcast_to(np.arange(HEIGHT)[:, None] * 7, (HEIGHT, WIDTH))
    return np.stack([below] * 3, axis=-1).astype(np.uint8)


def test_the_picture_that_shows_exchanged_colours_is_chosen_and_what_it_does_not_show_is_told() -> None:
    models = {"same": (small_network(), "fp32")}
    tested = make_selftest(small_network(), models, np.stack([down(), across(), down()]))
    np.testing.assert_array_equal(tested.picture, across())
    np.testing.assert_array_equal(tested.depth, infer_model(small_network(), across()[None])[0])
    assert tested.blind_to() == ["an upside-down picture"]
    assert make_selftest(small_network(), models, down()[None]).blind_to() == ["swapped red and blue"]
    far = {"far": (small_network(offset=0.7 + np.log1p(0.6 * tested.swapped)), "int8")}  # and twice that is allowed
    blind = make_selftest(small_network(), far, across()[None]).blind_to()
    assert blind == ["swapped red and blue", "an upside-down picture"]


def test_its_readme_says_what_it_takes_and_gives(parts, bundle: WrittenBundle, tmp_path: Path) -> None:
    text = (bundle.folder / "README.md").read_text()
    assert "# small: depth in metres" in text and "only ratios" not in text
    assert "run.py crops and resizes for the network" in text and f"uint8 [N, {HEIGHT}, {WIDTH}, 3]" in text
    for file, error in bundle.errors.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| {file} |"))
        assert row.endswith(f"| {error:.3%} | {bundle.tolerances[file]:.3%} |")
    assert ("would not notice" in text) == bool(bundle.blind_to)
    student, made = parts
    options = BundleOptions("small", camera=CAMERA, metric=False)
    other = write_bundle(read_graph(student), made, down()[None], options, {}, tmp_path / "other")
    text = (other.folder / "README.md").read_text()
    assert "# small: depth in an unknown unit" in text and "only ratios of depth are meaningful" in text
    assert "Frames go in as the camera gives them" in text and f"uint8 [N, {CAMERA[0]}, {CAMERA[1]}, 3]" in text
    assert "The self-test would not notice swapped red and blue" in text
    assert "no known unit" in run(other.folder, "--runtime", "onnxruntime").stderr
    assert "no known unit" not in run(bundle.folder, "--runtime", "onnxruntime").stderr


def test_of_a_cameras_frame_the_network_sees_the_picture_and_engines_take_the_frame(parts, tmp_path: Path) -> None:
    wide = (60, 160)  # of which the network sees the middle
    folder = write(parts, tmp_path / "small", camera=wide).folder
    frame = np.asarray(Image.open(folder / "selftest" / "picture.png"))
    assert frame.shape == (*wide, 3)
    seen = SPEC.framing.image(frame).astype(int)
    assert min(np.abs(seen - picture).mean() for picture in pictures(6, seed=9)) < 5
    assert f"--maxShapes=image:8x{wide[0]}x{wide[1]}x3" in (folder / "build.sh").read_text()


def test_engines_are_built_on_the_device_with_the_options_that_were_asked_for(parts, tmp_path: Path) -> None:
    asked = EngineOptions.parse("batch=2,workspace=64")
    folder = write(parts, tmp_path / "small", engine=asked).folder
    assert Bundle(folder).options == asked
    assert "--memPoolSize=workspace:64" in (folder / "build.sh").read_text()


def test_trtexec_builds_for_tensorrt_alone(parts, tmp_path: Path) -> None:
    student, made = parts
    rtx = [replace(made[0], runtimes=("tensorrt-rtx",))]
    written = write_bundle(
        read_graph(student), rtx, pictures(2), BundleOptions("small"), {"student": "s"}, tmp_path / "small"
    )
    assert not (written.folder / "build.sh").exists()
