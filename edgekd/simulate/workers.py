"""Renders shards in processes of their own, so that several cores share a set."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

from calibration.errors import EdgekdError
from calibration.files import sha256_file
from edgekd.simulate.rooms import RoomSettings, render
from edgekd.simulate.sample import SimulatedImage
from edgekd.simulate.shards import write_shard

__all__ = ["make_shards"]

_ALONE = "Run the same command with one worker; finished shards are kept"


def make_shards(
    folder: Path, settings: RoomSettings, seed: int, shards: Mapping[str, range], *, workers: int, keep_depth: bool
) -> Generator[tuple[str, str], None, None]:
    """Yield the name and digest of each shard as it is done, in any order; their bytes do not depend on `workers`."""
    if workers == 1 or len(shards) < 2:
        for name, numbers in shards.items():
            yield name, _make(folder / name, settings, seed, numbers, keep_depth)
        return
    context, others = get_context("spawn"), {*active_children()}
    try:
        stop = context.Event()
        pool = ProcessPoolExecutor(min(workers, len(shards)), context, initializer=_begin, initargs=(stop,))
    except OSError as error:  # no writable /dev/shm, as in some containers, or too many open files
        raise EdgekdError(
            f"Rendering processes cannot share memory (/dev/shm) or pipes here ({error})", fix=_ALONE
        ) from error

    def submit(name: str, numbers: range) -> Future[str]:
        try:
            return pool.submit(_make, folder / name, settings, seed, numbers, keep_depth)
        except (RuntimeError, OSError) as error:  # no memory for another thread or process
            raise BrokenProcessPool(str(error)) from error

    try:
        with _watched_threads() as died:
            with _sigint_ignored():
                jobs = {submit(name, numbers): name for name, numbers in shards.items()}
            for job in _completed({*jobs}, died):
                yield jobs[job], job.result()
    except BrokenProcessPool as error:
        raise EdgekdError(
            "A rendering worker died: out of memory, or started from a script without a __main__ guard",
            fix=_ALONE,
        ) from error
    finally:
        try:
            stop.set()
            with contextlib.suppress(RuntimeError):  # a thread of the pool never started
                pool.shutdown(wait=True, cancel_futures=True)
        finally:  # workers of a pool that broke, or was interrupted while stopping, wait for work for ever
            for process in {*active_children()} - others:
                process.terminate()


def _completed(jobs: set[Future[str]], died: threading.Event) -> Iterator[Future[str]]:
    """Jobs as they finish. Raises BrokenProcessPool once a thread of the pool has died: the rest would never finish."""
    while jobs:
        done, jobs = wait(jobs, timeout=1.0, return_when=FIRST_COMPLETED)
        yield from done
        if not done and died.is_set():
            raise BrokenProcessPool("its thread died")


@contextlib.contextmanager
def _watched_threads() -> Iterator[threading.Event]:
    """Sets an event, and prints nothing, when a thread started within the context ends with an error."""
    died, before, hook = threading.Event(), {*threading.enumerate()}, threading.excepthook

    def note(found: threading.ExceptHookArgs) -> None:
        if found.thread in before:
            hook(found)
        else:
            died.set()

    threading.excepthook = note
    try:
        yield died
    finally:
        threading.excepthook = hook


@contextlib.contextmanager
def _sigint_ignored() -> Iterator[None]:
    """Processes started here ignore Ctrl-C from the outset: one killed by it while starting would break the pool."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_stop: Any = None


def _begin(stop: Any) -> None:
    """Ctrl-C reaches the whole process group: only the parent handles it, and tells the workers to stop. A worker exits
    once the parent has been killed; otherwise it would wait for work for ever."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _make(path: Path, settings: RoomSettings, seed: int, numbers: range, keep_depth: bool) -> str:
    def images() -> Iterator[tuple[int, SimulatedImage]]:
        for number in numbers:
            if _stop is not None and _stop.is_set():
                raise InterruptedError("stopped")
            yield number, render(settings, seed, number)

    write_shard(path, images(), keep_depth=keep_depth)
    return sha256_file(path)
