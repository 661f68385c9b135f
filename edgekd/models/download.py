"""A file over HTTP that goes on where it stopped: after a lost connection, and in the next call after a killed one."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from calibration.errors import FileError
from calibration.progress import Advance

__all__ = ["download"]

_BLOCK = 1 << 16
_SILENCE = 30.0  # seconds without a byte after which a connection counts as lost
_TRIES = 4  # connections in a row that may bring nothing


def download(url: str, part: Path, *, seconds: float, largest: int, advance: Advance, fix: str) -> None:
    """Fetch `url` into the file `part`, going on from what is there already.

    Raises FileError when it takes longer than `seconds`, grows beyond `largest` bytes or is not to be had; `part` then
    holds what came. What it is worth is for the caller to say, by its digest.
    """
    if not url.startswith(("http://", "https://")):
        raise FileError(f"{url} is not fetched: it is neither http nor https", fix=fix)
    end = time.monotonic() + seconds
    tries = 0
    while True:
        before = _size(part)
        try:
            if _connection(url, part, end, largest, advance, fix):
                return
            reason = "the connection was closed"
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # what is there is as long as the file, or longer: another one's
                part.unlink()
                continue
            raise FileError(f"{url} is not to be had ({error.code} {error.reason})", fix=fix) from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        tries = 0 if _size(part) > before else tries + 1
        if tries >= _TRIES:
            raise FileError(f"{url} gave {_size(part)} bytes and no more ({reason})", fix=fix)
        if time.monotonic() >= end:
            raise FileError(f"{url} gave {_size(part)} bytes in {seconds:g} s", fix=fix)


def _connection(url: str, part: Path, end: float, largest: int, advance: Advance, fix: str) -> bool:
    """One connection; whether the file is whole after it."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    timeout = max(0.1, min(_SILENCE, end - time.monotonic()))
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        goes_on = start > 0 and answer.status == 206
        length = answer.headers.get("Content-Length")
        with open(part, "ab" if goes_on else "wb") as stream:
            held = start if goes_on else 0
            total = None if length is None else held + int(length)
            while block := answer.read1(_BLOCK):
                stream.write(block)
                held += len(block)
                advance(len(block))
                if held > largest:
                    raise FileError(f"{url} is larger than {largest >> 20} MB", fix=fix)
                if time.monotonic() >= end:
                    return False
    return total is None or held >= total


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
