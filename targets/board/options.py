"""How an engine is built, beyond the model: workspace, effort, where it may run."""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict, dataclass
from typing import Any, Mapping

from targets.board.errors import InputError

__all__ = ["EngineOptions"]

_FLAGS = {"version-compatible": "version_compatible", "hardware-compatible": "hardware_compatible"}
_NUMBERS = ("workspace", "effort", "dla", "batch")
_TACTIC_NAMES = re.compile(r"[A-Z0-9_]+(\+[A-Z0-9_]+)*")


@dataclass(frozen=True)
class EngineOptions:
    """Options of a TensorRT build. None: TensorRT's own default."""

    workspace: int | None = None  # MiB that a tactic may use
    effort: int | None = None  # 0 to 5: how many tactics are tried, TensorRT 8.6 and newer; more is slower to build
    version_compatible: bool = False  # also runs on newer releases of the same major version; 8.6 and newer
    hardware_compatible: bool = False  # also runs on other GPUs from Ampere on; 8.6 and newer, not on Jetson
    dla: int | None = None  # the DLA core to run on; what it cannot do runs on the GPU
    batch: int = 8  # the most pictures at once; engines are tuned for one
    tactics: str = ""  # the only sources of kernels, joined by +, such as JIT_CONVOLUTIONS+EDGE_MASK_CONVOLUTIONS

    def __post_init__(self) -> None:
        for name, least, most in (("workspace", 1, 1 << 20), ("effort", 0, 5), ("dla", 0, 7), ("batch", 1, 256)):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise InputError(f"{name}={value} is out of range", f"Use {least} to {most}")
        if self.tactics and not _TACTIC_NAMES.fullmatch(self.tactics):  # it goes into a shell's line, see trtexec.py
            raise InputError(f"tactics={self.tactics} is not valid", "Join names by +: tactics=A+B")

    @property
    def most(self) -> int:
        """The most pictures that the engine takes at once. A DLA core takes one shape only: a single picture."""
        return self.batch if self.dla is None else 1

    @classmethod
    def parse(cls, text: str) -> EngineOptions:
        """From `workspace=1024,effort=5,tactics=A+B,version-compatible,hardware-compatible,dla=0,batch=1`.

        Raises InputError.
        """
        values: dict[str, Any] = {}
        for word in filter(None, (part.strip() for part in text.split(","))):
            name, given, number = word.partition("=")
            if name in _FLAGS and not given:
                values[_FLAGS[name]] = True
            elif name in _NUMBERS and number.isdecimal():
                values[name] = int(number)
            elif name in _NUMBERS and given:
                raise InputError(f"{word} is not valid", f"Use a whole number: {name}=N")
            elif name == "tactics" and number:
                values[name] = number.upper()
            else:
                known = [*_FLAGS, "tactics=A+B", *(f"{number}=N" for number in _NUMBERS)]
                near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
                fix = f"Did you mean {near[0]}?" if near else "Choose one of: {}".format(", ".join(known))
                raise InputError(f"There is no engine option {word!r}", fix)
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EngineOptions:
        """The inverse of `to_json`."""
        return cls(**value)

    def __str__(self) -> str:
        words = [flag for flag, name in _FLAGS.items() if getattr(self, name)]
        words += [f"{name}={getattr(self, name)}" for name in _NUMBERS if getattr(self, name) is not None]
        return ",".join(words + ([f"tactics={self.tactics}"] if self.tactics else []))
