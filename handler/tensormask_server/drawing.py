"""Detections drawn on their picture, for people."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tensormask_server.predictor import Detections

MASK_OPACITY = 0.45


def draw_detections(picture: np.ndarray, detections: Detections, class_names: Sequence[str]) -> np.ndarray:
    """
    Args:
        picture: uint8 (H, W, 3), RGB.
        detections: of this picture.
        class_names: by class number.

    Returns:
        A copy, uint8 (H, W, 3), RGB, with each thing's mask in a colour of its own, its box, name and score; the best
        score on top.
    """
    canvas = picture.copy()
    worst_first = range(len(detections) - 1, -1, -1)
    if detections.picture_masks is not None:
        for i in worst_first:
            crop = detections.picture_masks.crops[i]
            _tint(canvas[crop.place], crop.pixels, _colour(i))
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    size = max(10, min(image.size) // 40)
    font = ImageFont.load_default(size)
    for i in worst_first:
        x0, y0, x1, y1 = detections.boxes[i].tolist()
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=_colour(i), width=max(1, size // 6))
        label = f"{class_names[detections.classes[i]]} {detections.scores[i]:.2f}"
        corner = (max(0, min(x0, image.width - draw.textlength(label, font=font))), max(0, y0 - 1.4 * size))
        place = draw.textbbox(corner, label, font=font)
        draw.rectangle((place[0] - 2, place[1] - 2, place[2] + 2, place[3] + 2), fill=_colour(i))
        draw.text(corner, label, fill="black", font=font)
    return np.array(image)


def _tint(canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Mixes the colour into the mask's pixels; through a table, as there are only 256 values."""
    mixed = np.arange(256)[:, None] * (1 - MASK_OPACITY) + np.array(colour) * MASK_OPACITY
    for channel, table in enumerate(mixed.astype(np.uint8).T):
        plane = canvas[..., channel]
        np.copyto(plane, table[plane], where=mask)


def _colour(index: int) -> tuple[int, int, int]:
    """Light and far from its neighbours: hues a golden angle apart, so that black text is readable on each."""
    red, green, blue = colorsys.hls_to_rgb(index * 0.61803 % 1, 0.62, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
