"""`edgekd demo`: the whole way in minutes, with nothing downloaded."""

from __future__ import annotations

from edgekd.cli.options import Force, Json, Out, Seed

__all__ = ["demo"]


def demo(out: Out = None, seed: Seed = 0, force: Force = False, json: Json = False) -> None:
    """Show the whole way in minutes, with no data and no download.

    Distils the built-in teacher, exports it to every target that is here, and benches.
    """
    from edgekd.steps.requirements import require_training

    require_training()
