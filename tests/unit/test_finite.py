"""The layer at which a network stops to give finite numbers is named, whatever the precision."""

import pytest
import torch
from tensormask_server.finite import NotFiniteError, finite_layers
from tensormask_server.predictor import PRECISIONS, PredictionOptions, Predictor

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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_sound_network_is_run_as_ever(precision: str) -> None:
    predictor = small_predictor(dtype=PRECISIONS[precision])
    with finite_layers(predictor.network):
        [inside] = predictor([IMAGE], EVERYTHING)
    [outside] = predictor([IMAGE], EVERYTHING)
    assert len(inside) == len(outside) > 0
    assert (inside.scores == outside.scores).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("layer", LAYERS)
def test_the_first_layer_is_named(layer: str, precision: str) -> None:
    predictor = spoilt(layer, float("nan"), PRECISIONS[precision])
    said = rf"the layer {layer} gives .*its own weights hold such"
    with pytest.raises(NotFiniteError, match=said), finite_layers(predictor.network):
        predictor([IMAGE], EVERYTHING)
    predictor([IMAGE], EVERYTHING)  # no longer watched


def test_numbers_beyond_float16_are_told_so() -> None:
    for dtype, said in ((torch.float16, True), (torch.bfloat16, False), (torch.float32, False)):
        predictor = spoilt("backbone.bottom_up.res2.0.conv2", 6e4 if dtype == torch.float16 else 3e38, dtype)
        with pytest.raises(NotFiniteError) as caught, finite_layers(predictor.network):
            predictor([IMAGE], EVERYTHING)
        assert "backbone.bottom_up.res2.0.conv2 gives" in str(caught.value)
        assert ("65504, the largest of float16: use bfloat16 or float32" in str(caught.value)) == said


def test_what_is_wrong_behind_the_layers_is_found_too() -> None:
    """A mean of no number makes the input itself one, which no weight shows."""
    predictor = small_predictor()
    predictor.network.cell_anchors_0.fill_(float("inf"))
    with pytest.raises(NotFiniteError), finite_layers(predictor.network):
        predictor([IMAGE], EVERYTHING)
