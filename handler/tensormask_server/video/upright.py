"""Turns decoded frames upright, as their display matrix says. Phones store videos as the sensor sees them."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame

ONE = 1 << 16
IDENTITY = (ONE, 0, 0, ONE)


def upright_pixels(frame: "VideoFrame") -> np.ndarray:
    """Converts a frame to RGB as a player shows it.

    Args:
        frame: decoded, in any pixel format.

    Returns:
        uint8 (H, W, 3), RGB, contiguous. H and W are swapped if the matrix turns by a quarter.
    """
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(_turned(pixels, display_matrix(frame)))


def display_matrix(frame: "VideoFrame") -> tuple[int, int, int, int]:
    """The part (a, b, c, d) of a frame's display matrix: x' = a·x + c·y and y' = b·x + d·y, in units of 2⁻¹⁶."""
    try:
        data: Any = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return IDENTITY
        a, b, _, c, d, *_ = np.frombuffer(data, np.int32).tolist()
        return a, b, c, d
    except ValueError:  # PyAV doesn't know a type of side data; it still knows the angle, without a reflection
        return {90: (0, -ONE, ONE, 0), -90: (0, ONE, -ONE, 0), 180: (-ONE, 0, 0, -ONE), -180: (-ONE, 0, 0, -ONE)}.get(
            frame.rotation, IDENTITY
        )


def is_quarter_turn(matrix: tuple[int, int, int, int]) -> bool:
    """Whether a matrix of `display_matrix` swaps width and height."""
    a, b, _, _ = matrix
    return abs(b) > abs(a)


def _turned(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = matrix
    if is_quarter_turn(matrix):
        pixels, a, d = pixels.swapaxes(0, 1), c, b  # x' is now c·y, and y' is b·x
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
