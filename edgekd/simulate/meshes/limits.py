"""How large a mesh may be."""

from __future__ import annotations

__all__ = ["MOST_BYTES"]

MOST_BYTES = 512 << 20  # of the mesh, of what it unpacks to, and of the files beside it together
