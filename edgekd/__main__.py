"""`python -m edgekd`, for when the `edgekd` command is not on the path."""

from __future__ import annotations

from edgekd.cli.app import main

if __name__ == "__main__":
    main()
