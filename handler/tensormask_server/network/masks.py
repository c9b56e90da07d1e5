"""Masks of chosen cells, without those of all others (docs/NETWORK.md, section 5)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tensormask_server.network.align import PAD_VALUE, first_tap, mask_taps
from tensormask_server.network.onednn import product


def natural_masks(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    y: Tensor,
    x: Tensor,
    scale: int,
    corner: tuple[int, int] = (0, 0),
) -> Tensor:
    """SwapAlign2Nat of the 1×1 convolution of the features, at some cells only.

    The convolution and SwapAlign2Nat are linear, so the order can change. First, a cell's window of the features is
    averaged between the neighbours that the op samples. Then it is multiplied by the convolution's weights. Last, the
    products are interpolated between mask entries. The convolution's output for the whole map is made only if that
    takes fewer multiplications than the windows, which overlap, and on a CPU without gradients.

    Taps outside count as PAD_VALUE. All values are taken relative to it, so that these taps are zero. The bias is the
    weight of a further channel, which is one inside the map and zero outside.

    Args:
        features: (C, H, W), a map or the part of it with the windows of all these cells.
        weight, bias: of the 1×1 convolution, (V·V, C, 1, 1) and (V·V,).
        y, x: (N,) int64, cells of a map that is λ times coarser.
        scale: λ.
        corner: the row and the column of the map where the features begin.

    Returns:
        Mask logits, float32 (N, λV, λV).
    """
    mask_size = round(len(bias) ** 0.5)
    window = scale * mask_size
    first, upper_position = first_tap(scale, mask_size)
    sampled = _between_neighbours(features, upper_position)  # (H+1, W+1, C+1), position p at index p+1
    height, width = sampled.shape[:2]
    rows = [_overlap(cell * scale + first + 1 - corner[0], window, height) for cell in y.tolist()]
    columns = [_overlap(cell * scale + first + 1 - corner[1], window, width) for cell in x.tolist()]
    positions = sum(len(r) * len(c) for r, c in zip(rows, columns, strict=True))  # of all windows together
    fewer = mask_size**2 * height * width < (mask_size + 1) * positions
    everywhere = fewer and features.device.type == "cpu" and not torch.is_grad_enabled()
    inside = (_Everywhere if everywhere else _InWindows)(
        sampled, _padded_weights(weight, bias), *mask_taps(scale, mask_size, features.device)
    )
    masks = sampled.new_full((len(rows), window, window), PAD_VALUE)
    for i, (r, c) in enumerate(zip(rows, columns, strict=True)):
        masks[i, r.of_window, c.of_window] += inside(r, c)
    return masks


class _Overlap(NamedTuple):
    """The part of an axis that a window covers, and the part of the window that lies on the axis. Both are as long."""

    of_axis: slice
    of_window: slice

    def __len__(self) -> int:
        return len(range(self.of_axis.start, self.of_axis.stop))


class _InWindows:
    """The products of each window by itself, with only the entries along one axis: best for few windows."""

    def __init__(self, sampled: Tensor, weights: Tensor, lower: Tensor, upper_weight: Tensor):
        """
        Args:
            sampled: (H, W, C+1), the features between neighbours.
            weights: (V+1, V+1, C+1), of `_padded_weights`.
            lower, upper_weight: (λV,), of `mask_taps`.
        """
        self.sampled, self.upper_weight = sampled, upper_weight.float()
        lower_index, upper_index = lower % len(weights), lower + 1
        row_weights = torch.lerp(weights[lower_index], weights[upper_index], self.upper_weight[:, None, None])
        self.row_weights = row_weights.transpose(1, 2)  # (λV, C+1, V+1)
        self.entry_pairs = torch.stack((lower_index, upper_index), dim=1)  # (λV, 2)

    def __call__(self, rows: _Overlap, columns: _Overlap) -> Tensor:
        """A mask's logits, relative to PAD_VALUE, where its window lies on the map: (rows, columns)."""
        here = self.sampled[rows.of_axis, columns.of_axis]
        products = here @ self.row_weights[rows.of_window]  # (rows, columns, V+1)
        pairs = self.entry_pairs[columns.of_window].expand(len(products), -1, -1)
        lower, upper = products.gather(2, pairs).unbind(2)
        return torch.lerp(lower, upper, self.upper_weight[columns.of_window])


