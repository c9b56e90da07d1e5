"""SwapAlign2Nat, the paper's op between the aligned and the natural representation (specification, section 5)."""

import torch
from torch import Tensor

PAD_VALUE = -6.0


def swap_align2nat(aligned: Tensor, scale: int, mask_size: int, pad_value: float = PAD_VALUE) -> Tensor:
    """Masks in the aligned representation to masks in the natural one, at every cell; differentiable.

    This is the whole op. The network needs a few cells only, and gets them from `masks.natural_masks`.

    Args:
        aligned: (N, V·V, H, W), a float dtype; channel v·V + u is entry (v, u) of the masks.
        scale: λ ≥ 1; the output's masks are λ times larger and its map λ times coarser.
        mask_size: V.
        pad_value: what a tap outside the input counts as.

    Returns:
        (N, λV·λV, ⌈H/λ⌉, ⌈W/λ⌉), of the input's dtype.

    Raises:
        ValueError: the channels aren't V·V.
    """
    n, channels, height, width = aligned.shape
    if channels != mask_size**2:
        raise ValueError(
            f"{channels} channels can't be {mask_size}×{mask_size} masks; expected {mask_size**2} channels"
        )
    # with the pad value as zero, a tap outside is one that isn't added
    x = (aligned - pad_value).view(n, mask_size, mask_size, height, width)
    x = x.permute(0, 1, 3, 2, 4)  # (N, V, H, U, W)
    x = _swap_axis(x, scale)  # (N, λV, ⌈H/λ⌉, U, W)
    x = x.permute(0, 3, 4, 1, 2)
    x = _swap_axis(x, scale)  # (N, λU, ⌈W/λ⌉, λV, ⌈H/λ⌉)
    x = x.permute(0, 3, 1, 4, 2) + pad_value  # (N, λV, λU, ⌈H/λ⌉, ⌈W/λ⌉)
    return x.flatten(1, 2)


def first_tap(scale: int, mask_size: int) -> tuple[int, float]:
    """Where the windows of cells lie on the aligned map, along one axis.

    Entry v of cell y's mask samples the map at y·λ + v − λV/2 + ½: halfway between two neighbours where λV is even, at
    one of them where it is odd.

    Returns:
        Of cell 0 and entry 0 the lower neighbour's position, outside the map; the upper neighbours' weight, ½ or 0.
    """
    window = scale * mask_size
    return -(window // 2), (0.5 if window % 2 == 0 else 0.0)


def mask_taps(scale: int, mask_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which entries of an aligned mask make up those of the natural one, along one axis: (v + ½)/λ − ½, linearly.

    Returns:
        The lower neighbours' indices, int64 (λV,), from −1 to V − 1; the upper ones' weights, float64 (λV,).
    """
    position = (torch.arange(scale * mask_size, dtype=torch.float64, device=device) + 0.5) / scale - 0.5
    lower = position.floor()
    return lower.long(), position - lower


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
