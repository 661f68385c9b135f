from __future__ import annotations

import json

import pytest

from calibration.errors import UsageError
from edgekd.distill.settings import DistillSettings, FeatureSettings, GrowthSettings, TransformSettings


def test_settings_as_json_tell_every_difference_and_go_on_from_older_runs() -> None:
    """run.json and the checkpoint store them; a run from before precision could be chosen is still the same run."""
    standard = DistillSettings().to_json()
    assert json.loads(json.dumps(standard)) == standard
    assert "precision" not in standard
    # Before `share` existed, every picture was transformed.
    assert "share" not in DistillSettings(transform=TransformSettings(share=1.0)).to_json()["transform"]
    others = (
        DistillSettings(precision="bfloat16"),
        DistillSettings(mixing=None),
        DistillSettings(growth=GrowthSettings()),
        DistillSettings(transform=TransformSettings(every=3)),
        DistillSettings(transform=TransformSettings(share=1.0)),
    )
    written = [json.dumps(settings.to_json(), sort_keys=True) for settings in (DistillSettings(), *others)]
    assert len(set(written)) == len(written)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"batch": 1},
        {"learning_rate": 0},
        {"seed": -1},
        {"seed": 1 << 40},
        {"learning_rate": float("inf")},
        {"learning_rate": 1e38},
        {"weight_decay": float("inf")},
        {"set_aside": 0},
        {"precision": "half"},
    ],
)
def test_values_that_cannot_be_meant_are_refused(bad) -> None:
    with pytest.raises(UsageError):
        DistillSettings(**bad)


@pytest.mark.parametrize(
    ("part", "bad"),
    [
        (TransformSettings, {"learning_rate": float("inf")}),
        (TransformSettings, {"keep_weight": float("inf")}),
        (FeatureSettings, {"weight": float("inf")}),
    ],
)
def test_no_rate_and_no_weight_is_infinite(part, bad) -> None:
    with pytest.raises(UsageError):
        part(**bad)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_of_pictures_is_one(share) -> None:
    with pytest.raises(UsageError, match="Use a fraction in"):
        TransformSettings(share=share)
