from __future__ import annotations

import pytest

from calibration.errors import DataError
from calibration.script import run_script

FAULT = DataError("No pictures", fix="Make some")


@pytest.mark.parametrize(
    ("fault", "said", "line"),
    [
        (FAULT, {}, f"Error: {FAULT}"),
        (KeyboardInterrupt(), {}, "Interrupted"),
        (KeyboardInterrupt(), {"interrupted": "Interrupted: the same command goes on"},
         "Interrupted: the same command goes on"),
    ],
)  # fmt: skip
def test_a_script_that_fails_or_is_interrupted_ends_with_one_line(
    fault: BaseException, said: dict[str, str], line: str
) -> None:
    def main() -> None:
        raise fault

    with pytest.raises(SystemExit) as ended:
        run_script(main, **said)
    assert ended.value.code == line  # which Python prints, and exits with 1
