"""Fuzzes a parser: guided by coverage where atheris is installed, otherwise by mutation only.

    python examples/robustness/fuzz.py --parser onnx --inputs 100000

One parser per process. It prints a line of JSON: the inputs tried, errors that no parser may raise, hangs, and the
process's peak memory.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

from parsers import PARSERS

__all__ = ["Found", "fuzz"]

_HANG = 5.0  # seconds of processor time
_SHOWN = 8  # distinct faults to keep


class _HangError(BaseException):
    """Raised where a parser still is after the time limit."""


@dataclass
class Found:
    """What came of one parser's inputs. A fault is counted once for each place that it comes from."""

    parser: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    hangs: int = 0
    failed: int = 0
    slowest: float = 0.0  # seconds
    base_mb: int = 0  # before the first input
    peak_mb: int = 0
    guided: bool = False
    faults: dict[str, str] = field(default_factory=dict)  # from type and place to an input in base64


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _alarm(number: int, frame: FrameType | None) -> None:
    raise _HangError


def fuzz(parser: str, inputs: int, seed: int, *, guided: bool) -> Found:
    """Feed a parser; it never raises what the parser raises. With `guided` the process ends here, after a print."""
    chosen = PARSERS[parser]
    corpus = []
    found = Found(parser, guided=guided)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    signal.signal(signal.SIGPROF, _alarm)
    warnings.simplefilter("ignore")

    def one(data: bytes) -> None:
        found.inputs += 1
        began = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_PROF, _HANG)
            try:
                chosen.read(folder, data)
                found.accepted += 1
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except chosen.allowed as error:
            found.refused += 1
            if "\n" in str(error):
                _note(found, "more than one line", data)
        except _HangError:
            found.hangs += 1
            _note(found, "hang", data)
        except BaseException as error:
            found.failed += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            _note(found, f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {str(error)[:80]}", data)
        found.slowest = max(found.slowest, time.process_time() - began)
        if found.inputs == 1:
            found.base_mb = _megabytes()
        found.peak_mb = _megabytes()

    try:
        with _instrumented() if guided else contextlib.nullcontext():  # parsers import what they need when called
            corpus += chosen.corpus()
            for data in corpus:
                one(data)
        if not found.accepted:
            raise SystemExit(f"the corpus of {parser} is not accepted: it would test nothing")
        rng = random.Random(seed)
        while found.inputs < (inputs // 2 if guided else inputs):  # mutation goes deeper, coverage wider
            one(_mutated(corpus, rng))
        if guided:
            _guided(one, corpus, found, inputs, seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _instrumented() -> contextlib.AbstractContextManager[None]:
    import atheris

    context: contextlib.AbstractContextManager[None] = atheris.instrument_imports(
        include=["edgekd", "targets", "calibration"]
    )
    return context


def _note(found: Found, what: str, data: bytes) -> None:
    key = what.split(": ")[0]
    if len(found.faults) < _SHOWN and not any(known.startswith(key) for known in found.faults):
        found.faults[what] = base64.b64encode(data[:4000]).decode()


def _guided(one: Callable[[bytes], None], corpus: list[bytes], found: Found, inputs: int, seed: int) -> None:
    """libFuzzer calls until enough; it never returns, so the outcome is printed from within."""
    import atheris

    kept = Path(tempfile.mkdtemp())
    for number, data in enumerate(corpus):
        (kept / str(number)).write_bytes(data)

    def test(data: bytes) -> None:
        one(data)
        if found.inputs >= inputs:
            shutil.rmtree(kept, ignore_errors=True)
            print(json.dumps(asdict(found)), flush=True)
            os._exit(0)

    longest = max(4096, 2 * max(map(len, corpus)))
    options = [
        f"-seed={seed + 1}",
        f"-max_len={longest}",
        "-timeout=1000",
        "-rss_limit_mb=0",
        "-verbosity=0",
        "-len_control=0",
    ]
    with contextlib.redirect_stdout(sys.stderr):
        atheris.Setup([sys.argv[0], *options, str(kept)], test)
    atheris.Fuzz()


_NUMBERS = (0, 1, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_WORDS = (b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b"../..", b"\0", b"true", b'""', b"99999999999999999999")


def _mutated(corpus: list[bytes], rng: random.Random) -> bytes:
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            size = rng.choice((1, 2, 4, 8))
            data[place : place + size] = (rng.choice(_NUMBERS) % (1 << (8 * size))).to_bytes(size, "little")
        elif kind == 2:
            del data[place : place + rng.randrange(1, 9)]
        elif kind == 3:
            data[place:place] = data[place : place + rng.randrange(1, 33)]
        elif kind == 4:
            data[place:place] = rng.choice(_WORDS)
        elif kind == 5:
            del data[place:]
        else:
            other = rng.choice(corpus)
            data[place:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parser", required=True, choices=sorted(PARSERS))
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unguided", action="store_true", help="by mutation only, even if atheris is installed")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    guided = not arguments.unguided
    if guided:
        try:
            import atheris  # noqa: F401
        except ImportError:
            print("atheris is not installed: mutating without coverage", file=sys.stderr)
            guided = False
    found = fuzz(arguments.parser, arguments.inputs, arguments.seed, guided=guided)
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
