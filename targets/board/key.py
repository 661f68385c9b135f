"""What an engine was built from and for. It must fit this TensorRT, device and model, or it is rebuilt."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Mapping

from targets.board.errors import BoardError, MisfitError
from targets.board.files import read_bytes, write_bytes
from targets.board.options import EngineOptions

__all__ = ["EngineKey", "built_options", "read_engine", "write_engine"]

_KEY = ".key.json"  # appended to the engine file's name


@dataclass(frozen=True)
class EngineKey:
    """An engine's TensorRT, device, model and options."""

    runtime: str  # tensorrt or tensorrt-rtx
    version: str
    device: str | None  # None: built without a device, as RTX can
    capability: str | None
    model: str  # sha256 of the ONNX file
    options: Mapping[str, Any] = field(default_factory=dict)

    def misfit(self, here: EngineKey) -> str | None:
        """Why an engine with this key cannot be used `here`, or None where it can."""
        if self.model != here.model:
            return "it was built from another model"
        if self.runtime != here.runtime or not self._version_fits(here.version):
            return f"it is for {self.runtime} {self.version}, this device has {here.runtime} {here.version}"
        if not self._device_fits(here):
            mine, other = (" ".join(filter(None, (key.device, key.capability))) for key in (self, here))
            return f"it is for {mine}, this device is {other}"
        if dict(self.options) != dict(here.options):
            try:
                mine, other = (str(EngineOptions.from_json(key.options)) for key in (self, here))
            except (BoardError, TypeError, AttributeError):  # written by a later edgekd
                return "it was built with options unknown to this version"
            return f"it was built with {mine}, not {other}"
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
    """Write an engine and, beside it, its key, each completely or not at all."""
    write_bytes(path, engine)
    record = {"key": asdict(key), "sha256": hashlib.sha256(engine).hexdigest(), "seconds": round(seconds, 1)}
    write_bytes(path + _KEY, (json.dumps(record, indent=2) + "\n").encode())


def built_options(path: str) -> EngineOptions | None:
    """The options that an engine was built with; None where there is no readable key."""
    try:
        return EngineOptions.from_json(json.loads(read_bytes(path + _KEY, "").decode())["key"]["options"])
    except (BoardError, ValueError, KeyError, TypeError):
        return None


def read_engine(path: str, here: EngineKey, rebuild: str) -> bytes:
    """The engine, after checking its key and digest against `here`.

    Raises MisfitError with `rebuild`, the command that rebuilds it. An engine that trtexec built has no
    key; TensorRT itself then decides whether it fits.
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
        raise MisfitError(f"{path}{_KEY} cannot be read ({error!r})", "Rebuild it: " + rebuild) from error
    reason = key.misfit(here)
    if reason is None and hashlib.sha256(engine).hexdigest() != digest:
        reason = "it was altered or truncated after it was built"
    if reason is not None:
        raise MisfitError(f"{path} cannot be used: {reason}", "Rebuild it: " + rebuild)
    return engine
