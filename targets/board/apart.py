"""Building an engine in a separate process: TensorRT may crash or be killed for memory, and the clock keeps running.

The child answers in lines on its standard output: the builder's current step, and finally one JSON value.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import shutil
import subprocess
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
    """What the child is to build."""

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
    """The key that an engine of this model (its sha256) would have here; without a device, the key names none."""
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
    """Run `command` with the job, which it must pass to `serve_build`; returns the seconds that the build took.

    `show(seconds, step)` is called twice a second from the start. Raises what the child raised, or
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
        errors="replace",  # libraries may print any bytes, and a reader that fails would leave the child waiting
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
        last = (complaints or ["no output"])[-1].strip()
        if code == -9:
            raise RefusedError(
                "The build was killed, most likely by the kernel because memory ran out",
                "Close other programs, add swap, or limit the builder's memory (engine option workspace=256)",
            )
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise RefusedError(f"The build process died ({how}: {last})", "Check the installation")
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
    """Raise BoardError on a nearly full disk, before minutes of building; an engine is about as large as its model."""
    folder = Path(job.engine).resolve().parent
    needed, free = 3 * Path(job.onnx).stat().st_size + (16 << 20), shutil.disk_usage(str(folder)).free
    if free < needed:
        raise BoardError(
            f"{folder} has {free >> 20} MB free, but the engine may need {needed >> 20} MB", "Free some space"
        )
