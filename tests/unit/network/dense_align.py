"""SwapAlign2Nat at every cell of a map, for tests (docs/NETWORK.md, section 5)."""

import torch
from tensormask_server.network.align import PAD_VALUE, first_tap, mask_taps
from torch import Tensor


def swap_align2nat(aligned: Tensor, scale: int, mask_size: int, pad_value: float = PAD_VALUE) -> Tensor:
    """Masks in the aligned representation to masks in the natural one, at every cell; differentiable.

    The network computes a few cells only, by `masks.natural_masks`. This is what it is compared with.

    Args:
        aligned: (N, V·V, H, W), a float dtype; channel v·V + u is entry (v, u) of the masks.
        scale: λ ≥ 1; the output's masks are λ times larger and its map λ times coarser.
        mask_size: V.
        pad_value: what a tap outside the input counts as.

    Returns:
        (N, λV·λV, ⌈H/λ⌉, ⌈W/λ⌉), of the input's dtype.
    """
    n, _, height, width = aligned.shape
    # with the pad value as zero, a tap outside is one that isn't added
    x = (aligned - pad_value).view(n, mask_size, mask_size, height, width)
    x = x.permute(0, 1, 3, 2, 4)  # (N, V, H, U, W)
    x = _swap_axis(x, scale)  # (N, λV, ⌈H/λ⌉, U, W)
    x = x.permute(0, 3, 4, 1, 2)
    x = _swap_axis(x, scale)  # (N, λU, ⌈W/λ⌉, λV, ⌈H/λ⌉)
    x = x.permute(0, 3, 1, 4, 2) + pad_value  # (N, λV, λU, ⌈H/λ⌉, ⌈W/λ⌉)
    return x.flatten(1, 2)


def _swap_axis(x: Tensor, scale: int) -> Tensor:
    """(N, V, H, …) to (N, λV, ⌈H/λ⌉, …), with zeros outside."""
    mask_size, length = x.shape[1:3]
    first, upper_position = first_tap(scale, mask_size)
    cells = torch.arange(-(-length // scale), device=x.device)
    positions = first + torch.arange(scale * mask_size, device=x.device)[:, None] + scale * cells  # (λV, ⌈H/λ⌉)
    entries, upper_entry = (tap[:, None] for tap in mask_taps(scale, mask_size, x.device))  # (λV, 1)
    swapped = x.new_zeros(())
    for entry, entry_weight in ((entries, 1 - upper_entry), (entries + 1, upper_entry)):
        for position, position_weight in ((positions, 1 - upper_position), (positions + 1, upper_position)):
            inside = (entry >= 0) & (entry < mask_size) & (position >= 0) & (position < length)
            weight = (entry_weight * position_weight * inside).to(x.dtype)
            taps = x[:, entry.clamp(0, mask_size - 1), position.clamp(0, length - 1)]
            swapped = swapped + taps * weight.view(*weight.shape, *(1,) * (x.dim() - 3))
    return swapped
