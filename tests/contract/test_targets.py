"""The contract of every target in every precision, as one class of tests."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_network import HEIGHT, WIDTH, pictures, reference_depth

from calibration.errors import ArtefactError, DataError, MissingRuntimeError, UsageError
from calibration.images import CalibrationSet
from calibration.progress import Quiet
from targets import TARGETS, all_targets, get_target
from targets.artefact import open_artefact
from targets.base import PRECISIONS, Artefact, BuildOptions, Holding, Precision, RunnerOptions, Target
from targets.input import InputSpec

# Largest mean relative error allowed against onnx's evaluator on the small network.
TOLERANCE = {"fp32": 1e-5, "fp16": 2e-3, "int8": 2e-2}


# ONNX Runtime has no float16 kernels on the CPU: it would compute in float32 and cast.
CASES = [
    (name, precision) for name in TARGETS for precision in PRECISIONS if (name, precision) != ("onnxruntime", "fp16")
]


@dataclass(frozen=True)
class Case:
    target: Target
    artefact: Artefact


@pytest.fixture(scope="module", params=CASES,
                ids=lambda param: "-".join(param))  # fmt: skip
def case(
    request: pytest.FixtureRequest,
    student: Path,
    calibration: CalibrationSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Case]:
    name, precision = request.param
    target = get_target(name)
    status = target.status()
    if not status.can_build:
        pytest.skip(f"{name}: {status.missing}")
    if precision not in status.precisions:
        pytest.skip(f"{name} has no {precision}")
    into = tmp_path_factory.mktemp("artefacts") / f"{name}-{precision}"
    artefact = target.build(student, precision, calibration, BuildOptions(), Quiet(), into=into)
    yield Case(target, artefact)


def open_or_skip(case: Case):
    if not case.artefact.can_run_here:
        pytest.skip(f"{case.artefact.name} is built here and runs elsewhere: {case.target.status().missing}")
    return case.target.open(case.artefact, RunnerOptions(threads=1))


class TestEveryTarget:
    def test_artefact_is_read_back_as_it_was_returned(self, case: Case) -> None:
        assert open_artefact(case.artefact.folder) == case.artefact

    def test_artefact_says_what_it_was_made_from(self, case: Case, student: Path, calibration: CalibrationSet) -> None:
        import hashlib

        assert case.artefact.student == hashlib.sha256(student.read_bytes()).hexdigest()
        expected = calibration.digest if case.artefact.precision == "int8" else None
        assert case.artefact.calibration == expected
        assert case.artefact.name == f"{case.target.name}-{case.artefact.precision}"

    def test_every_file_but_the_description_is_digested(self, case: Case) -> None:
        files = {path.relative_to(case.artefact.folder).as_posix() for path in case.artefact.folder.rglob("*")}
        assert files == {*case.artefact.files, "artefact.json"}
        assert case.artefact.model in files

    def test_what_cannot_run_here_says_the_command_for_the_device(self, case: Case) -> None:
        assert case.artefact.can_run_here or case.artefact.device_command

    def test_drift_was_measured_and_is_small(self, case: Case) -> None:
        assert case.artefact.drift["abs_rel"] < TOLERANCE[case.artefact.precision]
        assert case.artefact.drift["images"] == 5  # every eighth of 40 pictures is held out
        assert "held out" in str(case.artefact.drift_on)

    def test_onnx_files_name_student_and_calibration_set(self, case: Case) -> None:
        paths = list(case.artefact.folder.glob("*.onnx"))
        assert paths or case.target.name == "openvino"  # whose files are its own
        for path in paths:
            metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
            assert metadata["edgekd.student"] == case.artefact.student
            assert metadata.get("edgekd.calibration") == case.artefact.calibration
            assert InputSpec.from_json(json.loads(metadata["edgekd.input"])) == case.artefact.input

    @pytest.mark.parametrize("count", [1, 3])
    def test_infers_what_the_student_infers(self, case: Case, student: Path, count: int) -> None:
        images = pictures(count, seed=11)
        expected = reference_depth(onnx.load(student), images)
        with open_or_skip(case) as runner:
            depth = runner.infer(images)
        assert depth.dtype == np.float32
        assert depth.shape == (count, HEIGHT, WIDTH)
        assert np.mean(np.abs(depth - expected) / expected) < TOLERANCE[case.artefact.precision]

    def test_pictures_are_left_alone_and_results_stay(self, case: Case) -> None:
        images = pictures(4, seed=3)
        before = images.copy()
        images.setflags(write=False)  # like a memory-mapped calibration set
        with open_or_skip(case) as runner:
            first = runner.infer(images[:1])
            kept = first.copy()
            for index in range(1, 4):
                runner.infer(images[index : index + 1])
            again = runner.infer(images[:1])
        assert np.array_equal(images, before)
        assert np.array_equal(first, kept)
        assert np.array_equal(again, kept)

    def test_what_is_held_is_inferred_again_and_again_and_disturbs_nothing_after(self, case: Case) -> None:
        with open_or_skip(case) as runner:
            if not isinstance(runner, Holding):
                pytest.skip(f"{case.artefact.name} copies with every inference")
            images = pictures(2, seed=5)
            before = runner.infer(images).copy()
            run = runner.hold(pictures(1, seed=6))
            for _ in range(5):
                run()
            del run
            gc.collect()
            for _ in range(5):
                np.testing.assert_array_equal(runner.infer(images), before)

    def test_batch_size_may_change_and_does_not_matter(self, case: Case) -> None:
        images = pictures(3, seed=4)
        with open_or_skip(case) as runner:
            together = runner.infer(images)
            alone = np.concatenate([runner.infer(images[index : index + 1]) for index in range(3)])
        np.testing.assert_allclose(together, alone, rtol=1e-4)

    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((1, HEIGHT, WIDTH, 3), np.float32),
            np.zeros((1, HEIGHT + 1, WIDTH, 3), np.uint8),
            np.zeros((1, 3, HEIGHT, WIDTH), np.uint8),
            np.zeros((HEIGHT, WIDTH, 3), np.uint8),
            np.zeros((0, HEIGHT, WIDTH, 3), np.uint8),
        ],
        ids=["float", "size", "channels-first", "no-batch", "empty"],
    )
    def test_other_input_is_one_clear_error(self, case: Case, images: np.ndarray) -> None:
        with open_or_skip(case) as runner, pytest.raises(DataError, match=rf"uint8 \[N, {HEIGHT}, {WIDTH}, 3\]"):
            runner.infer(images)

    def test_settings_state_version_and_threads_or_device(self, case: Case) -> None:
        with open_or_skip(case) as runner:
            assert runner.settings["version"]
            assert "threads" in runner.settings or "device" in runner.settings
            assert runner.artefact == case.artefact

    def test_opening_where_it_cannot_run_is_a_missing_runtime(self, case: Case) -> None:
        if case.artefact.can_run_here:
            pytest.skip(f"{case.artefact.name} runs here")
        with pytest.raises(MissingRuntimeError) as raised:
            case.target.open(case.artefact, RunnerOptions())
        assert raised.value.fix

    def test_altered_and_missing_files_are_named(self, case: Case, tmp_path: Path) -> None:
        import shutil

        copy = Path(shutil.copytree(case.artefact.folder, tmp_path / "copy"))
        model = copy / case.artefact.model
        content = model.read_bytes()
        model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ArtefactError, match=f"{model.name} was altered") as raised:
            open_artefact(copy)
        assert f"--target {case.target.name} --precision {case.artefact.precision} --force" in raised.value.fix
        model.unlink()
        with pytest.raises(ArtefactError, match=f"{model.name} is missing"):
            open_artefact(copy)

    def test_building_again_replaces_and_leaves_nothing_beside(
        self, case: Case, student: Path, calibration: CalibrationSet
    ) -> None:
        folder, precision = case.artefact.folder, case.artefact.precision
        if precision == "int8":
            pytest.skip("fp32 and fp16 take the same way and are quick")
        again = case.target.build(student, precision, calibration, BuildOptions(), Quiet(), into=folder)
        assert open_artefact(folder) == again
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]

    def test_int8_without_pictures_is_wrong_usage(self, case: Case, student: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="calibration pictures"):
            case.target.build(student, "int8", None, BuildOptions(), Quiet(), into=tmp_path / "out")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.name)
class TestStatus:
    def test_never_raises_and_says_what_mends_it(self, target: Target) -> None:
        status = target.status()
        assert (status.can_build and status.can_run) or (status.missing and status.fix)
        if status.can_run:
            assert status.version and status.devices and status.precisions

    def test_name_is_that_of_the_table(self, target: Target) -> None:
        assert TARGETS[target.name].endswith(type(target).__name__)

    @pytest.mark.parametrize("precision", ["fp8", "FP32"])
    def test_unknown_precision_is_wrong_usage(
        self, target: Target, student: Path, tmp_path: Path, precision: Precision
    ) -> None:
        if not target.status().can_build:
            pytest.skip(f"{target.name}: {target.status().missing}")
        with pytest.raises(UsageError, match=precision):
            target.build(student, precision, None, BuildOptions(), Quiet(), into=tmp_path / "out")
        assert not list(tmp_path.iterdir())
