"""Building an engine in a process of its own: TensorRT may crash or be killed for memory, and the clock runs on.

The child answers in lines on its standard output: what the builder is at, and last one JSON value.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

from targets.board.cuda import Device
from targets.board.engine import build_engine
from targets.board.errors import BoardError, InputError, MisfitError, MissingError, RefusedError
from targets.board.files import read_bytes
from targets.board.key import EngineKey, write_engine
from targets.board.options import EngineOptions
from targets.board.timings import Timings

__all__ = ["BuildJob", "build_apart", "here_key", "serve_build"]

_KINDS = {kind.__name__: kind for kind in (BoardError, InputError, MisfitError, MissingError, RefusedError)}
_ANSWER = "edgekd-answer "
_EVERY = 0.5  # seconds between looks at the clock


@dataclass(frozen=True)
class BuildJob:
    """What the child is told."""

    module: str  # to import: tensorrt, tensorrt_rtx...
    runtime: str  # tensorrt or tensorrt-rtx
    onnx: str  # paths
    engine: str
    size: tuple[int, int]  # height and width of the input
    precision: str
    options: EngineOptions
    cache: str  # the folder of timings

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> BuildJob:
        fields = json.loads(text)
        return cls(**{**fields, "options": EngineOptions(**fields["options"]), "size": tuple(fields["size"])})


def here_key(runtime: str, version: str, model: str, options: EngineOptions) -> EngineKey:
    """The key that an engine of this model (its sha256) would have here. A machine without a device has none in it."""
    try:
        device: Device | None = Device()
    except MissingError:
        device = None
    name, capability = (device.name, device.capability) if device is not None else (None, None)
    return EngineKey(runtime, version, name, capability, model, options.to_json())


def serve_build(text: str) -> int:
    """The child: build, write the engine with its key, answer. Returns the exit code."""
    job = BuildJob.from_text(text)
    try:
        answer: dict[str, Any] = {"seconds": _build_here(job, lambda step: print(step, flush=True))}
    except BoardError as error:
        answer = {"error": type(error).__name__, "message": error.message, "fix": error.fix}
    print(_ANSWER + json.dumps(answer), flush=True)
    return 0 if "seconds" in answer else 1


def build_apart(command: list[str], job: BuildJob, show: Callable[[float, str], None]) -> float:
    """Run `command` with the job, which must come to `serve_build`; returns the seconds it took.

    `show(seconds, step)` is called twice a second from the first moment on. Raises what the child raised, or
    RefusedError when it was killed or crashed.
    """
    _require_disk(job)
    started = time.monotonic()
    lines: list[str] = []
    complaints: list[str] = []
    with subprocess.Popen(
        [*command, job.to_text()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",  # libraries say what they like, and a reader that fails would leave the child waiting
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        readers = [
            threading.Thread(target=kept.extend, args=(stream,), daemon=True)
            for kept, stream in ((lines, child.stdout), (complaints, child.stderr))
        ]
        for reader in readers:
            reader.start()
        try:
            while child.poll() is None:
                steps = [line.strip() for line in list(lines) if not line.startswith(_ANSWER)]
                show(time.monotonic() - started, steps[-1] if steps else "starting")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_EVERY)
        finally:
            if child.poll() is None:  # Ctrl-C, or an error of `show`
                child.kill()
            for reader in readers:
                reader.join()
    return _answer(lines, complaints, child.returncode)


def _answer(lines: list[str], complaints: list[str], code: int) -> float:
    answers = [line[len(_ANSWER) :] for line in lines if line.startswith(_ANSWER)]
    if not answers:
        last = (complaints or ["it said nothing"])[-1].strip()
        if code == -9:
            raise RefusedError(
                "The build was killed, as the kernel does when memory runs out",
                "Close other programs, add swap, or give the builder less (engine option workspace=256)",
            )
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise RefusedError(f"The build ended without an answer ({how}: {last})", "Check the installation")
    answer: Mapping[str, Any] = json.loads(answers[-1])
    if "error" in answer:
        raise _KINDS[answer["error"]](answer["message"], answer["fix"])
    return float(answer["seconds"])


def _build_here(job: BuildJob, say: Callable[[str], None]) -> float:
    try:
        trt: Any = importlib.import_module(job.module)
    except ImportError as error:
        raise MissingError(f"{job.module} cannot be imported ({error})", "Install it") from error
    model = read_bytes(job.onnx, "edgekd export")
    key = here_key(job.runtime, str(trt.__version__), hashlib.sha256(model).hexdigest(), job.options)
    timings = Timings(job.cache, key)
    started = time.monotonic()
    engine, cache = build_engine(trt, model, job.size, job.precision, job.options, timings.cache, say)
    seconds = time.monotonic() - started
    write_engine(job.engine, engine, key, seconds)
    timings.keep(cache, len(model), seconds)
    return seconds


def _require_disk(job: BuildJob) -> None:
    """An engine is about as large as its model, and a build of minutes should not end on a full disk."""
    folder = Path(job.engine).resolve().parent
    needed, free = 3 * Path(job.onnx).stat().st_size + (16 << 20), shutil.disk_usage(str(folder)).free
    if free < needed:
        raise BoardError(f"{folder} has {free >> 20} MB free and the engine may need {needed >> 20}", "Free some space")


if __name__ == "__main__":
    sys.exit(serve_build(sys.argv[-1]))
