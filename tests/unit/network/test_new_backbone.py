"""A backbone that the registry gets from a test: one class, its configuration and one entry are enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tensormask_server import Predictor
from tensormask_server.model_files.checkpoint import CheckpointError
from tensormask_server.model_files.key_reader import ConfigError, KeyReader
from tensormask_server.network.backbone import FeatureMap, Hints
from tensormask_server.network.backbones import BACKBONES
from tensormask_server.network.loading import checked_weights
from tensormask_server.network.norms import NormedConv2d
from torch import Tensor, nn

from tests.unit.small_network import noise, shapes, small_config, small_network

TOY = {
    "MODEL.BACKBONE.NAME": "build_toy_fpn_backbone",
    "MODEL.TOY": {"WIDTH": 8},
    "MODEL.FPN.IN_FEATURES": ["toy4", "toy8", "toy16", "toy32"],
}


@dataclass(frozen=True)
class ToyConfig:
    """MODEL.TOY: one convolution per feature map."""

    width: int

    @property
    def label(self) -> str:
        return f"toy {self.width}"

    @property
    def feature_maps(self) -> tuple[FeatureMap, ...]:
        return tuple(FeatureMap(f"toy{stride}", self.width, stride) for stride in (4, 8, 16, 32))

    @property
    def hints(self) -> Hints:
        return Hints("MODEL.TOY", "MODEL.TOY.WIDTH", "MODEL.TOY", shapes=((r"toy\d+\.weight 0", "MODEL.TOY.WIDTH"),))

    def build(self) -> "Toy":
        return Toy(self)


class Toy(nn.Module):
    def __init__(self, config: ToyConfig):
        super().__init__()
        self.names = [name for name, _, _ in config.feature_maps]
        for i, name in enumerate(self.names):
            in_channels = config.width if i else 3
            self.add_module(name, NormedConv2d(in_channels, config.width, 3, 2 if i else 4, groups=1, dilation=1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps, x = {}, images
        for name in self.names:
            maps[name] = x = F.relu(self.get_submodule(name)(x))
        return maps


def parse_toy(reader: KeyReader) -> ToyConfig:
    reader.known_keys("MODEL.TOY", ("WIDTH",))
    return ToyConfig(reader.integer("MODEL.TOY.WIDTH", 8))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "build_toy_fpn_backbone", parse_toy)


def test_a_network_with_it_predicts_with_its_norms_folded() -> None:
    network = small_network(TOY)
    assert network.stride == 32
    predictor = Predictor(network, torch.device("cpu"), torch.float32)
    assert not any("norm" in name for name in predictor.network.state_dict())
    [found] = predictor([noise(100, 140)])
    assert len(found) > 0
    assert found.masks is not None
    assert found.masks.any(axis=(1, 2)).any()


@pytest.mark.parametrize(
    ("changes", "blamed"),
    [
        ({"MODEL.TOY": {"WIDTH": 4}}, "MODEL.TOY.WIDTH"),
        ({"MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone"}, "MODEL.RESNETS.DEPTH"),
    ],
)
def test_weights_that_dont_fit_name_the_backbones_own_keys(changes: Mapping[str, Any], blamed: str) -> None:
    weights = {name: torch.zeros(shape) for name, shape in shapes(TOY).items()}
    changed = {**TOY, **changes}
    if "MODEL.BACKBONE.NAME" in changes:
        del changed["MODEL.FPN.IN_FEATURES"]
    with pytest.raises(CheckpointError, match=f"most likely {blamed} in the configuration"):
        checked_weights(small_config(changed), weights)


def test_its_feature_maps_are_what_the_pyramid_may_take() -> None:
    with pytest.raises(ConfigError, match=r"supported: \['toy4', 'toy8', 'toy16', 'toy32'\] or the end of it"):
        small_config({**TOY, "MODEL.FPN.IN_FEATURES": ["res2"]})


def test_a_name_that_the_registry_lacks_gets_those_that_it_has() -> None:
    with pytest.raises(ConfigError, match="supported: 'build_retinanet_resnet_fpn_backbone' or 'build_toy_fpn_backb"):
        small_config({"MODEL.BACKBONE.NAME": "build_vit"})
