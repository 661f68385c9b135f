from __future__ import annotations

import json

import pytest

from calibration.errors import UsageError
from edgekd.distill.settings import DistillSettings, GrowthSettings


@pytest.mark.parametrize(
    "settings",
    [
        DistillSettings(),
        DistillSettings(mixing=None, features=None),
        DistillSettings(transform=None, growth=GrowthSettings()),
    ],
)
def test_settings_survive_the_manifest(settings: DistillSettings) -> None:
    assert DistillSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        DistillSettings.from_json(DistillSettings().to_json() | {"surprise": 1})


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"batch": 1}, {"learning_rate": 0}, {"seed": -1}, {"set_aside": 0}, {"precision": "half"}]
)
def test_values_that_cannot_be_meant_are_refused(bad) -> None:
    with pytest.raises(UsageError):
        DistillSettings(**bad)
