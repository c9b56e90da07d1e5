"""Masks of chosen cells, without those of all others (docs/NETWORK.md, section 5)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tensormask_server.network.align import PAD_VALUE, first_tap, mask_taps


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
    products are interpolated between mask entries. The convolution's output for the whole map is never made.

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
    entries, upper_entry = mask_taps(scale, mask_size, features.device)
    upper_entry = upper_entry.float()
    lower_index, upper_index = entries % (mask_size + 1), entries + 1
    weights = _padded_weights(weight, bias)  # (V+1, V+1, C+1)
    row_weights = torch.lerp(weights[lower_index], weights[upper_index], upper_entry[:, None, None])
    row_weights = row_weights.transpose(1, 2)  # (λV, C+1, V+1)
    entry_pairs = torch.stack((lower_index, upper_index), dim=1)  # (λV, 2)
    masks = []
    for cell_y, cell_x in zip(y.tolist(), x.tolist(), strict=True):
        rows, v = _overlap(cell_y * scale + first + 1 - corner[0], window, sampled.shape[0])
        columns, u = _overlap(cell_x * scale + first + 1 - corner[1], window, sampled.shape[1])
        products = sampled[rows, columns] @ row_weights[v]  # (rows, columns, V+1)
        lower, upper = products.gather(2, entry_pairs[u].expand(len(products), -1, -1)).unbind(2)
        inside = torch.lerp(lower, upper, upper_entry[u])  # (rows, columns)
        masks.append(F.pad(inside, (u.start, window - u.stop, v.start, window - v.stop)) + PAD_VALUE)
    return torch.stack(masks) if masks else sampled.new_empty(0, window, window)


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


def _overlap(start: int, window: int, length: int) -> tuple[slice, slice]:
    """The part of an axis of `length` that a window from `start` on covers, and the part of the window on the axis."""
    low, high = min(max(start, 0), length), min(max(start + window, 0), length)
    return slice(low, high), slice(low - start, high - start)


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
