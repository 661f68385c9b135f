"""STUDENTS, the table of what can be distilled into: networks cut out of the teacher, and those of ARCHITECTURES.

To add one, give it a line here, or in ARCHITECTURES when it does not depend on the teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from calibration.errors import UnknownNameError
from edgekd.models.architectures import ARCHITECTURES
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher

__all__ = ["DEFAULT_STUDENT", "STUDENTS", "Student", "build_student", "student_named"]


@dataclass(frozen=True)
class Student:
    """How a student is made for a teacher from a seed, and the learning rate and number of steps that suit it."""

    summary: str
    make: Callable[[Teacher, int], nn.Module]
    learning_rate: float
    steps: int = 2000


def _cut(summary: str, cut: float) -> Student:
    # What the teacher knows is in their first weights: a rate for training from scratch would wash it out, and they are
    # near it after half of the steps.
    return Student(summary, lambda teacher, seed: slim(teacher, cut), 1e-3, 1000)


def _drawn(name: str, teacher: Teacher, seed: int) -> nn.Module:
    return ARCHITECTURES[name].start(teacher.input, seed)


STUDENTS: dict[str, Student] = {
    "slim-s": _cut("the teacher with half of its channels, a quarter of its parameters", 0.5),
    "slim-m": _cut("with 60 % of its channels, a third of its parameters", 0.4),
    "slim-l": _cut("with three quarters of its channels, half of its parameters", 0.25),
    **{
        name: Student(entry.summary, partial(_drawn, name), entry.learning_rate)
        for name, entry in ARCHITECTURES.items()
        if name != "rooms"
    },
}
DEFAULT_STUDENT = "slim-l"


def build_student(name: str, teacher: Teacher, seed: int = 0) -> nn.Module:
    """A student before its training; the same name, teacher and seed give the same weights.

    Raises UnknownNameError; ModelError when none can be cut out of the teacher; MissingRuntimeError when ImageNet
    weights that it starts from are not installed.
    """
    return student_named(name).make(teacher, seed)


def student_named(name: str) -> Student:
    """The entry of that name. Raises UnknownNameError with the near matches."""
    if name not in STUDENTS:
        raise UnknownNameError("student", name, STUDENTS)
    return STUDENTS[name]
