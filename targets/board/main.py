"""The command line of run.py: build what is missing, self-test, latency, and depth of pictures or of a camera."""

from __future__ import annotations

import argparse
import errno
import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Iterator, TextIO

import numpy as np

from targets.board.apart import serve_build
from targets.board.camera import frames, is_live, require_source
from targets.board.errors import BoardError, InputError, MissingError
from targets.board.files import write_bytes
from targets.board.manifest import Bundle, BundledModel
from targets.board.options import EngineOptions
from targets.board.pictures import list_pictures, name_results, read_picture, skipped_folders, write_depth
from targets.board.predictor import RESULT, BuildClock, choose_models, fastest_first, framed
from targets.board.runtimes import RUNTIMES, Model, choose_runtime, open_model, python_command
from targets.board.trial import measure_latency, self_test, trial_picture

__all__ = ["main"]


def main() -> int:
    """Exit codes: 0 done; 1 failed (or a self-test, picture or camera did); 2 wrong usage; 3 a runtime is missing."""
    if sys.argv[1:2] == ["--build"]:
        return serve_build(sys.argv[2])
    try:
        return _run(_parse_arguments())
    except BoardError as error:
        _say(f"Error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("Interrupted; engines already built are kept.")
        return 130
    except OSError as error:  # of the output: what goes wrong with files is a BoardError
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EFBIG):
            raise
        if error.errno == errno.ENOSPC:
            _say("Error: The disk is full where the output is written. Free some space and run it again.")
        if error.errno == errno.EFBIG:
            _say("Error: The output reached the limit on a file's size. Raise it (ulimit -f) and run it again.")
        # Python would complain again at exit, also when the reader of the output is merely gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Build what is missing, test it, time it, and predict the depth of pictures."
    )
    parser.add_argument("pictures", nargs="*", help="pictures or folders; without any, only build, test and time")
    parser.add_argument(
        "--runtime", choices=RUNTIMES, help="default: the first of these that is installed and in the bundle"
    )
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), help="default: all; for pictures, the fastest")
    parser.add_argument("--camera", metavar="SOURCE", help="0, 1, ..., a video, or a GStreamer pipeline")
    parser.add_argument("--out", default="depth", metavar="FOLDER", help="where the depth of pictures is written")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of openvino and onnxruntime")
    parser.add_argument("--engine", metavar="OPTIONS", help="such as workspace=512,effort=5,dla=0,batch=1")
    parser.add_argument("--rebuild", action="store_true", help="rebuild the engines")
    parser.add_argument(
        "--seconds", type=float, default=3.0, metavar="S", help="measure latency for at least this long"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    try:
        given = parser.parse_args()
    except SystemExit:  # after --help; where it cannot be written, Python would only complain at exit
        print(end="", flush=True)
        raise
    if not 1 <= given.threads <= 256 or not 0 <= given.seconds <= 3600:
        parser.error("--threads must be 1 to 256, --seconds 0 to 3600")
    return given


def _run(given: argparse.Namespace) -> int:
    bundle = Bundle(Path(__file__).resolve().parent)
    if given.camera:
        require_source(given.camera)
    pictures = list_pictures(given.pictures)  # fails before minutes of building if one does not exist
    for line in skipped_folders(given.pictures):
        _say(line)
    runtime = choose_runtime(bundle, given.runtime)
    options = None if given.engine is None else EngineOptions.parse(given.engine)
    models = choose_models(bundle, runtime, given.precision)
    if not runtime.startswith("tensorrt") and (options is not None or given.rebuild):
        _say(f"{'--rebuild' if options is None else '--engine'} has no effect: {runtime} needs no engine")
    if not bundle.metric:
        _say("Depth has no known unit, though labelled metres here: only ratios are meaningful")
    if (pictures or given.camera) and given.precision is None:
        models = fastest_first(bundle, runtime, models)[:1]
    result: dict[str, Any] = {"bundle": bundle.digest, "name": bundle.name, "runtime": runtime}
    result.update(rows=[], failed=[], left_out=[])
    result.update(machine=_machine(), python=platform.python_version(), numpy=np.__version__)
    failures: list[BoardError] = []
    for model in models:
        try:
            _run_one(bundle, model, runtime, options, given, pictures, result)
        except BoardError as error:
            if len(models) == 1:
                raise
            failures.append(error)  # the others may work
            result["failed"].append({"precision": model.precision, "message": error.message, "fix": error.fix})
            _say(f"Error: {error}")
    if result["rows"] and given.precision is None and not pictures and not given.camera:
        _keep(bundle, result)
        fastest = min(result["rows"], key=lambda row: float(row["p50_ms"]))["precision"]
        _say(f"Fastest: {fastest}. Next: {python_command()} {shlex.quote(sys.argv[0])} PICTURE, or --camera 0")
    if given.json:
        print(json.dumps(result, indent=2), flush=True)
    return failures[0].exit_code if failures else int(bool(result["left_out"]))


def _keep(bundle: Bundle, result: dict[str, Any]) -> None:
    """Save `result` beside run.py, to know the fastest model later. A file that cannot be written is only reported."""
    try:
        write_bytes(bundle.folder / RESULT, (json.dumps(result, indent=2) + "\n").encode())
    except BoardError as error:
        _say(f"{RESULT} was not saved: {error.message}.")


def _run_one(
    bundle: Bundle,
    model: BundledModel,
    runtime: str,
    options: EngineOptions | None,
    given: argparse.Namespace,
    pictures: list[Path],
    result: dict[str, Any],
) -> None:
    """Open one model, test it, and predict what was asked for; the outcome goes into `result`."""
    opened = open_model(bundle, model, runtime, given.threads, options, given.rebuild, BuildClock(model, runtime))
    try:
        row = _try(bundle, model, opened, given.seconds)
        result["rows"].append(row)
        _say_row(row)
        if pictures:
            result["pictures"] = []
        for path, metres in _predict(bundle, opened, pictures, given.out, result["left_out"]):
            result["pictures"].append(dict(picture=str(path), **metres))
        if given.camera:
            result["camera"] = _watch(bundle, opened, given.camera, sys.stderr if given.json else sys.stdout)
    finally:
        opened.close()


def _try(bundle: Bundle, model: BundledModel, opened: Model, seconds: float) -> dict[str, Any]:
    error = self_test(bundle, model, opened)
    latency = measure_latency(opened, trial_picture(bundle), seconds)
    row = {"precision": model.precision, "runtime": opened.about, "error": error, "expected_error": model.error}
    return {**row, "tolerance": model.tolerance, **latency}


def _say_row(row: dict[str, Any]) -> None:
    text = "{precision}: self-test passed ({error:.3%} from fp32, {tolerance:.3%} allowed); "
    text += "p50 {p50_ms:.2f} ms, p90 {p90_ms:.2f}, p99 {p99_ms:.2f} ({runtime})"
    _say(text.format(**row))


def _predict(
    bundle: Bundle, opened: Model, pictures: list[Path], out: str, left_out: list[dict[str, str]]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Depth of each picture: some values, and the part of it that the network saw.

    One of several that cannot be read is skipped, reported and noted in `left_out`.
    """
    several = len(pictures) > 1
    for path, name in zip(pictures, name_results(pictures)):
        try:
            picture = read_picture(path)
            rgb = framed(bundle, picture)
        except (InputError, MissingError) as error:
            if not several:
                raise
            _say(f"Skipped: {error}")
            left_out.append({"picture": str(path), "message": error.message, "fix": error.fix})
            continue
        depth = opened.infer(rgb[None])[0]
        near, middle, far = np.percentile(depth, (1, 50, 99)).tolist()
        written = write_depth(Path(out) / name, depth)
        height, width = picture.shape[:2]
        seen = left, top, right, bottom = bundle.framing.box(height, width)
        part = ""
        if seen != (0, 0, width, height):
            part = f", of its columns {left:.0f} to {right:.0f} and rows {top:.0f} to {bottom:.0f} of {width}x{height}"
        _say(f"{path}: {near:.2f} to {far:.2f} m, median {middle:.2f}; {written[0]}{part}")
        yield path, {"near": near, "median": middle, "far": far, "seen": seen}


def _watch(bundle: Bundle, opened: Model, source: str, to: TextIO) -> dict[str, Any]:
    """Depth of a video, or of a camera until Ctrl-C. Prints frames per second and the distance ahead every second."""
    begun = said = time.perf_counter()
    count = total = 0
    depth = np.zeros((0, 0), np.float32)

    def say() -> None:
        height, width = depth.shape
        ahead = depth[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5]
        rate = count / (time.perf_counter() - said)
        print(f"{rate:.1f} frames/s, {np.median(ahead):.2f} m ahead, nearest {depth.min():.2f} m", file=to, flush=True)

    try:
        for rgb in frames(source, bundle.camera):
            depth = opened.infer(framed(bundle, rgb)[None])[0]
            count, total = count + 1, total + 1
            if time.perf_counter() - said >= 1:
                say()
                said, count = time.perf_counter(), 0
    except KeyboardInterrupt:
        if not is_live(source) or not total:  # only a running camera ends this way
            raise
    if count:
        say()
    return {"source": source, "frames": total, "frames_per_second": total / (time.perf_counter() - begun)}


def _machine() -> dict[str, Any]:
    """What a reader needs to judge the figures; None where it cannot be read."""

    def text(path: str) -> str | None:
        try:
            return Path(path).read_text(errors="replace").strip("\0\n ")
        except OSError:
            return None

    paths = {"board": "proc/device-tree/model", "release": "etc/nv_tegra_release", "power": "var/lib/nvpmodel/status"}
    found = {name: text("/" + path) for name, path in paths.items()}
    return {"system": platform.platform(), "machine": platform.machine(), **found}


def _say(text: str) -> None:
    """Print one line on standard error. The name of a file may hold an escape sequence, which a terminal would obey."""
    text = " ".join(line.strip() for line in text.splitlines() if line.strip())  # a library's reason may be several
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    print(("\r\x1b[K" if sys.stderr.isatty() else "") + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
