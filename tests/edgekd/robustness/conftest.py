"""Makes the modules of examples/robustness importable for short campaigns."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[3] / "examples" / "robustness"
sys.path.insert(0, str(SCRIPTS))
sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))
