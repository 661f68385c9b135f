"""What an engine was built from and for. It fits this TensorRT, this device and this model, or it is built anew."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Mapping

from targets.board.errors import BoardError, MisfitError
from targets.board.files import read_bytes, write_bytes
from targets.board.options import EngineOptions

__all__ = ["EngineKey", "built_options", "read_engine", "write_engine"]

_KEY = ".key.json"  # stands behind the engine file's own name


@dataclass(frozen=True)
class EngineKey:
    """An engine's TensorRT, device, model and options."""

    runtime: str  # tensorrt or tensorrt-rtx
    version: str
    device: str | None  # None: built with no device at hand, as RTX can
    capability: str | None
    model: str  # sha256 of the ONNX file
    options: Mapping[str, Any] = field(default_factory=dict)

    def misfit(self, here: EngineKey) -> str | None:
        """Why an engine of this key does not serve `here`, or None where it does."""
        if self.model != here.model:
            return "it was built from another model"
        if self.runtime != here.runtime or not self._version_fits(here.version):
            return f"it is of {self.runtime} {self.version}, here is {here.runtime} {here.version}"
        if not self._device_fits(here):
            mine, other = (" ".join(filter(None, (key.device, key.capability))) for key in (self, here))
            return f"it is for {mine}, here is {other}"
        if dict(self.options) != dict(here.options):
            try:
                mine, other = (str(EngineOptions.from_json(key.options)) for key in (self, here))
            except (BoardError, TypeError, AttributeError):  # of a later edgekd
                return "it was built with options that are not known here"
            return f"it was built with {mine}, wanted is {other}"
        return None

    def _version_fits(self, version: str) -> bool:
        if not self.options.get("version_compatible"):
            return self.version == version
        built, here = ([int(part) for part in text.split(".") if part.isdigit()] for text in (self.version, version))
        return built[:1] == here[:1] and built <= here

    def _device_fits(self, here: EngineKey) -> bool:
        if self.device is None:
            return True
        if self.options.get("hardware_compatible"):
            return float(here.capability or 0) >= 8.0
        return (self.device, self.capability) == (here.device, here.capability)


def write_engine(path: str, engine: bytes, key: EngineKey, seconds: float) -> None:
    """Write an engine and, beside it, its key, each whole or not at all."""
    write_bytes(path, engine)
    record = {"key": asdict(key), "sha256": hashlib.sha256(engine).hexdigest(), "seconds": round(seconds, 1)}
    write_bytes(path + _KEY, (json.dumps(record, indent=2) + "\n").encode())


def built_options(path: str) -> EngineOptions | None:
    """The options that an engine was built with; None where there is no engine, or none that tells."""
    try:
        return EngineOptions.from_json(json.loads(read_bytes(path + _KEY, "").decode())["key"]["options"])
    except (BoardError, ValueError, KeyError, TypeError):
        return None


def read_engine(path: str, here: EngineKey, rebuild: str) -> bytes:
    """The engine, once its key and digest have been found right for `here`.

    Raises MisfitError with `rebuild`, the command that builds it anew. An engine that trtexec built has no key: what
    fits is then TensorRT's own to say.
    """
    engine = read_bytes(path, rebuild)
    try:
        text = read_bytes(path + _KEY, rebuild)
    except MisfitError:
        return engine
    try:
        record = json.loads(text.decode())
        key, digest = EngineKey(**record["key"]), record["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise MisfitError(f"{path}{_KEY} cannot be read ({error!r})", "Build it anew: " + rebuild) from error
    reason = key.misfit(here)
    if reason is None and hashlib.sha256(engine).hexdigest() != digest:
        reason = "it was altered or truncated since it was built"
    if reason is not None:
        raise MisfitError(f"{path} does not fit: {reason}", "Build it anew: " + rebuild)
    return engine
