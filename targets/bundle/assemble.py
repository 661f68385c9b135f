"""run.py: the modules of targets.board joined into one file, so that a bundle needs nothing but Python and numpy."""

from __future__ import annotations

import ast
from pathlib import Path

__all__ = ["assemble"]

_BOARD = Path(__file__).resolve().parents[1] / "board"
_ORDER = (
    *("errors", "files", "options", "versions", "cuda", "engine", "key", "timings", "apart"),
    *("png", "opencv", "pictures", "framing", "manifest", "silence", "infer_requests", "runtimes"),
    *("trial", "predictor", "camera", "main"),
)
_HEAD = '''#!/usr/bin/env python3
"""Depth on this device: builds what is missing, tests it, times it and predicts.

    python3 run.py                  build, self-test and latency of every precision
    python3 run.py PICTURE FOLDER   depth of pictures, in ./depth
    python3 run.py --camera 0       depth of a camera
    python3 run.py --help           the rest

Needs Python 3.8 or newer, numpy, and one of TensorRT, ONNX Runtime or OpenVINO. Written by edgekd, which is not needed.
"""
'''


_NUMPY = "import numpy as np"
_GUARDED_NUMPY = """try:
    import numpy as np
except ImportError:
    if __name__ != "__main__":
        raise
    print("Error: numpy is not installed. Install it: pip install numpy", file=sys.stderr)
    sys.exit(3)"""


def assemble() -> str:
    """The text of run.py. Raises ValueError when two modules give the same name to different things."""
    imports: set[str] = set()
    owners: dict[str, str] = {}
    sections = []
    for name in _ORDER:
        source = (_BOARD / f"{name}.py").read_text(encoding="utf-8")
        tree = ast.parse(source, feature_version=(3, 8))
        imports.update(_imports(tree))
        for known in _defined(tree):
            if owners.setdefault(known, name) != name:
                raise ValueError(f"{known} is defined in board/{owners[known]}.py and in board/{name}.py")
        title = (ast.get_docstring(tree) or name).splitlines()[0]
        sections.append(f"# {'-' * 20} {name}: {title}\n\n{_body(source, tree, last=name == _ORDER[-1])}")
    plain = sorted(line for line in imports if line.startswith("import "))
    picked = sorted(line for line in imports if line.startswith("from "))
    plain.remove(_NUMPY)
    head = "\n".join([_HEAD, "from __future__ import annotations", "", *plain, *picked, "", _GUARDED_NUMPY])
    return "\n\n\n".join([head, *sections]) + "\n"


def _dropped(node: ast.stmt, last: bool) -> bool:
    """Whether a top-level statement has no place in the one file."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # docstrings
        return True
    if isinstance(node, ast.If):
        test = ast.unparse(node.test)
        return test == "TYPE_CHECKING" or ("__main__" in test and not last)
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def _body(source: str, tree: ast.Module, last: bool) -> str:
    """The module's text, comments and all, without what `_dropped` names."""
    lines = source.splitlines()
    for node in tree.body:
        if _dropped(node, last):
            start = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
            for number in range(start - 1, node.end_lineno or start):
                lines[number] = "\0"
    text = "\n".join(line for line in lines if line != "\0")
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    return text.strip("\n")


def _imports(tree: ast.Module) -> set[str]:
    """What the module imports from elsewhere, one name a line."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found.update(ast.unparse(ast.Import([alias])) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(("targets", "__future__")):
            names = [alias for alias in node.names if alias.name != "TYPE_CHECKING"]
            found.update(f"from {node.module} import {alias.name}" for alias in names)
    return found


def _defined(tree: ast.Module) -> list[str]:
    """The names that the module's own statements define."""
    names = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not _dropped(node, last=False):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return names
