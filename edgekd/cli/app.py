"""Combines the verbs into one program, and turns every outcome into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from calibration.errors import DiskFullError, EdgekdError, FileError
from calibration.reasons import make_room, out_of_memory
from edgekd.cli import (
    bench,
    bundle,
    calibrate,
    check,
    demo,
    distill,
    doctor,
    export,
    predict,
    preflight,
    report,
    simulate,
    statistics,
    verify,
)
from edgekd.cli.console import console
from edgekd.interrupt import end_as_interrupted, end_at_once

__all__ = ["app", "main", "run"]

_INTERRUPTED = 130  # 128 + SIGINT
_RESUMABLE = ("simulate", "distill", "calibrate", "export", "bundle", "demo")  # verbs that resume after an interruption
_PACKAGES = ("edgekd", "targets", "calibration")
_VERBS = (
    *(demo, distill, calibrate, export, preflight, bench, check),
    *(report, predict, bundle, verify, simulate, statistics, doctor),
)


class _InterruptedByUserError(Exception):
    """Ctrl-C, as an error that typer passes on instead of handling it itself."""


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _InterruptedByUserError from error

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)  # in the order of use, not alphabetical


app = typer.Typer(
    name="edgekd",
    cls=_Group,
    add_completion=False,
    rich_markup_mode=None,  # its panels squeeze the help into narrow columns at 80 characters, and take 0.1 s
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.say(f"edgekd {version('edgekd')}")
        raise typer.Exit


@app.callback()
def edgekd(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """From the weights of a depth network to a small quantised student on the device, without any data."""


for _module in _VERBS:
    _name = _module.__name__.rpartition(".")[2]
    app.command(_name)(getattr(_module, _name))


def main() -> None:
    """The program `edgekd`."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    end_as_interrupted()
    code = run(sys.argv[1:])
    end_at_once()
    try:
        sys.stdout.flush()
    except OSError:  # run has said so; at exit Python would complain again, and replace the exit code by 120
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _open_closed_streams() -> None:
    """Replace standard streams that were closed (`>&-`, some schedulers) by the null device, where Python has None.

    This also keeps their numbers from being given to files of ours, into which a library would then print.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:  # the lowest free number is given, so this fills the gaps
        null = os.open(os.devnull, os.O_RDWR)
    os.close(null)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - stays open


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0 done, 1 failed, 2 wrong usage, 3 a runtime is missing, 4 over
    the accuracy budget, 130 interrupted."""
    console.start(arguments)
    try:
        code = typer.main.get_command(app).main(
            args=list(arguments) or ["--help"], prog_name="edgekd", standalone_mode=False
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except EdgekdError as error:
        return _known(error)
    except (_InterruptedByUserError, KeyboardInterrupt):
        console.failure(f"Interrupted. {_after_interruption(arguments)}")
        return _INTERRUPTED
    except SystemExit as ended:  # typer's own response to a closed output pipe
        return ended.code if isinstance(ended.code, int) else 1
    except BrokenPipeError:
        # The reader closed the pipe. Without this, Python complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _unexpected(error)


def _after_interruption(arguments: Sequence[str]) -> str:
    """What was kept, and the command to run now: without --force, which would discard what was kept."""
    goes_on = bool(arguments) and arguments[0] in _RESUMABLE
    if not goes_on or (arguments[0] == "export" and "--force" in arguments):
        return f"The same command starts over: edgekd {shlex.join(arguments)}"
    if os.environ.get("WORLD_SIZE", "1") != "1":
        return "Finished work is kept; the same torchrun command, without --force, resumes from there"
    which = "the same command without --force" if "--force" in arguments else "the same command"
    command = shlex.join(word for word in arguments if word != "--force")
    return f"Finished work is kept; {which} resumes from there: edgekd {command}"


def _known(error: EdgekdError) -> int:
    console.failure(str(error))
    return error.exit_code


def _unexpected(error: Exception) -> int:
    # The classes of typer's usage errors moved between its versions; their attributes did not.
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "edgekd"
        console.failure(f"{error.format_message().rstrip('.?')}. See {command} --help.")
        return int(error.exit_code)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return _known(DiskFullError(f"The disk is full{where}", fix=make_room(error.errno)))
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        what = "The file size limit was reached where output is written"
        return _known(DiskFullError(what, fix=make_room(error.errno)))
    if any(map(out_of_memory, (error, error.__cause__, error.__context__))):
        return _known(
            EdgekdError(
                "Out of memory; finished work is kept",
                fix="Close other programs, or use less memory: a smaller --batch, --accumulate, or fewer --workers, "
                "where the command has them",
            )
        )
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        fix = "Check the path, its permissions and its connection, and run the same command again"
        return _known(FileError(f"Cannot use {error.filename}: {error.strerror}", fix=fix))
    if os.environ.get("EDGEKD_DEBUG"):
        traceback.print_exception(error)
    hint = "" if os.environ.get("EDGEKD_DEBUG") else "; EDGEKD_DEBUG=1 shows the traceback"
    console.failure(f"This is a bug in edgekd{hint}. {type(error).__name__}: {error} ({_place(error.__traceback__)})")
    return 1


def _place(trace: TracebackType | None) -> str:
    """file:line of the last frame in our own packages, and of the very last frame if it is a different one."""
    frames = traceback.extract_tb(trace)
    root = Path(__file__).resolve().parents[2]
    ours = [frame for frame in frames if any(Path(frame.filename).is_relative_to(root / name) for name in _PACKAGES)]
    places = [f"{Path(frame.filename).relative_to(root)}:{frame.lineno}" for frame in ours[-1:]]
    if frames and (not ours or frames[-1] is not ours[-1]):
        places.append(f"{Path(frames[-1].filename).name}:{frames[-1].lineno}")
    return ", in ".join(places)
