"""The mask logits of the windows that learn an instance, in two ways, which give the same numbers.

`by_regions` computes only the parts of the mask maps that it needs, image by image: least arithmetic, for a CPU.
`all_at_once` computes whole maps, and the windows of a level and a size of all images together: some dozens of
operations in place of thousands, for a device to which each operation costs a launch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from tensormask_server.network.align import PAD_VALUE, first_tap, mask_taps
from tensormask_server.network.head import TensorMaskHead
from tensormask_server.network.transfers import to_device
from torch import Tensor

from training.targets import Positives
from training.window_products import window_products


class MaskGroup(NamedTuple):
    """Windows of one level and one size."""

    level: int
    positives: Positives
    logits: Tensor  # float32 (P, M, M)


Way = Callable[[TensorMaskHead, Sequence[Tensor], Sequence[Positives]], Iterator[MaskGroup]]


def way_for(device: torch.device) -> Way:
    """The faster way on a device."""
    return by_regions if device.type == "cpu" else all_at_once


def by_regions(head: TensorMaskHead, features: Sequence[Tensor], positives: Sequence[Positives]) -> Iterator[MaskGroup]:
    """
    Args:
        features: per level (N, C, H, W).
        positives: per level.
    """
    shapes = _shapes(features)
    towers = {level: torch.split(tower, 1) for level, tower in _towers(head, features, positives).items()}
    for level, of_level in enumerate(positives):
        for image in sorted(set(of_level.images.tolist())):
            located = of_level[of_level.images == image]
            sizes = head.size_indices(located.anchors)
            own_towers = {each: images[image] for each, images in towers.items()}
            for region, group in head.mask_regions(level, sizes, located.y, located.x, shapes):
                [features_of_region] = head.mask_features(own_towers, level, region)
                for size in sorted(set(sizes[group].tolist())):
                    chosen = located[group[sizes[group] == size]]
                    # in float32 whatever the precision of the convolutions, as at inference
                    with torch.autocast(features_of_region.device.type, enabled=False):
                        corner = region.top, region.left
                        logits = head.mask_logits(features_of_region, level, size, chosen.y, chosen.x, corner)
                    yield MaskGroup(level, chosen, logits)


def all_at_once(
    head: TensorMaskHead, features: Sequence[Tensor], positives: Sequence[Positives]
) -> Iterator[MaskGroup]:
    """Arguments and results as of `by_regions`."""
    shapes = _shapes(features)
    towers = _towers(head, features, positives)
    groups = [
        (level, size, of_level[sizes == size])
        for level, of_level in enumerate(positives)
        for sizes in [head.size_indices(of_level.anchors)]
        for size in sorted(set(sizes.tolist()))
    ]
    windows = [
        _windows(head, level, size, chosen, *head.mask_map_shape(level, shapes)) for level, size, chosen in groups
    ]
    there = iter(to_device([array for each in windows for array in each], features[0].device))
    maps: dict[tuple[int, bool], Tensor] = {}
    for level, size, chosen in groups:
        between = head.config.aligned_on and _is_between(head, level, size)
        if (level, between) not in maps:
            maps[level, between] = _mask_map(head, towers, level)
        with torch.autocast(features[0].device.type, enabled=False):
            of_map = maps[level, between].float()
            weight, bias = (each.float() for each in head.mask_pred(size))
            rows, columns, row_cover, column_cover, taps = (next(there) for _ in _Windows._fields)
            if head.config.aligned_on:
                table = _sampled(of_map, between)
                weights = _entry_weights(weight, bias, taps)  # (M, M, C + 1)
                products = window_products(table, rows, columns, weights[..., :-1])
                cover = row_cover[:, :, None] * column_cover[:, None]
                logits = torch.addcmul(products + PAD_VALUE, cover, weights[..., -1])
            else:
                at_cells = of_map.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, (rows + columns).view(-1))
                logits = F.linear(at_cells, weight.flatten(1), bias).view(-1, *[head.mask_sizes[size]] * 2)
        yield MaskGroup(level, chosen, logits)


def _mask_map(head: TensorMaskHead, towers: Mapping[int, Tensor], level: int) -> Tensor:
    """As `TensorMaskHead.mask_features` of the whole map, with two products in place of the interpolation.

    The gradients of an interpolation are summed in the precision of the convolutions on a GPU, those of a product in
    float32. For the coarsest level a sum has thousands of terms.
    """
    if not head.config.bipyramid_on:
        return towers[level]
    coarse = towers[level]
    if level:
        upsampled = coarse.permute(0, 2, 3, 1)  # (N, h, w, C)
        # the coarse map's last cells may reach beyond the finest map
        height, width = (
            _interpolation(length, 2**level)[:finest]
            for length, finest in zip(upsampled.shape[1:3], towers[0].shape[2:], strict=True)
        )
        to_rows, to_columns = to_device([height, width], coarse.device)
        upsampled = torch.matmul(to_columns.to(coarse.dtype), upsampled)  # (N, h, W, C)
        shape = len(coarse), len(to_rows), *upsampled.shape[2:]
        upsampled = torch.matmul(to_rows.to(coarse.dtype), upsampled.flatten(2)).view(shape)  # (N, H, W, C)
        coarse = upsampled.permute(0, 3, 1, 2)
    fused: Tensor = head.mask_fuse(coarse + towers[0])
    return fused


@cache
def _interpolation(length: int, scale: int) -> np.ndarray:
    """The weights by which bilinear interpolation upsamples an axis, float32 (scale·length, length)."""
    identity = torch.eye(length)[None]
    return np.asarray(F.interpolate(identity, scale_factor=scale, mode="linear", align_corners=False)[0].T.numpy())


class _Windows(NamedTuple):
    """Where the masks of P windows of a level and a size sample the map of `_sampled`, whose cells are in one row."""

    rows: np.ndarray  # int64 (P, M): the first cell of each row of the map
    columns: np.ndarray  # int64 (P, M): what is added to it
    row_cover: np.ndarray  # float32 (P, M): how much of a row is on the map, 0, ½ or 1
    column_cover: np.ndarray  # float32 (P, M)
    taps: np.ndarray  # float32 (M, V): the weights of the V rows of `mask_pred` in each row of a mask; columns alike


def _windows(head: TensorMaskHead, level: int, size_index: int, chosen: Positives, height: int, width: int) -> _Windows:
    """
    Args:
        height, width: of the level's mask map.
    """
    y, x, images = (each.numpy()[:, None] for each in (chosen.y, chosen.x, chosen.images))
    if not head.config.aligned_on:  # the cells themselves
        nothing = np.empty((0, 0), np.float32)
        return _Windows((images * height + y) * width, x, nothing, nothing, nothing)
    scale, mask_size = head.mask_scale(level), head.mask_sizes[size_index]
    between = _is_between(head, level, size_index)
    offsets = first_tap(scale, mask_size)[0] + np.arange(scale * mask_size)
    rows, row_cover = _axis(y * scale + offsets, height, between)
    columns, column_cover = _axis(x * scale + offsets, width, between)
    height, width = (length + 2 + between for length in (height, width))  # of `_sampled`
    return _Windows((images * height + rows) * width, columns, row_cover, column_cover, _taps(scale, mask_size))


def _axis(positions: np.ndarray, length: int, between: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a map, (P, M), as indices of `_sampled`, and how much of each is on the map, float32 (P, M)."""
    first = 1 + between  # the index of position 0
    on_map = [(positions + step >= 0) & (positions + step < length) for step in range(1 + between)]
    return (positions + first).clip(0, length + first), np.stack(on_map).mean(axis=0, dtype=np.float32)


