"""SwapAlign2Nat, from the aligned representation of masks to the natural one (docs/NETWORK.md, section 5).

Each entry of a natural mask samples the aligned representation linearly along four axes: two of the map, and two of
the mask. Both axes of a pair are alike, so each function describes one axis. `masks.py` applies the op to single cells.
"""

import torch
from torch import Tensor

PAD_VALUE = -6.0  # the logit of what lies outside the aligned representation


def first_tap(scale: int, mask_size: int) -> tuple[int, float]:
    """Where the masks of cells sample the aligned map, along one of its axes.

    Entry v of cell y's mask samples the map at y·λ + v − λV/2 + ½: halfway between two neighbours where λV is even, at
    one of them where it is odd.

    Returns:
        For entry 0 of cell 0, the lower neighbour's position, which is outside the map. For all entries, the upper
        neighbour's weight, ½ or 0.
    """
    window = scale * mask_size
    return -(window // 2), (0.5 if window % 2 == 0 else 0.0)


def mask_taps(scale: int, mask_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the entries of a natural mask sample the aligned one, along one of its axes: at (v + ½)/λ − ½.

    Returns:
        The lower neighbours' indices, int64 (λV,), from −1 to V − 1. The upper neighbours' weights, float64 (λV,).
    """
    position = (torch.arange(scale * mask_size, dtype=torch.float64, device=device) + 0.5) / scale - 0.5
    lower = position.floor()
    return lower.long(), position - lower
