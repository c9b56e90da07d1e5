"""How often an epoch shows each image."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tensormask_server.model_files.key_reader import ConfigError

from tests.unit.training.small_training import write_config
from training.sampling import Epochs, repeat_factors
from training.settings import load_training_config

SHOWN = [{0}, {0}, {0, 1}, {0}, set[int](), {0}, {0, 2}, {0, 1}, {0}, {0}]  # classes of ten images


def test_images_of_rare_classes_are_repeated() -> None:
    """Class 1 is on a fifth of the images, and class 2 on a tenth."""
    one, two = math.sqrt(0.3 / 0.2), math.sqrt(0.3 / 0.1)
    np.testing.assert_allclose(repeat_factors(SHOWN, 0.3), [1, 1, one, 1, 1, 1, two, one, 1, 1])
    np.testing.assert_allclose(repeat_factors(SHOWN, 0.3, square_root=False), [1, 1, 1.5, 1, 1, 1, 3, 1.5, 1, 1])
    np.testing.assert_array_equal(repeat_factors(SHOWN, 0), np.ones(10))


def test_an_epoch_shows_each_image_as_often_as_its_factor_says() -> None:
    factors = np.array([1.0, 2.0, 1.25])
    first_epoch = Counter(Epochs(factors, seed=4).image(i) for i in range(4))
    assert (first_epoch[0], first_epoch[1]) == (1, 2)
    epochs = Epochs(factors, seed=4)
    counted = Counter(epochs.image(i) for i in range(4250))
    assert counted[1] / counted[0] == pytest.approx(2, rel=0.01)
    assert counted[2] / counted[0] == pytest.approx(1.25, rel=0.05)


@given(length=st.integers(1, 20), seed=st.integers(0, 9), epoch=st.integers(0, 50))
def test_without_rare_classes_an_epoch_is_a_permutation(length: int, seed: int, epoch: int) -> None:
    epochs = Epochs(np.ones(length), seed)
    assert sorted(epochs.image(epoch * length + i) for i in range(length)) == list(range(length))


@given(places=st.lists(st.integers(0, 300), min_size=1, max_size=20))
def test_the_order_does_not_depend_on_what_was_asked_before(places: list[int]) -> None:
    factors = repeat_factors(SHOWN, 0.3)
    whole = [Epochs(factors, 1).image(place) for place in places]
    epochs = Epochs(factors, 1)
    assert [epochs.image(place) for place in places] == whole


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"SAMPLER_TRAIN": "RandomSubsetTrainingSampler"},
            "SAMPLER_TRAIN is 'RandomSubsetT.*'; supported: 'T",
        ),
        ({"RANDOM_SUBSET_RATIO": 0.5}, r"RANDOM_SUBSET_RATIO is 0.5; supported: 1.0"),
        (
            {"REPEAT_THRESHOLD": 0.1},
            r"REPEAT_THRESHOLD is 0.1, which has no effect with the SAMPLER_TRAIN T",
        ),
        ({"REPEAT_TRESHOLD": 0.1}, r"REPEAT_TRESHOLD is not a known key \(did you mean REPEAT_THRESHOLD\?\)"),
        ({"FILTER_EMPTY_ANNOTATIONS": "no"}, "FILTER_EMPTY_ANNOTATIONS is 'no'; supported: True or False"),
    ],
)
def test_other_keys_of_the_data_loader_are_refused(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"DATALOADER\.{said}"):
        load_training_config(_with_loader(tmp_path, changed))


def test_detectron2s_own_settings_are_taken(tmp_path: Path) -> None:
    """Its training writes all of them into config.yaml."""
    defaults = {
        "ASPECT_RATIO_GROUPING": True,
        "FILTER_EMPTY_ANNOTATIONS": True,
        "NUM_WORKERS": 4,
        "RANDOM_SUBSET_RATIO": 1.0,
        "REPEAT_SQRT": True,
        "REPEAT_THRESHOLD": 0.0,
        "SAMPLER_TRAIN": "TrainingSampler",
    }
    assert load_training_config(_with_loader(tmp_path, defaults)).sampling.repeat_threshold is None
    rare = {**defaults, "SAMPLER_TRAIN": "RepeatFactorTrainingSampler", "REPEAT_THRESHOLD": 0.001}
    assert load_training_config(_with_loader(tmp_path, rare)).sampling.repeat_threshold == 0.001


def _with_loader(folder: Path, keys: dict[str, object]) -> Path:
    path = write_config(folder / "config.yaml")
    tree = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**tree, "DATALOADER": keys}))
    return path
