"""The `main` of a script: known errors and interruptions are one line there too, as for the command line's verbs."""

from __future__ import annotations

from collections.abc import Callable

from calibration.errors import EdgekdError

__all__ = ["run_script"]


def run_script(main: Callable[[], None], *, interrupted: str = "Interrupted") -> None:
    """Call `main`, and exit with 1 and one line where it raises an EdgekdError or is interrupted: `interrupted`."""
    try:
        main()
    except EdgekdError as error:
        raise SystemExit(f"Error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(interrupted) from None
