"""The `main` of a script: an error that edgekd knows is one line there too, as it is for the command line's verbs."""

from __future__ import annotations

from collections.abc import Callable

from calibration.errors import EdgekdError

__all__ = ["run_script"]


def run_script(main: Callable[[], None]) -> None:
    """Call `main`, and exit with 1 and one line where it raises an EdgekdError."""
    try:
        main()
    except EdgekdError as error:
        raise SystemExit(f"Error: {error}") from None