class _Everywhere:
    """All windows from one product over the whole map: best for windows that overlap. Arguments as of `_InWindows`."""

    def __init__(self, sampled: Tensor, weights: Tensor, lower: Tensor, upper_weight: Tensor):
        size = len(weights) - 1
        products = product(sampled, weights[:size, :size].flatten(0, 1)).contiguous()  # (H, W, V·V)
        self.row, self.column = products.stride()[:2]
        self.products = products.flatten()
        entries = torch.stack((lower, lower + 1))  # (2, λV)
        on_mask = (entries >= 0) & (entries < size)
        self.tap_weights = torch.stack((1 - upper_weight, upper_weight)).float() * on_mask  # (2, λV)
        entries = entries.clamp(0, size - 1)
        self.row_starts, self.column_starts = entries * size, entries

    def __call__(self, rows: _Overlap, columns: _Overlap) -> Tensor:
        """As of `_InWindows`."""
        y, x = (torch.arange(each.of_axis.start, each.of_axis.stop) for each in (rows, columns))
        row_indices = self.row_starts[:, rows.of_window] + y * self.row  # (2, rows)
        column_indices = self.column_starts[:, columns.of_window] + x * self.column  # (2, columns)
        taps = self.products.take(row_indices[:, :, None, None] + column_indices)  # (2, rows, 2, columns)
        lower, upper = self.tap_weights[:, rows.of_window, None, None]
        by_row = torch.addcmul(taps[0] * lower, taps[1], upper)  # (rows, 2, columns)
        lower, upper = self.tap_weights[:, columns.of_window]
        return torch.addcmul(by_row[:, 0] * lower, by_row[:, 1], upper)


def local_masks(
    features: Tensor, weight: Tensor, bias: Tensor, y: Tensor, x: Tensor, corner: tuple[int, int] = (0, 0)
) -> Tensor:
    """Masks without the aligned representation: the 1×1 convolution's channels at the cells.

    Arguments as of `natural_masks`. Returns mask logits, float32 (N, V, V).
    """
    mask_size = round(len(bias) ** 0.5)
    at_cells = features[:, y - corner[0], x - corner[1]].float()  # (C, N)
    logits = weight.float().flatten(1) @ at_cells + bias.float()[:, None]  # (V·V, N)
    return logits.T.reshape(-1, mask_size, mask_size)


def _overlap(start: int, window: int, length: int) -> _Overlap:
    """How a window from `start` on lies on an axis of this length."""
    low, high = min(max(start, 0), length), min(max(start + window, 0), length)
    return _Overlap(slice(low, high), slice(low - start, high - start))


def _between_neighbours(features: Tensor, upper: float) -> Tensor:
    """The features and a channel of ones, between zeros, sampled halfway between neighbours if `upper` is ½.

    Args:
        features: (C, H, W).
        upper: the upper neighbour's weight along both axes, ½ or 0.

    Returns:
        float32 (H+1, W+1, C+1): at index p+1 the mean of positions p and p+1, or only position p.
    """
    channels, height, width = features.shape
    padded = features.new_empty(height + 2, width + 2, channels + 1, dtype=torch.float32)
    for border in (padded[0], padded[-1], padded[1:-1, 0], padded[1:-1, -1]):
        border.zero_()
    padded[1:-1, 1:-1, :channels] = features.permute(1, 2, 0)
    padded[1:-1, 1:-1, channels] = 1
    if upper == 0:
        return padded[:-1, :-1]
    by_row = padded[:-1] + padded[1:]  # (H+1, W+2, C+1)
    return (by_row[:, :-1] + by_row[:, 1:]).mul_(0.25)


def _padded_weights(weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution's weights by mask entry, (V+1, V+1, C+1), with the bias as the last channel.

    Index V holds zeros. It stands for the entries outside the mask, at V and (as Python's index −1) at −1.

    Args:
        weight, bias: (V·V, C, 1, 1) and (V·V,).
    """
    mask_size = round(len(bias) ** 0.5)
    with_bias = torch.cat((weight.float().flatten(1), bias.float()[:, None] - PAD_VALUE), dim=1)
    return F.pad(with_bias.view(mask_size, mask_size, -1), (0, 0, 0, 1, 0, 1))
