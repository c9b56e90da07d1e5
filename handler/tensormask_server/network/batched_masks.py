"""The mask logits of a batch's detections, level by level and window by window (docs/NETWORK.md, section 5).

`masks.py` does the same detection by detection, in less memory and in many more operations. Here the 1×1 convolution
is one product over a level's whole map. Then one gather takes the 4 entries of the aligned representation that each
mask entry lies between, for all detections of a level and an anchor size. Positions are computed on the host.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tensormask_server.network.align import PAD_VALUE, first_tap, mask_taps
from tensormask_server.network.batched_selection import HostCandidates
from tensormask_server.network.head import TensorMaskHead
from tensormask_server.network.regions import Region
from tensormask_server.network.transfers import to_device

MOST_GATHERED = 1 << 26  # numbers that a gather gives, 256 MB
MOST_PRODUCTS = 1 << 28  # numbers of a level's products, 1 GB


@dataclass(frozen=True)
class MaskGroup:
    """The masks of D detections of a level and an anchor size."""

    members: np.ndarray  # int64 (D,): which detections, counted over all images of the batch
    logits: Tensor  # float32 (D, M, M), less the offset of its `GroupedMasks`


@dataclass(frozen=True)
class GroupedMasks:
    """The masks of a batch. Each of its detections is in one group."""

    groups: Sequence[MaskGroup]
    offset: float  # added to the numbers of a group it gives the mask logits


@dataclass(frozen=True)
class _Windows:
    """Where the masks of D detections of a level and an anchor size take their entries. Pairs are of y and of x."""

    level: int
    size_index: int
    members: np.ndarray  # int64 (D,)
    images: np.ndarray  # int64 (D,)
    positions: tuple[np.ndarray, np.ndarray]  # int64 (D, M) each: rows and columns of the map
    entries: tuple[np.ndarray, np.ndarray]  # int64 (D, T, M) each: rows and columns of the mask, T of `_entries`
    upper_weight: np.ndarray  # float32 (M,): of the upper entries, along both axes

    def arrays(self) -> list[np.ndarray]:
        return [self.images, *self.positions, *self.entries, self.upper_weight]


class BatchedMasks:
    """Makes the masks of a network's detections. It keeps a copy of the weights of the head's 1×1 convolutions."""

    def __init__(self, head: TensorMaskHead):
        """
        Args:
            head: with its weights, on its device.
        """
        self.head = head
        self._make = self._natural if head.config.aligned_on else self._local
        weights = [_product_weights(*head.mask_pred(i), head.config.aligned_on) for i in range(len(head.mask_sizes))]
        self._weights = torch.cat([weight for weight, _ in weights])  # (E, C), all sizes
        self._biases = torch.cat([bias for _, bias in weights])  # (E,)
        ends = np.cumsum([len(bias) for _, bias in weights]).tolist()
        self._parts = [slice(end - len(bias), end) for end, (_, bias) in zip(ends, weights, strict=True)]
        self._taps: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}  # by scale and mask size

    def __call__(self, towers: Sequence[Tensor], detections: Sequence[HostCandidates]) -> GroupedMasks:
        """
        Args:
            towers: per level the mask tower's output, (N, MASK_CHANNELS, H, W).
            detections: of each of the N images.
        """
        groups: list[MaskGroup] = []
        most = max(1, MOST_PRODUCTS // (len(self._biases) * towers[0][0, 0].numel()))  # images at a time
        for first in range(0, len(detections), most):
            images = slice(first, first + most)
            before = sum(map(len, detections[:first]))
            groups += self._make(
                [tower[images] for tower in towers], FlatCells.of(detections[images], before, self.head)
            )
        return GroupedMasks(groups, PAD_VALUE if self.head.config.aligned_on else 0.0)

    def _natural(self, towers: Sequence[Tensor], flat: "FlatCells") -> Iterator[MaskGroup]:
        shapes = [(tower.shape[2], tower.shape[3]) for tower in towers]
        windows = [part for each in flat.groups() for part in self._windows(flat, *each, shapes)]
        there = iter(to_device([array for each in windows for array in each.arrays()], towers[0].device))
        products: dict[tuple[int, bool], Tensor] = {}
        for each in windows:
            between = _is_between(self.head, each.level, each.size_index)
            if (each.level, between) not in products:
                products = {key: value for key, value in products.items() if key[0] == each.level}
                if not products:
                    products[each.level, False] = self._products(towers, each.level)  # (N, H, W, E)
                if between:
                    products[each.level, True] = _between_neighbours(products[each.level, False])
            of_size = products[each.level, between][..., self._parts[each.size_index]]
            yield MaskGroup(each.members, _sampled(of_size, *(next(there) for _ in each.arrays())))

    def _products(self, towers: Sequence[Tensor], level: int) -> Tensor:
        """The 1×1 convolutions of all sizes on a level's mask map: float32 (N, H, W, E)."""
        height, width = self.head.mask_map_shape(level, [(tower.shape[2], tower.shape[3]) for tower in towers])
        features = self.head.mask_features(dict(enumerate(towers)), level, Region(0, 0, height, width))
        return F.linear(features.permute(0, 2, 3, 1).float(), self._weights, self._biases)

    def _local(self, towers: Sequence[Tensor], flat: "FlatCells") -> Iterator[MaskGroup]:
        """The channels at the cells are the masks."""
        groups = list(flat.groups())
        cells = [np.stack((flat.images, flat.y, flat.x))[:, members] for _, _, members in groups]
        for (level, size_index, members), there in zip(groups, to_device(cells, towers[0].device), strict=True):
            features = towers[level].permute(0, 2, 3, 1)[there.unbind()].float()  # (D, C)
            part = self._parts[size_index]
            size = self.head.mask_sizes[size_index]
            logits = F.linear(features, self._weights[part], self._biases[part])
            yield MaskGroup(members + flat.before, logits.view(-1, size, size))

    def _windows(
        self,
        flat: "FlatCells",
        level: int,
        size_index: int,
        members: np.ndarray,
        shapes: Sequence[tuple[int, int]],
    ) -> Iterator[_Windows]:
        scale, mask_size = self.head.mask_scale(level), self.head.mask_sizes[size_index]
        between = _is_between(self.head, level, size_index)
        entries, upper_weight = self._entries(scale, mask_size)
        first = first_tap(scale, mask_size)[0] + between  # at index p+1 of a map between neighbours is position p
        offsets = first + np.arange(scale * mask_size)  # (M,)
        step = max(1, MOST_GATHERED // (4 * len(offsets) ** 2))
        for start in range(0, len(members), step):
            some = members[start : start + step]
            positions, of_mask = zip(
                *(
                    _axis(scale * cells[some, None] + offsets, length + between, entries, mask_size)
                    for cells, length in zip((flat.y, flat.x), self.head.mask_map_shape(level, shapes), strict=True)
                ),
                strict=True,
            )
            yield _Windows(
                level,
                size_index,
                some + flat.before,
                flat.images[some],
                positions,
                of_mask,
                upper_weight,
            )

    def _entries(self, scale: int, mask_size: int) -> tuple[np.ndarray, np.ndarray]:
        """The entries that a mask samples along an axis, int64 (T, M), and the upper ones' weights, float32 (M,).

        T is 2, lower and upper; or 1, if the upper ones' weights are 0. Those at −1 and V are the entry of zeros.
        """
        if (scale, mask_size) not in self._taps:
            lower, upper_weight = (each.numpy() for each in mask_taps(scale, mask_size, torch.device("cpu")))
            entries = np.stack((lower % (mask_size + 1), lower + 1))[: 2 if upper_weight.any() else 1]
            self._taps[scale, mask_size] = entries, upper_weight.astype(np.float32)
        return self._taps[scale, mask_size]


@dataclass(frozen=True)
class FlatCells:
    """The detections of some images of a batch, one after the other."""

    before: int  # how many detections the images before these have
    images: np.ndarray  # int64 (D,): counted among these images
    levels: np.ndarray  # int64 (D,)
    size_indices: np.ndarray  # int64 (D,)
    y: np.ndarray  # int64 (D,)
    x: np.ndarray  # int64 (D,)

    @classmethod
    def of(cls, detections: Sequence[HostCandidates], before: int, head: TensorMaskHead) -> "FlatCells":
        levels, anchors, y, x = (
            np.concatenate([getattr(each, name) for each in detections]) for name in ("levels", "anchors", "y", "x")
        )
        images = np.repeat(np.arange(len(detections)), [len(each) for each in detections])
        return cls(before, images, levels, anchors // head.num_ratios, y, x)

    def groups(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """The levels and sizes that occur, and which detections have them."""
        for level in np.unique(self.levels).tolist():
            for size_index in np.unique(self.size_indices[self.levels == level]).tolist():
                yield level, size_index, np.flatnonzero((self.levels == level) & (self.size_indices == size_index))


def _is_between(head: TensorMaskHead, level: int, size_index: int) -> bool:
    """Whether the masks sample their map halfway between neighbours; else at the neighbours themselves."""
    return first_tap(head.mask_scale(level), head.mask_sizes[size_index])[1] > 0


def _product_weights(weight: Tensor, bias: Tensor, aligned: bool) -> tuple[Tensor, Tensor]:
    """A 1×1 convolution's weight and bias as a product's, float32 (E, C) and (E,).

    Aligned masks get a row and a column of zeros, E = (V+1)², which stands for what is outside. So all logits are
    relative to PAD_VALUE.

    Args:
        weight, bias: (V·V, C, 1, 1) and (V·V,).
    """
    weight, bias = weight.detach().float().flatten(1), bias.detach().float()
    if not aligned:
        return weight, bias
    size = round(len(bias) ** 0.5)
    weight = F.pad(weight.view(size, size, -1), (0, 0, 0, 1, 0, 1))  # (V+1, V+1, C)
    return weight.flatten(0, 1), F.pad((bias - PAD_VALUE).view(size, size), (0, 1, 0, 1)).flatten()


def _between_neighbours(products: Tensor) -> Tensor:
    """Means of 2×2 neighbours, with zeros around the map: (N, H, W, E) to (N, H+1, W+1, E)."""
    return F.avg_pool2d(products.permute(0, 3, 1, 2), 2, stride=1, padding=1).permute(0, 2, 3, 1)


def _axis(positions: np.ndarray, length: int, entries: np.ndarray, outside: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a map, (D, M), and the entries to take there, (D, T, M). Off the map it is the entry of zeros.

    Args:
        length: of the map's axis.
        entries: int64 (T, M), of `BatchedMasks`.
        outside: the index of the entry of zeros.
    """
    on_map = (positions >= 0) & (positions < length)
    return positions.clip(0, length - 1), np.where(on_map[:, None], entries, outside)


def _sampled(
    products: Tensor, images: Tensor, rows: Tensor, columns: Tensor, v: Tensor, u: Tensor, upper_weight: Tensor
) -> Tensor:
    """The masks of some detections, float32 (D, M, M): one gather, then linear along both axes of the mask.

    Args:
        products: (N, H, W, (V+1)²), relative to PAD_VALUE.
        images, rows, columns, v, u, upper_weight: of `_Windows`.
    """
    side = round(products.shape[3] ** 0.5)
    taps = products.view(*products.shape[:3], side, side)[
        images[:, None, None, None, None],
        rows[:, None, :, None, None],
        columns[:, None, None, None, :],
        v[:, :, :, None, None],
        u[:, None, None, :, :],
    ]  # (D, T, M, T, M)
    if taps.shape[1] == 1:
        return taps[:, 0, :, 0]
    by_row = torch.lerp(taps[:, 0], taps[:, 1], upper_weight[:, None, None])  # (D, M, 2, M)
    return torch.lerp(by_row[:, :, 0], by_row[:, :, 1], upper_weight)
