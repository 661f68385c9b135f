"""The input of a network from Hugging Face, according to the preprocessor_config.json beside it.

transformers' processors resize each picture to a size of its own. Here a network has one input size: the one for a
camera picture of 480x640.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibration.errors import FileError, ModelError
from calibration.reasons import first_line
from edgekd.models.input_file import INPUT_EXAMPLE
from targets.input import Framing, InputSpec

__all__ = ["preprocessed_input"]

_FILE = "preprocessor_config.json"
_CAMERA = (480, 640)


def preprocessed_input(name: str, config: Any) -> InputSpec:
    """The input of a model, given by folder or hub name. Raises FileError when the file does not describe it."""
    said = _preprocessor(name)
    try:
        height, width = _size(said, config)
        framing = Framing(height, width)
        if not said.get("do_normalize", "image_mean" in said):
            return InputSpec(framing)
        (r, g, b), (dr, dg, db) = ([float(value) for value in said[key]] for key in ("image_mean", "image_std"))
        return InputSpec(framing, mean=(r, g, b), std=(dr, dg, db))
    except KeyError as error:
        raise FileError(f"{_FILE} of {name} lacks {error.args[0]}", fix=_state(name)) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise FileError(f"{_FILE} of {name} cannot be applied ({error})", fix=_state(name)) from error
    except ModelError as error:
        raise FileError(f"{_FILE} of {name}: {error.message}", fix=_state(name)) from error


def _size(said: Mapping[str, Any], config: Any) -> tuple[int, int]:
    """(height, width). Raises TypeError or ValueError for sizes that transformers' depth processors reject too."""
    size, multiple = said.get("size"), int(said.get("ensure_multiple_of") or 1)
    if size is None and isinstance(getattr(config, "image_size", None), int):
        size = int(config.image_size)
    if size is None:
        divisor = int(said.get("size_divisor", 32))
        if not 1 <= divisor <= min(_CAMERA):
            raise ValueError(f"a size_divisor of {divisor}")
        height, width = (extent // divisor * divisor for extent in _CAMERA)
        return height, width
    if isinstance(size, Mapping) and "shortest_edge" in size:
        scales = (int(size["shortest_edge"]) / min(_CAMERA),) * 2
    else:
        wanted = (size["height"], size["width"]) if isinstance(size, Mapping) else (size, size)
        scales = int(wanted[0]) / _CAMERA[0], int(wanted[1]) / _CAMERA[1]
        if said.get("keep_aspect_ratio"):  # the scale closer to 1, as in transformers' DPT processor
            scales = (min(scales, key=lambda scale: abs(1 - scale)),) * 2
    height, width = (round(scale * extent / multiple) * multiple for scale, extent in zip(scales, _CAMERA, strict=True))
    return height, width


def _preprocessor(name: str) -> dict[str, Any]:
    from transformers.utils.hub import cached_file

    try:
        found = Path(name) / _FILE if Path(name).is_dir() else Path(str(cached_file(name, _FILE)))
        value = json.loads(found.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, FileNotFoundError) else first_line(error)[:200]
        raise FileError(f"{name} has no readable {_FILE} ({reason})", fix=_state(name)) from error
    return value


def _state(name: str) -> str:
    return f"Describe its input in {name}.input.json, like {INPUT_EXAMPLE}"
