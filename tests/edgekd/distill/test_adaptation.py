"""Whether a transformation carries to layers it was not fitted to, on pictures with a known answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calibration.errors import DataError
from edgekd.distill.adapt import transformed_images
from edgekd.distill.adaptation import Adaptation, measure_adaptation
from edgekd.distill.moments import Moments
from edgekd.distill.settings import TransformSettings
from edgekd.distill.statistics import StoredStatistics, stored_statistics
from edgekd.distill.statistics_distance import StatisticsDistance
from edgekd.distill.transform import TransformNet
from edgekd.models.teacher import Teacher

LAYERS = ("first.1", "second.1")


@pytest.fixture
def simulated(boxes) -> NDArray[np.uint8]:
    return np.stack([boxes[index].rgb for index in range(19)])


@pytest.fixture
def tinted(simulated: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures like those that the teacher was trained on."""
    return (simulated * np.array(TINT)).astype(np.uint8)


TINT = (0.9, 0.5, 0.35)


def unrelated(stored: StoredStatistics) -> StoredStatistics:
    """Statistics whose second layer saw something that no tint explains."""
    mean, variance = stored.moments.mean.clone(), stored.moments.variance
    mean[stored.sizes[0] :] += 100 * variance[stored.sizes[0] :].sqrt()
    return replace(stored, moments=Moments(mean, variance))


def test_what_tells_the_pictures_apart_carries_to_the_layers_that_were_not_matched(
    teacher: Teacher, simulated: NDArray[np.uint8], tinted: NDArray[np.uint8]
) -> None:
    stored = stored_statistics(teacher.module)
    found = measure_adaptation(teacher, stored, TransformSettings(), simulated, tinted)
    assert (found.layers, found.matched) == (LAYERS, 1)
    others = found.means(matched=False)
    assert others is not None and others[1] < 0.5 * others[0] and found.others_improve
    assert found.matched_improve
    assert not measure_adaptation(teacher, stored, TransformSettings(), tinted, simulated).matched_improve
    other = measure_adaptation(teacher, unrelated(stored), TransformSettings(), simulated, tinted)
    assert other.means(matched=True) == found.means(matched=True) and not other.others_improve
    of_all = TransformSettings(layers=1.0)
    assert measure_adaptation(teacher, unrelated(stored), of_all, simulated, tinted).others_improve


def test_statistics_that_lie_on_a_gpu_are_brought_along(teacher: Teacher, simulated: NDArray[np.uint8]) -> None:
    """After fitting on a GPU, the teacher's statistics lie there; `meta` stands for the GPU and holds no numbers."""
    stored = stored_statistics(teacher.module)

    class There(StoredStatistics):
        def to(self, device: torch.device) -> StoredStatistics:
            assert device.type == "cpu"
            return stored

    there = There(stored.names, stored.sizes, stored.to(torch.device("meta")).moments)
    found = measure_adaptation(teacher, there, TransformSettings(), simulated, simulated)
    assert found == measure_adaptation(teacher, stored, TransformSettings(), simulated, simulated)


def test_distances_are_those_of_all_pictures_at_once(teacher: Teacher, simulated: NDArray[np.uint8]) -> None:
    """Nineteen pictures do not fill a whole number of batches."""
    seen: dict[str, torch.Tensor] = {}
    for name in LAYERS:
        teacher.module.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen.__setitem__(name, inputs[0].double())
        )
    stored = stored_statistics(teacher.module)
    found = measure_adaptation(teacher, stored, TransformSettings(), simulated, simulated)
    assert found.simulated == found.transformed
    x = torch.from_numpy(simulated).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (teacher.input.mean, teacher.input.std))
    teacher.module((x - mean) / std)
    moments = Moments(
        torch.cat([seen[name].mean((0, 2, 3)) for name in LAYERS]).float(),
        torch.cat([seen[name].var((0, 2, 3), correction=0) for name in LAYERS]).float(),
    )
    assert found.simulated == pytest.approx(StatisticsDistance(stored)(moments).tolist(), rel=1e-4)


def test_every_transformed_picture_has_noise_of_its_own_that_depends_on_the_seed(simulated: NDArray[np.uint8]) -> None:
    net = TransformNet()
    with torch.no_grad():
        net.noise.fill_(-3.0)  # a deviation of 0.05
    pictures = np.repeat(simulated[:1], 40, axis=0)  # more than are transformed at once
    first = transformed_images(net, pictures, seed=1)
    assert np.array_equal(first, transformed_images(net, pictures, seed=1))
    assert len({picture.tobytes() for picture in first}) == 40
    assert not (first == transformed_images(net, pictures, seed=2)).all((1, 2, 3)).any()


def test_it_comes_back_from_json_or_is_refused() -> None:
    found = Adaptation(LAYERS, 1, (0.5, 0.2), (0.1, 0.19))
    assert Adaptation.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert not found.others_improve
    assert replace(found, transformed=(0.5, 0.15)).matched_improve  # no farther away
    assert replace(found, transformed=(0.5, 0.15)).others_improve  # three quarters of the distance
    with pytest.raises(DataError, match="cannot be read"):
        Adaptation.from_json({"layers": ["a"], "matched": 1, "simulated": 3})
