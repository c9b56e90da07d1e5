"""All that the network computes at every location, of a batch of images: operations of fixed shapes, without a return
to the host. So a GPU can replay them as one graph.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from tensormask_server.network.anchors import MAX_SIZE_DELTA
from tensormask_server.network.places import Places

if TYPE_CHECKING:
    from tensormask_server.network.tensormask import TensorMask


class DenseMaps(NamedTuple):
    """The P cells of all levels are in the order (level, y, x)."""

    class_logits: Tensor  # (N, P, A·K), channel a·K + k
    best_logits: Tensor  # (N, P): each cell's highest
    boxes: Tensor  # float32 (N, P·A, 4), x0 y0 x1 y1 in pixels of the network's input
    mask_towers: tuple[Tensor, ...]  # per level (N, MASK_CHANNELS, H, W); without MASK_ON none


def dense_maps(network: "TensorMask", images: Tensor, places: Places) -> DenseMaps:
    """
    Args:
        images: (N, 3, H, W), normalised and padded.
        places: of their shape.
    """
    head = network.head
    features = network.features(images)  # per level (N, C, H, W)
    class_logits = flattened(head.class_logits(features))  # (N, P, A·K)
    deltas = flattened(head.box_deltas(features))  # (N, P, A·4)
    towers = tuple(head.mask_tower(feature) for feature in features) if head.config.mask_on else ()
    return DenseMaps(class_logits, class_logits.amax(dim=2), boxes_everywhere(deltas, places), towers)


def flattened(maps: list[Tensor]) -> Tensor:
    """Per level (N, C, H, W) to (N, P, C)."""
    return torch.cat([each.permute(0, 2, 3, 1).flatten(1, 2) for each in maps], dim=1)


def boxes_everywhere(deltas: Tensor, places: Places) -> Tensor:
    """As `anchors.apply_deltas`, number for number, at every location: (N, P, A·4) to float32 (N, P·A, 4)."""
    scaled = deltas.view(len(deltas), -1, 4).float() / places.delta_weights
    centre = scaled[..., :2] * places.sizes + places.centres
    half = scaled[..., 2:].clamp(max=MAX_SIZE_DELTA).exp_().mul_(places.sizes).mul_(0.5)
    return torch.cat((centre - half, centre + half), dim=2)
