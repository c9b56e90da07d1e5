"""The colours of instances on a drawing."""

import colorsys

import numpy as np

MASK_OPACITY = 0.45


def colour_of(index: int) -> tuple[int, int, int]:
    """A light colour on which black text can be read. Neighbours differ: hues are a golden angle apart."""
    red, green, blue = colorsys.hls_to_rgb(index * 0.61803 % 1, 0.62, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def tint(canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Mixes the colour into the mask's pixels. It uses a table, because a channel has only 256 values.

    Args:
        canvas: uint8 (h, w, 3), changed in place.
        mask: bool (h, w).
    """
    mixed = np.arange(256)[:, None] * (1 - MASK_OPACITY) + np.array(colour) * MASK_OPACITY
    for channel, table in enumerate(mixed.astype(np.uint8).T):
        plane = canvas[..., channel]
        np.copyto(plane, table[plane], where=mask)
