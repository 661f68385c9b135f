"""`python -m edgekd`, where the command itself is not on the path."""

from __future__ import annotations

from edgekd.cli.app import main

if __name__ == "__main__":
    main()
