"""Detections from maps that another program computed: the same as from the network's own layers."""

import copy

import pytest
import torch
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.network.before_selection import ConvolutionMaps, Convolutions, map_names
from torch import Tensor

from tests.unit.small_network import assert_alike, noise, small_network

KINDS = {
    "aligned": {},
    "without the bipyramid": {"MODEL.TENSOR_MASK.BIPYRAMID_ON": False},
    "boxes only": {"MODEL.MASK_ON": False},
}


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_a_graph_gives_the_same_detections(changes: dict[str, object]) -> None:
    network = small_network(changes)
    own = Predictor(copy.deepcopy(network), torch.device("cpu"), torch.float32, winograd=False)
    graph = Convolutions(copy.deepcopy(network).eval())
    names = map_names(network.config.head)
    seen = []

    def maps_of(images: Tensor) -> ConvolutionMaps:
        seen.append(images.shape)
        return ConvolutionMaps.of_named(zip(names, graph(images), strict=True))

    network.use_graph(maps_of)
    other = Predictor(network, torch.device("cpu"), torch.float32)
    images = [noise(90, 120), noise(130, 100, seed=1)]
    for options in (PredictionOptions(score_threshold=0.0), PredictionOptions(score_threshold=0.3, classes=(1,))):
        expected = own(images, options)
        assert min(map(len, expected)) > 0
        for found, each in zip(other(images, options), expected, strict=True):
            assert_alike(found, each)
    assert all(shape[0] == 1 for shape in seen)


def test_layers_that_the_graph_has_take_no_memory() -> None:
    network = small_network()
    before = sum(each.numel() for each in network.parameters())
    network.use_graph(lambda images: ConvolutionMaps([images], [], []))
    names = {name.split(".")[1] for name, _ in network.named_parameters()}
    assert names == {"mask_fuse", "mask_pred_04", "mask_pred_06"}
    assert sum(each.numel() for each in network.parameters()) < 0.05 * before


def test_the_names_are_of_kinds_and_levels() -> None:
    names = map_names(small_network().config.head)
    assert names[:2] == ("class_logits_p2", "class_logits_p3")
    assert (names[6], names[-1]) == ("box_deltas_p2", "mask_towers_p7")
    assert len(names) == 18
    assert len(map_names(small_network({"MODEL.MASK_ON": False}).config.head)) == 12
