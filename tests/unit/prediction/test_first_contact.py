"""What people try first with `load_predictor`, and what they are told where it can't work."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensormask_server import PredictionOptions, load_predictor
from tensormask_server.prediction.predictor import Predictor

from reference.cases import load_case, write_weights
from tests.unit.small_network import small_predictor

IMAGE = np.zeros((32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return small_predictor()


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (50, r"score_threshold is 50 \(did you mean 0\.5\?\); expected a number from 0 to 1"),
        (-1, "score_threshold is -1; expected a number from 0 to 1"),
        (float("nan"), "score_threshold is nan; expected a number from 0 to 1"),
        (np.float32(2), "score_threshold is .*2.0.*; expected a number from 0 to 1"),
    ],
)
def test_a_threshold_that_can_not_be_meant_is_an_error(predictor: Predictor, threshold: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        predictor([IMAGE], threshold)


@pytest.mark.parametrize("threshold", [0, 1, 0.5, np.float32(0.5), np.float64(0.5), np.int64(1)])
def test_numbers_from_0_to_1_are_thresholds(predictor: Predictor, threshold: float) -> None:
    assert len(predictor([IMAGE], threshold)) == 1


@pytest.mark.parametrize("name", ["score_threshold", "nms_threshold", "mask_threshold"])
def test_each_threshold_of_the_options_is_checked(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is 50 \(did you mean 0\.5\?\)"):
        PredictionOptions(**{name: 50})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"mask_threshold": 0}, "mask_threshold is 0; expected a number above 0, at most 1"),
        ({"max_detections": -1}, "max_detections is -1; expected a whole number, 0 or more"),
        ({"max_detections": 2.0}, "max_detections is 2.0; expected"),
        ({"max_detections": True}, "max_detections is True; expected"),
        ({"classes": (-1,)}, "classes is (-1,); expected a tuple of class numbers, 0 or more"),
        ({"classes": (2, 1)}, "classes is (2, 1); expected"),
        ({"classes": (1, 1)}, "classes is (1, 1); expected"),
        ({"classes": [1]}, "classes is [1]; expected a tuple"),
        ({"classes": ("cat",)}, "classes is ('cat',); expected"),
    ],
)
def test_each_other_option_is_checked(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        PredictionOptions(**option)


def test_a_class_that_the_network_has_not_is_an_error(predictor: Predictor) -> None:
    count = predictor.config.head.num_classes
    assert len(predictor([IMAGE], PredictionOptions(classes=(0, count - 1)))) == 1
    with pytest.raises(ValueError, match=f"classes has {count}; expected numbers from 0 to {count - 1}"):
        predictor([IMAGE], [PredictionOptions(classes=(0, count))])


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:63", torch.device("cuda", 63)])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_before_the_files_are_read(device: str | torch.device) -> None:
    with pytest.raises(ValueError, match=r"device is 'cuda.*'; expected 'cpu'|, and .*; expected 'cpu'"):
        load_predictor("absent.yaml", "absent.pkl", device)


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", 1.5])
def test_a_device_that_torch_does_not_know_is_an_error(device: str) -> None:
    with pytest.raises(ValueError, match=r"device is '.*'; expected 'cpu', 'cuda' or 'cuda:0'"):
        load_predictor("absent.yaml", "absent.pkl", device)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_the_cpu_is_a_device_by_its_name_and_as_torchs(device: str | torch.device, tmp_path: Path) -> None:
    case = load_case("tiny")
    weights = write_weights(case, tmp_path / "weights.pkl")
    assert load_predictor(case.config, weights, device).device == torch.device("cpu")
