"""Reads dataclasses of plain values back from JSON, strictly: no field may be missing or of another kind.

A field that was added later, see LATER, may be missing.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, cast

__all__ = ["LATER", "read_fields", "read_plain"]

T = TypeVar("T")

LATER = {"later": True}
"""The metadata of a field with a default that files of earlier versions lack."""


def read_plain(kind: type[T], value: Any) -> T:
    """A `kind` from what `dataclasses.asdict` and JSON made of one; a class with `from_json` reads itself.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    return cast(T, _read(kind, value))


def read_fields(kind: type[T], value: Any) -> T:
    """The same for a dataclass, by its fields even where it has a `from_json`, which may thus add checks of its own."""
    plain: Any = kind  # a type checker takes type[T] neither for a dataclass nor for hashable
    later = {field.name for field in dataclasses.fields(plain) if field.metadata == LATER}
    there = {name: part for name, part in _fields(plain).items() if name in value or name not in later}
    return kind(**{name: _read(part, value[name]) for name, part in there.items()})


def _read(kind: Any, value: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        (one,) = (part for part in inner if part is not type(None))
        return _read(one, value)
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{value!r} is not one of {inner}")
        return value
    if origin is tuple:
        parts = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_read(part, item) for part, item in zip(parts, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {str(name): _read(inner[1], item) for name, item in value.items()}
    if hasattr(kind, "from_json"):
        return kind.from_json(value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return read_fields(kind, value)
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{value!r} is not a number")
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


@cache
def _fields(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
