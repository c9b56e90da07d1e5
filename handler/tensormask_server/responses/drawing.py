"""Draws detections onto their image."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tensormask_server.images.large import all_of
from tensormask_server.mask_colours import colour_of, tint
from tensormask_server.prediction.detections import Detections
from tensormask_server.responses.png_files import png_of
from tensormask_server.responses.result import Result

MARGIN = 2  # pixels around a label's text


def png(result: Result) -> bytes:
    """Encodes a PNG of the image with masks, boxes, names and scores drawn on it."""
    return png_of(draw_detections(all_of(result.image), result.detections, result.model.class_names))


def draw_detections(image: np.ndarray, detections: Detections, class_names: Sequence[str]) -> np.ndarray:
    """Draws each detection in its own colour: its mask, box, name and score. The best score is on top.

    Args:
        image: uint8 (H, W, 3), RGB.
        detections: on this image.
        class_names: by class number.

    Returns:
        A copy of the image, uint8 (H, W, 3), RGB.
    """
    canvas = image.copy()
    worst_first = range(len(detections) - 1, -1, -1)
    if detections.image_masks is not None:
        for i in worst_first:
            crop = detections.image_masks.crops[i]
            tint(canvas[crop.place], crop.pixels, colour_of(i))
    drawn = Image.fromarray(canvas)
    draw = ImageDraw.Draw(drawn)
    size = max(10, min(drawn.size) // 40)
    font = ImageFont.load_default(size)
    labels = [
        f"{class_names[number]} {score:.2f}"
        for number, score in zip(detections.classes.tolist(), detections.scores.tolist(), strict=True)
    ]
    texts = [draw.textbbox((0, 0), label, font=font) for label in labels]  # the rectangle of pixels of a text at 0, 0
    sizes = [(x1 - x0 + 2 * MARGIN, y1 - y0 + 2 * MARGIN) for x0, y0, x1, y1 in texts]
    plates = _label_places(detections.boxes.tolist(), sizes, drawn.width, drawn.height)
    for i in worst_first:
        x0, y0, x1, y1 = detections.boxes[i].tolist()
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour_of(i), width=max(1, size // 6))
        left, top, right, bottom = plates[i]
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour_of(i))
        corner = left + MARGIN - texts[i][0], top + MARGIN - texts[i][1]
        draw.text(corner, labels[i], fill="black", font=font)
    return np.array(drawn)


def _label_places(
    boxes: Sequence[Sequence[float]], sizes: Sequence[tuple[float, float]], width: int, height: int
) -> list[tuple[float, float, float, float]]:
    """Finds a place for each label: the first place around its box that covers no label of a better score.

    Args:
        boxes: x0 y0 x1 y1 in pixels of the image, best score first.
        sizes: of the boxes' labels, width and height in pixels.
        width, height: of the image, in pixels.

    Returns:
        x0 y0 x1 y1 of each label, in pixels of the image. If no place is free, the label covers others.
    """
    places: list[tuple[float, float, float, float]] = []
    for (x0, y0, x1, y1), (label_width, label_height) in zip(boxes, sizes, strict=True):
        possible = []
        for left in (x0, x1 - label_width):
            for top in (y0 - label_height, y0, y1 - label_height, y1):
                left_inside = max(0.0, min(left, width - label_width))
                top_inside = max(0.0, min(top, height - label_height))
                possible.append((left_inside, top_inside, left_inside + label_width, top_inside + label_height))
        free = (place for place in possible if not any(_overlap(place, other) for other in places))
        places.append(next(free, possible[0]))
    return places


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
