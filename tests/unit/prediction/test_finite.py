"""The error names the first layer whose output isn't finite, in each precision."""

import numpy as np
import pytest
import torch
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.prediction.finite import NotFiniteError, finite_layers
from tensormask_server.prediction.precision import DTYPES

from tests.unit.small_network import noise, small_network, small_predictor

pytestmark = pytest.mark.attack(16, "networks of infinite numbers")

EVERYTHING = PredictionOptions(score_threshold=0.0)
IMAGE = noise(96, 128)
LAYERS = [
    "backbone.bottom_up.stem.conv1",
    "backbone.bottom_up.res4.1.conv2",
    "backbone.fpn_lateral3",
    "backbone.top_block.p6",
    "head.cls_subnet.0",
    "head.cls_score",
    "head.bbox_pred",
    "head.mask_pred_04",
]


def spoilt(layer: str, value: float, dtype: torch.dtype = torch.float32) -> Predictor:
    network = small_network()
    weight = network.get_parameter(f"{layer}.weight")
    with torch.no_grad():
        weight.fill_(value)
    return Predictor(network, torch.device("cpu"), dtype)


@pytest.mark.parametrize("precision", DTYPES)
def test_a_sound_network_runs_as_without_the_check(precision: str) -> None:
    predictor = small_predictor(dtype=DTYPES[precision])
    with finite_layers(predictor.network):
        [inside] = predictor([IMAGE], EVERYTHING)
    [outside] = predictor([IMAGE], EVERYTHING)
    assert len(inside) == len(outside) > 0
    # checked layers run one by one, and others may be computed together, which rounds less often in half precision
    np.testing.assert_allclose(inside.scores, outside.scores, atol=1e-5 if precision == "float32" else 0.02)


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("layer", LAYERS)
def test_the_first_layer_is_named(layer: str, precision: str) -> None:
    predictor = spoilt(layer, float("nan"), DTYPES[precision])
    said = rf"the layer {layer} gives .*its own weights hold such"
    with pytest.raises(NotFiniteError, match=said), finite_layers(predictor.network):
        predictor([IMAGE], EVERYTHING)
    predictor([IMAGE], EVERYTHING)  # no longer checked


def test_the_error_names_float16_if_its_range_is_the_likely_cause() -> None:
    for dtype, said in ((torch.float16, True), (torch.bfloat16, False), (torch.float32, False)):
        predictor = spoilt("backbone.bottom_up.res2.0.conv2", 6e4 if dtype == torch.float16 else 3e38, dtype)
        with pytest.raises(NotFiniteError) as caught, finite_layers(predictor.network):
            predictor([IMAGE], EVERYTHING)
        assert "backbone.bottom_up.res2.0.conv2 gives" in str(caught.value)
        assert ("65504, the largest of float16: use bfloat16 or float32" in str(caught.value)) == said


def test_numbers_that_are_not_finite_after_the_layers_are_an_error_too() -> None:
    """Infinite anchors spoil the boxes, while all layers and weights are sound."""
    predictor = small_predictor()
    predictor.network.cell_anchors_0.fill_(float("inf"))
    with pytest.raises(NotFiniteError), finite_layers(predictor.network):
        predictor([IMAGE], EVERYTHING)
