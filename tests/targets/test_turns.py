"""Timing in turns: every call runs as often as requested, none ahead of the others."""

from __future__ import annotations

from functools import partial

from targets.turns import time_in_turns


def test_calls_take_turns_and_the_first_of_each_round_is_not_timed() -> None:
    ran: list[str] = []
    times = time_in_turns({name: partial(ran.append, name) for name in "ab"}, 2, 3, lambda: ran.append("|"))
    assert "".join(ran) == "aaaabbbb|" * 2
    assert {name: len(taken) for name, taken in times.items()} == {"a": 6, "b": 6}
    assert all(0 <= value < 1000 for taken in times.values() for value in taken)
