"""The campaigns of examples/robustness, in short: their modules can be imported here."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[3] / "examples" / "robustness"
sys.path.insert(0, str(SCRIPTS))
sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))
