"""Protocol Buffers on the wire: enough to read messages whose field numbers are known, without compiling anything.

Source: protobuf.dev, "Encoding". A message is a series of fields: a varint tag (number * 8 + wire type), then a value.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["fields", "integer", "message", "text"]

Value = int | memoryview


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field: an int for a varint, else the bytes. Raises ValueError for a damaged message."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == 2:
            length, place = _varint(data, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if place + length > len(data):
            raise ValueError(f"it ends {place + length - len(data)} bytes too early")
        yield number, data[place : place + length]
        place += length


def integer(value: Value) -> int:
    """A field's number. Raises ValueError for bytes."""
    if not isinstance(value, int):
        raise ValueError("bytes where a number is expected")
    return value


def message(value: Value) -> memoryview:
    """A field's bytes. Raises ValueError for a number."""
    if isinstance(value, int):
        raise ValueError("a number where a message is expected")
    return value


def text(value: Value) -> str:
    """A field's text. Raises ValueError (UnicodeDecodeError is one) for anything else."""
    return bytes(message(value)).decode()


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
    raise ValueError("it ends within a number")
