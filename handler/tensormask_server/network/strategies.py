"""Where box deltas and masks are computed: everywhere, or only around the locations that need them.

All strategies give the same numbers. They differ in how many operations they take, and in how many pieces.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tensormask_server.network.detection import Candidates, DeltasAt, deltas_of
from tensormask_server.network.head import TensorMaskHead
from tensormask_server.network.regions import Region, merged


class Strategy(Protocol):
    """How a network gets from its features to box deltas and masks. An instance holds no state."""

    def batches(self, num_images: int) -> list[slice]:
        """Which images the methods below take together."""

    def box_deltas(self, head: TensorMaskHead, features: list[Tensor]) -> list[DeltasAt]:
        """
        Args:
            features: of one of the `batches`, per level (N, C, H, W), finest first.

        Returns:
            Per image what gives the box deltas of chosen locations.
        """

    def mask_logits(
        self, head: TensorMaskHead, features: list[Tensor], candidates: list[Candidates]
    ) -> list[list[Tensor]]:
        """
        Args:
            features: of one of the `batches`, per level (N, C, H, W), finest first.
            candidates: per image.

        Returns:
            Per image and candidate the mask logits, float32 (M, M), M by level and anchor size.
        """


class Everywhere:
    """Box deltas at every location, and masks from whole mask maps; all images of a batch together."""

    def batches(self, num_images: int) -> list[slice]:
        return [slice(0, num_images)]

    def box_deltas(self, head: TensorMaskHead, features: list[Tensor]) -> list[DeltasAt]:
        everywhere = head.box_deltas(features)  # per level (N, A·4, H, W)
        return [deltas_of([deltas[i] for deltas in everywhere]) for i in range(len(features[0]))]

    def mask_logits(
        self, head: TensorMaskHead, features: list[Tensor], candidates: list[Candidates]
    ) -> list[list[Tensor]]:
        shapes = _shapes(features)
        areas = [
            MaskArea(level, Region(0, 0, *head.mask_map_shape(level, shapes)), _of_level(candidates, level))
            for level in _levels(candidates)
        ]
        return _logits_in_areas(head, features, candidates, areas)


class OnlyWhereNeeded:
    """Box deltas around the best locations alone, and masks around the detections alone; one image after the other."""

    def batches(self, num_images: int) -> list[slice]:
        return [slice(i, i + 1) for i in range(num_images)]

    def box_deltas(self, head: TensorMaskHead, features: list[Tensor]) -> list[DeltasAt]:
        return [partial(_deltas_around, head, features)]

    def mask_logits(
        self, head: TensorMaskHead, features: list[Tensor], candidates: list[Candidates]
    ) -> list[list[Tensor]]:
        [of_image] = candidates
        areas = list(_small_areas(head, of_image, _shapes(features)))
        return _logits_in_areas(head, features, candidates, areas)


def masks_from_towers(head: TensorMaskHead, towers: Sequence[Tensor], candidates: Candidates) -> list[Tensor]:
    """The mask logits of one image's candidates, from mask towers that are computed already.

    Args:
        towers: per level (1, MASK_CHANNELS, H, W), finest first.

    Returns:
        Per candidate float32 (M, M), M by level and anchor size.
    """
    areas = list(_small_areas(head, candidates, _shapes(towers)))
    [masks] = _logits_from_towers(head, dict(enumerate(towers)), [candidates], areas)
    return masks


@dataclass(frozen=True)
class MaskArea:
    """A part of a level's mask map, and the masks that are made from it."""

    level: int
    region: Region  # of the level's mask map
    indices: list[Tensor]  # per image, int64: which of its candidates


def _deltas_around(
    head: TensorMaskHead, features: list[Tensor], levels: Tensor, y: Tensor, x: Tensor, anchors: Tensor
) -> Tensor:
    """The box deltas of some locations of one image, computed around these alone: float32 (N, 4)."""
    cells = torch.stack((y, x, y + 1, x + 1), dim=1)  # (N, 4), top left bottom right
    regions = [
        merged(cells[levels == level].cpu().numpy(), head.box_reach, *feature.shape[-2:])
        for level, feature in enumerate(features)
    ]
    return deltas_of([deltas[0] for deltas in head.box_deltas(features, regions)])(levels, y, x, anchors)


def _small_areas(head: TensorMaskHead, candidates: Candidates, shapes: Sequence[tuple[int, int]]) -> Iterator[MaskArea]:
    """Per level the regions around the masks of one image."""
    for level in _levels([candidates]):
        [indices] = _of_level([candidates], level)
        anchors, y, x = candidates.anchors[indices], candidates.y[indices], candidates.x[indices]
        for region, group in head.mask_regions(level, head.size_indices(anchors), y, x, shapes):
            yield MaskArea(level, region, [indices[group]])


def _logits_in_areas(
    head: TensorMaskHead, features: list[Tensor], candidates: list[Candidates], areas: Sequence[MaskArea]
) -> list[list[Tensor]]:
    """Per image and candidate its mask logits. The mask towers run only on what the areas need of them."""
    shapes = _shapes(features)
    needed: dict[int, list[Region]] = {}
    for area in areas:
        for tower, part in head.needed_of_towers(area.level, area.region, shapes).items():
            needed.setdefault(tower, []).append(part)
    towers = {
        level: head.mask_tower(features[level], merged(np.array(regions), head.config.num_convs, *shapes[level]))
        for level, regions in needed.items()
    }
    return _logits_from_towers(head, towers, candidates, areas)


def _logits_from_towers(
    head: TensorMaskHead, towers: Mapping[int, Tensor], candidates: list[Candidates], areas: Sequence[MaskArea]
) -> list[list[Tensor]]:
    """Per image and candidate its mask logits.

    Args:
        towers: by level, computed at least where the areas need them.
    """
    masks: list[list[Tensor]] = [[each.scores.new_empty(0)] * len(each) for each in candidates]
    for area in areas:
        mask_features = head.mask_features(towers, area.level, area.region)  # (N, MASK_CHANNELS, h, w)
        for image, indices in enumerate(area.indices):
            _fill(masks[image], head, mask_features[image], candidates[image], area, indices)
    return masks


def _fill(
    masks: list[Tensor],
    head: TensorMaskHead,
    mask_features: Tensor,
    candidates: Candidates,
    area: MaskArea,
    indices: Tensor,
) -> None:
    """Puts the mask logits of some candidates of one image into their places in `masks`."""
    size_indices = head.size_indices(candidates.anchors[indices])
    for size_index in range(len(head.mask_sizes)):
        chosen = indices[size_indices == size_index]
        if len(chosen) == 0:
            continue
        y, x = candidates.y[chosen], candidates.x[chosen]
        logits = head.mask_logits(mask_features, area.level, size_index, y, x, (area.region.top, area.region.left))
        for index, mask in zip(chosen.tolist(), logits, strict=True):
            masks[index] = mask


def _levels(candidates: list[Candidates]) -> list[int]:
    return sorted({level for each in candidates for level in each.levels.tolist()})


def _of_level(candidates: list[Candidates], level: int) -> list[Tensor]:
    """Per image the indices of its candidates of a level, int64."""
    return [(each.levels == level).nonzero(as_tuple=True)[0] for each in candidates]


def _shapes(features: Sequence[Tensor]) -> list[tuple[int, int]]:
    return [(feature.shape[2], feature.shape[3]) for feature in features]
