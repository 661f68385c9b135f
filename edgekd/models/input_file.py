"""The description of a model's input in a file beside it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from calibration.errors import FileError, ModelError
from calibration.files import read_json
from targets.input import Framing, InputSpec

__all__ = ["INPUT_EXAMPLE", "stated_input"]

INPUT_EXAMPLE = json.dumps(
    {
        "framing": {"height": 224, "width": 224, "resize_height": None, "crop": None},
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
)
"""An example of the <file>.input.json beside a model."""


def stated_input(path: Path) -> InputSpec | None:
    """The input described by <file>.input.json beside a model, if that exists. Raises FileError or ModelError."""
    beside = path.with_name(f"{path.name}.input.json")
    if not beside.exists():
        return None
    example = f"Write it like {INPUT_EXAMPLE}"
    try:
        described = read_json(beside)
        spec = InputSpec.from_json(described, fix=example)
        _require_known(described, example)
        return spec
    except FileError as error:
        fix = error.fix if isinstance(error.__cause__, OSError) else example
        raise FileError(error.message, fix=fix) from error
    except ModelError as error:
        raise ModelError(f"{beside}: {error.message}", fix=error.fix) from error


def _require_known(described: dict[str, Any], fix: str) -> None:
    """Raise ModelError for an unknown field, such as a typo or a "BGR", instead of ignoring it."""
    for part, kind in ((described, InputSpec), (described["framing"], Framing)):
        known = [field.name for field in fields(kind)]
        for name in part:
            if name not in known:
                raise ModelError(f"An input description has no field {name!r}, only {', '.join(known)}", fix=fix)
