"""Makes a teacher, or an architecture, with code that the user names."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

from calibration.errors import EdgekdError, ModelError, UsageError
from calibration.progress import Progress
from edgekd.models.freeze import freeze
from edgekd.models.lazy import require_weights
from edgekd.models.teacher import Teacher
from edgekd.models.weights import weights_digest
from targets.input import InputSpec

__all__ = ["call_factory", "factory_teacher", "gives_metres", "input_of"]


def factory_teacher(spec: str, progress: Progress) -> Teacher:
    """Call `package.module:factory`, which returns a Teacher, or a module with an attribute `input` (InputSpec).

    A network whose depth has no unit sets `metric = False`, on the Teacher or as an attribute of the module.

    Raises UsageError when there is no such factory, ModelError when it fails or returns something else.
    """
    made = call_factory(spec, progress)
    require_weights(made.module if isinstance(made, Teacher) else made, spec)
    if not isinstance(made, Teacher):
        described = input_of(made)
        if described is None:
            raise ModelError(
                f"The module returned by {spec} does not describe its input",
                fix="Set its attribute input = InputSpec(Framing(height, width), mean, std), from targets.input",
            )
        source = f"the module returned by {spec}"
        made = Teacher(spec, made, described, weights_digest(made), source, gives_metres(made))
    return freeze(made, progress)


def gives_metres(made: nn.Module | Teacher) -> bool:
    """Whether a factory's network outputs metres, which holds unless it sets `metric = False`."""
    return getattr(made, "metric", True) is not False


def call_factory(spec: str, progress: Progress) -> nn.Module | Teacher:
    """Import and call what `spec` names. This runs the user's code, with a note that says so."""
    where, _, name = spec.partition(":")
    if not where or not all(part.isidentifier() for part in [*where.split("."), *name.split(".")]):
        raise UsageError(f"{spec!r} is not of the form package.module:factory", fix="Use for example mynets.depth:make")
    factory = _find(spec, where, name)
    progress.note(f"Running {name} from {where}, as requested")
    try:
        with _working_folder_importable():
            made = factory()
    except EdgekdError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise ModelError(f"{spec} failed with {type(error).__name__}: {error}", fix="Fix the factory") from error
    if not isinstance(made, (nn.Module, Teacher)):
        raise ModelError(f"{spec} returned {type(made).__name__}", fix="Return a torch.nn.Module or a Teacher")
    return made


def input_of(module: nn.Module) -> InputSpec | None:
    """The module's own description of its input, if it carries one."""
    described = getattr(module, "input", None)
    return described if isinstance(described, InputSpec) else None


def _find(spec: str, where: str, name: str) -> Callable[[], Any]:
    try:
        with _working_folder_importable():
            found: Any = importlib.import_module(where)
    except Exception as error:  # importing runs the user's code too
        raise UsageError(
            f"{where} of {spec} cannot be imported ({type(error).__name__}: {error})",
            fix="Install it, or run from the folder that contains it",
        ) from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UsageError(f"{where} has no function {name}", fix="Check the name after the colon")
    return found  # type: ignore[no-any-return]


@contextlib.contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Make the working folder importable, as the user expects; for an installed command Python does not do so."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
