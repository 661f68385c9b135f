"""The table that all campaigns share."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Row", "printed"]


@dataclass(frozen=True)
class Row:
    """What was tried, how often it went well, and how often something was lost."""

    what: str
    tried: int
    survived: int
    lost: int


def printed(rows: list[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| what | tried | survived | lost |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {row.what} | {row.tried:,} | {row.survived:,} | {row.lost:,} |" for row in rows]
    return "\n".join(lines)
