"""STUDENTS, the table of all students: networks cut from the teacher, and those in ARCHITECTURES.

To add one, add a line here, or in ARCHITECTURES if it does not depend on the teacher.
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
    """How a student is made from a teacher and a seed, and the learning rate and number of steps that suit it."""

    summary: str
    make: Callable[[Teacher, int], nn.Module]
    learning_rate: float
    steps: int = 2000


def _cut(summary: str, cut: float) -> Student:
    # These start with the teacher's knowledge in their weights: a learning rate for training from scratch would destroy
    # it, and half of the steps are enough.
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
    """An untrained student; the same name, teacher and seed give the same weights.

    Raises UnknownNameError, ModelError when none can be cut from the teacher, MissingRuntimeError when torch-pruning or
    the ImageNet weights that it starts from are not installed.
    """
    return student_named(name).make(teacher, seed)


def student_named(name: str) -> Student:
    """The entry of that name. Raises UnknownNameError with the near matches."""
    if name not in STUDENTS:
        raise UnknownNameError("student", name, STUDENTS)
    return STUDENTS[name]
