"""From the weights of a depth network to a small quantised student on the device, without any data."""

from __future__ import annotations

from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path

__all__: list[str] = []


def _refuse_shadows() -> None:
    """Raise ImportError naming the file that shadows `targets` or `calibration`, instead of failing later."""
    installed = _Path(__file__).resolve().parent.parent
    for name in ("targets", "calibration"):
        spec = _find_spec(name)
        found = None if spec is None or spec.origin is None else _Path(spec.origin).resolve()
        if found is None:
            raise ImportError(f"The package {name!r} of edgekd is not installed. Reinstall edgekd.")
        if found != installed / name / "__init__.py":
            raise ImportError(
                f"{found} hides the package {name!r} of edgekd. Rename that file, or start Python from another folder."
            )


_refuse_shadows()
