"""Properties that hold for any input from hypothesis: metrics, masks, files, manifests, the command line."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis", reason="property tests need hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

from calibration.errors import EdgekdError  # noqa: E402
from calibration.files import inside, read_json, write_json  # noqa: E402
from edgekd.cli.app import run  # noqa: E402
from edgekd.cli.tables import printable  # noqa: E402
from edgekd.evaluate.metrics import METRICS, score  # noqa: E402
from edgekd.run.manifest import differences, plain  # noqa: E402
from edgekd.simulate.readers.frames import instance_ids  # noqa: E402
from targets.drift import measure_drift  # noqa: E402

settings.register_profile(
    "edgekd", deadline=None, max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.load_profile("edgekd")

DEPTH = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(allow_nan=True, allow_infinity=True, width=32),
)
ORDINARY = st.floats(min_value=2**-20, max_value=2**20, width=32)


@given(DEPTH, st.floats(min_value=2**-10, max_value=4, width=32))
def test_metrics_are_finite_or_one_error_whatever_the_depth(truth: Any, factor: float) -> None:
    with np.errstate(all="ignore"):
        prediction = truth * np.float32(factor)
    seen = np.isfinite(truth) & (truth > 0.1) & (truth < 10)
    try:
        scores = score(prediction, truth)
    except EdgekdError as error:
        assert not seen.any() and "No pixel" in str(error)
        return
    assert seen.any() and scores.keys() == METRICS.keys()
    for name, value in scores.items():
        assert math.isfinite(value) and METRICS[name].low <= value <= METRICS[name].high


@given(hnp.arrays(np.float32, (4, 5), elements=ORDINARY), hnp.arrays(np.float32, (4, 5), elements=ORDINARY))
def test_metrics_are_those_of_a_reference_in_float64(prediction: Any, truth: Any) -> None:
    low, high = 1e-7, 1e7
    scores = score(prediction, truth, low=low, high=high)
    p, t = [float(value) for value in prediction.ravel()], [float(value) for value in truth.ravel()]
    n = len(p)
    logs = [math.log(a) - math.log(b) for a, b in zip(p, t, strict=True)]
    mean = math.fsum(logs) / n
    wanted = {
        "absrel": math.fsum(abs(a - b) / b for a, b in zip(p, t, strict=True)) / n,
        "rmse": math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(p, t, strict=True)) / n),
        "log10": math.fsum(abs(value) for value in logs) / n / math.log(10),
        "silog": 100 * math.sqrt(math.fsum((value - mean) ** 2 for value in logs) / n),
        "delta1": sum(max(a / b, b / a) < 1.25 for a, b in zip(p, t, strict=True)) / n,
    }
    for name, value in wanted.items():
        assert scores[name] == pytest.approx(value, rel=1e-9, abs=1e-9)


@given(hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(min_value=0.0625, max_value=1e6, width=32)))
def test_a_model_does_not_drift_from_itself(depth: Any) -> None:
    drift = measure_drift(depth, depth)
    assert (drift.abs_rel, drift.within_1, drift.scale_ratio, drift.rank_correlation) == (0, 1, 1, pytest.approx(1))


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.int64, np.uint32, np.bool_]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    ),
    st.data(),
)
def test_masks_keep_what_is_apart_apart(plane: Any, data: Any) -> None:
    room = data.draw(hnp.arrays(np.bool_, plane.shape))
    ids = instance_ids(plane, room, Path("mask.png"))
    assert ids.dtype == np.uint16 and ids.shape == plane.shape
    objects = ~room & (plane > 0)
    assert (ids[~objects] == 0).all() and (ids[objects] > 0).all()
    before, after = plane[objects], ids[objects]
    pairs = set(zip(before.tolist(), after.tolist(), strict=True))
    assert len(np.unique(before)) == len(np.unique(after)) == len(pairs)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_json_comes_back_as_it_went(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    with contextlib.suppress(UnicodeEncodeError):  # unpaired surrogates are no text
        write_json(path, value)
        assert read_json(path) == value


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.dictionaries(st.text(), VALUES, max_size=4))
def test_settings_differ_exactly_where_they_do(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert differences(plain(first), plain(first)) == []
    if first.keys() == second.keys() and plain(first) == plain(second):
        assert differences(plain(first), plain(second)) == []


@given(st.text())
def test_no_name_leads_out_of_a_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("folder")
    with contextlib.suppress(EdgekdError, ValueError):  # ValueError: a zero byte
        assert inside(folder, name).resolve().is_relative_to(folder.resolve())


@given(st.text())
def test_what_is_printed_commands_nothing(text: str) -> None:
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in printable(text))


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """contextlib.chdir, which Python 3.10 lacks."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


WORDS = st.sampled_from(
    ["distill", "export", "bench", "check", "report", "predict", "bundle", "verify", "simulate", "statistics", "doctor",
     "calibrate", "preflight", "--json", "--target", "--steps", "--out", "--count", "--seed", "--help", "--precision",
     "onnxruntime", "int8", "runs/none", "-1", "0", "1e9", "", "--", "-h", "--images", "--teacher", "rooms:", ":",
     "hf:",
     "a.onnx", "a.pt", "a.safetensors", "--data", "--device", "cuda:99", "--batch"]
)  # fmt: skip


@given(st.lists(WORDS | st.text(max_size=8), min_size=1, max_size=5))
def test_any_command_line_ends_with_a_code_and_one_line(
    tmp_path_factory: pytest.TempPathFactory, arguments: list[str]
) -> None:
    if {"doctor", "demo"} & {*arguments} or (arguments[0] in ("simulate", "distill", "calibrate")):
        return  # these may run for real, and for long
    folder = tmp_path_factory.mktemp("empty")
    out, err = io.StringIO(), io.StringIO()
    with in_folder(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    assert code in (0, 1, 2, 3), arguments
    assert "Traceback" not in err.getvalue() and "bug in edgekd" not in err.getvalue(), (arguments, err.getvalue())
    assert code == 0 or err.getvalue().splitlines()[-1].startswith("Error: "), (arguments, err.getvalue())
