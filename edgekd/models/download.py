"""Downloads over HTTP that resume where they stopped, after a lost connection or a killed process."""

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
_TRIES = 4  # connections in a row without any data before giving up


def download(url: str, part: Path, *, seconds: float, largest: int, advance: Advance, fix: str) -> None:
    """Fetch `url` into the file `part`, resuming from what is already there.

    Raises FileError when it takes longer than `seconds`, grows beyond `largest` bytes or cannot be fetched; `part` then
    keeps what arrived. The caller must check the content by its digest.
    """
    if not url.startswith(("http://", "https://")):
        raise FileError(f"Cannot fetch {url}: it is neither http nor https", fix=fix)
    end = time.monotonic() + seconds
    tries = 0
    while True:
        before = _size(part)
        try:
            if _connection(url, part, end, largest, advance, fix):
                return
            reason = "the connection was closed"
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # the part is as long as the file or longer, so it is of another file
                part.unlink()
                continue
            raise FileError(f"Cannot fetch {url} ({error.code} {error.reason})", fix=fix) from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        tries = 0 if _size(part) > before else tries + 1
        if tries >= _TRIES:
            raise FileError(f"{url} broke off after {_size(part)} bytes ({reason})", fix=fix)
        if time.monotonic() >= end:
            raise FileError(f"{url} timed out: {_size(part)} bytes in {seconds:g} s", fix=fix)


def _connection(url: str, part: Path, end: float, largest: int, advance: Advance, fix: str) -> bool:
    """Download over one connection; returns whether the file is complete."""
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