def _sampled(features: Tensor, between: bool) -> Tensor:
    """A map with zeros around it, or the means of its 2×2 neighbours with zeros around them.

    Args:
        features: float32 (N, C, H, W).

    Returns:
        float32 (L, C), the cells of (N, H+2, W+2) or of (N, H+3, W+3). Position p is at index p+1, or the mean of p and
        p+1 at index p+2.
    """
    padded = F.pad(features, (1, 1, 1, 1))
    if between:
        padded = F.avg_pool2d(padded, 2, stride=1, padding=1)
    return padded.permute(0, 2, 3, 1).flatten(0, 2)


@cache
def _taps(scale: int, mask_size: int) -> np.ndarray:
    """The weight of each of the V entries of the aligned mask in those of the natural one, float32 (λV, V)."""
    lower, upper_weight = mask_taps(scale, mask_size, torch.device("cpu"))
    positions = lower.double()[:, None] - torch.arange(mask_size)  # (λV, V): 0 for the lower entry, −1 for the upper
    weights = (positions == 0) * (1 - upper_weight[:, None]) + (positions == -1) * upper_weight[:, None]
    return np.asarray(weights.float().numpy())


def _entry_weights(weight: Tensor, bias: Tensor, taps: Tensor) -> Tensor:
    """The weights by which a natural mask's entries depend on the sampled features, and last on what is on the map.

    Args:
        weight, bias: float32, of `mask_pred`, (V·V, C, 1, 1) and (V·V,).
        taps: of `_taps`.

    Returns:
        float32 (λV, λV, C + 1).
    """
    mask_size = taps.shape[1]
    entries = torch.cat((weight.flatten(1), bias[:, None] - PAD_VALUE), dim=1)  # (V·V, C + 1)
    by_row = (taps @ entries.view(mask_size, -1)).view(len(taps), mask_size, -1)  # (λV, V, C + 1)
    return taps @ by_row


def _is_between(head: TensorMaskHead, level: int, size_index: int) -> bool:
    """Whether masks sample their map halfway between neighbours; else at the neighbours themselves."""
    return first_tap(head.mask_scale(level), head.mask_sizes[size_index])[1] > 0


def _towers(head: TensorMaskHead, features: Sequence[Tensor], positives: Sequence[Positives]) -> Mapping[int, Tensor]:
    """By level the mask tower's output, of those that are needed."""
    levels = [level for level, located in enumerate(positives) if len(located)]
    with_finest = {0, *levels} if levels and head.config.bipyramid_on else levels
    return {level: head.mask_tower(features[level]) for level in with_finest}


def _shapes(features: Sequence[Tensor]) -> list[tuple[int, int]]:
    return [(feature.shape[2], feature.shape[3]) for feature in features]
