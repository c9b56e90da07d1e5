"""The network from the image to the maps that detections are selected from, as one graph without conditions.

It is what another program than torch can compute: `TensorMask.graph` takes such a graph in place of the layers.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from torch import Tensor, nn

from tensormask_server.network.config import HeadConfig

if TYPE_CHECKING:
    from tensormask_server.network.tensormask import TensorMask


class ConvolutionMaps(NamedTuple):
    """The maps of N images, per level, finest first."""

    class_logits: Sequence[Tensor]  # (N, A·K, H, W), channel a·K + k
    box_deltas: Sequence[Tensor]  # (N, A·4, H, W), channel a·4 + j
    mask_towers: Sequence[Tensor]  # (N, MASK_CHANNELS, H, W); without MASK_ON none

    @classmethod
    def of_named(cls, maps: Iterable[tuple[str, Tensor]]) -> Self:
        """Sorts maps by the kind in their names, which are of `map_names`."""
        by_kind: dict[str, list[Tensor]] = {kind: [] for kind in cls._fields}
        for name, tensor in maps:
            by_kind[name.rpartition("_")[0]].append(tensor)
        return cls(**by_kind)


def map_names(config: HeadConfig) -> tuple[str, ...]:
    """The names of all maps in their order: class_logits_p2, …, box_deltas_p2, …, mask_towers_p2, …"""
    kinds = ConvolutionMaps._fields if config.mask_on else ConvolutionMaps._fields[:2]
    return tuple(f"{kind}_{level}" for kind in kinds for level in config.in_features)


class Convolutions(nn.Module):
    """All of a network that comes before the selection of detections."""

    def __init__(self, network: "TensorMask"):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            images: (N, 3, H, W), normalised, H and W multiples of the network's stride.

        Returns:
            The maps in the order of `map_names`.
        """
        head = self.network.head
        features = self.network.features(images)  # per level (N, C, H, W)
        towers = [head.mask_tower(feature) for feature in features] if head.config.mask_on else []
        return (*head.class_logits(features), *head.box_deltas(features), *towers)
