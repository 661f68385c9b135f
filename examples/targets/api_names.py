"""Which of the API names that edgekd uses a TensorRT package has. It reads the package, so no GPU is needed.

    pip download --no-deps tensorrt-stubs==10.13.0.35.1        # type stubs of TensorRT 10
    pip download --no-deps --python-version 3.10 --only-binary=:all: tensorrt-bindings==8.6.1
    python examples/targets/api_names.py *.whl

In type stubs a name must be in its own class; of a compiled module one sees only that it contains the name.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

CLASSES = {
    "Builder": "Builder",
    "Config": "IBuilderConfig",
    "Context": "IExecutionContext",
    "Engine": "ICudaEngine",
    "Parser": "OnnxParser",
    "Profile": "IOptimizationProfile",
    "Runtime": "Runtime",
}
BY_VERSION = {
    "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH", "STRONGLY_TYPED"),
    "BuilderFlag": ("FP16", "INT8", "GPU_FALLBACK", "VERSION_COMPATIBLE"),
    "HardwareCompatibilityLevel": ("AMPERE_PLUS",),
    "IBuilderConfig": ("builder_optimization_level", "DLA_core", "default_device_type", "progress_monitor"),
    "DataType": ("UINT8",),
}
"""Names that board/versions.py asks for before it uses them."""


def wanted() -> dict[str, list[str]]:
    from targets import tensorrt_api

    names = {}
    for protocol, cls in CLASSES.items():
        members = inspect.getmembers(getattr(tensorrt_api, protocol))
        names[cls] = [name for name, _ in members if not name.startswith("_")]
    return names


def stubs(text: str) -> dict[str, set[str]]:
    """Class to its members, with those that it inherits; line by line, because published stubs are not all valid."""
    found: dict[str, set[str]] = {}
    members: set[str] = set()
    for line in text.splitlines():
        if begun := re.match(r"class (\w+)(?:\((.*)\))?:", line):
            bases = re.findall(r"\w+", begun[2] or "")
            members = found[begun[1]] = set().union(*(found.get(base, set()) for base in bases))
        elif member := re.match(r"    (?:def )?(\w+) *[(:=]", line):
            members.add(member[1])
    return found


def missing(wheel: Path, names: dict[str, list[str]]) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        typed = [name for name in archive.namelist() if name.endswith(".pyi")]
        if typed:
            classes: dict[str, set[str]] = {}
            for name in typed:
                classes.update(stubs(archive.read(name).decode()))
            return [f"{cls}.{n}" for cls, members in names.items() for n in members if n not in classes.get(cls, ())]
        compiled = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".so"))
    words = set(re.findall(rb"[A-Za-z_][A-Za-z0-9_]{2,}", compiled))
    return [f"{cls}.{name}" for cls, members in names.items() for name in members if name.encode() not in words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    for wheel in parser.parse_args().wheels:
        if not zipfile.is_zipfile(wheel):
            parser.error(f"{wheel} is not a wheel, or not there")
        print(f"{wheel.name}: needed and not there: {', '.join(missing(wheel, wanted())) or 'none'}")
        asked = {cls: list(members) for cls, members in BY_VERSION.items()}
        print(f"{wheel.name}: asked for first and not there: {', '.join(missing(wheel, asked)) or 'none'}")


if __name__ == "__main__":
    main()
