"""Draws instances on a frame: masks in the colours of their ids, and labels."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tensormask_server.instances import Instances
from tensormask_server.mask_colours import colour_of, tint
from tensormask_server.video.tracks import Ids

MARGIN = 2  # pixels around a label's text


def draw_instances(pixels: np.ndarray, instances: Instances, ids: Ids) -> np.ndarray:
    """Draws each instance's mask and a label with its class and id. The best score is on top.

    Args:
        pixels: of the frame, uint8 (H, W, 3), RGB.
        instances: on this frame, or on an earlier one of the same size.
        ids: of the instances. An instance without one has the colour of its class.

    Returns:
        A new array, uint8 (H, W, 3), RGB.
    """
    canvas = pixels.copy()
    worst_first = range(len(instances) - 1, -1, -1)
    colours = [colour_of(instances.category_ids[i].item() if id_ is None else id_ - 1) for i, id_ in enumerate(ids)]
    places = [_inside(box, instances.width, instances.height) for box in instances.boxes]
    if instances.masks is not None:
        for i in worst_first:
            place = _around(instances.masks[i])
            tint(canvas[place], instances.masks[i][place], colours[i])
    drawn = Image.fromarray(canvas)
    draw = ImageDraw.Draw(drawn)
    font = ImageFont.load_default(max(10, min(drawn.size) // 40))
    for i in worst_first:
        rows, columns = places[i]
        if instances.masks is None:
            draw.rectangle((columns.start, rows.start, columns.stop, rows.stop), outline=colours[i], width=2)
        label = instances.names[i] if ids[i] is None else f"{instances.names[i]} {ids[i]}"
        _, _, width, height = draw.textbbox((0, 0), label, font=font)
        left = max(0, min(columns.start, drawn.width - int(width) - 2 * MARGIN))
        top = max(0, rows.start - int(height) - 2 * MARGIN)
        draw.rectangle((left, top, left + width + 2 * MARGIN, top + height + 2 * MARGIN), fill=colours[i])
        draw.text((left + MARGIN, top + MARGIN), label, fill="black", font=font)
    return np.array(drawn)


def _inside(box: np.ndarray, width: int, height: int) -> tuple[slice, slice]:
    """The rows and columns of whole pixels that hold a box."""
    x0, y0 = np.clip(np.floor(box[:2]), 0, (width, height)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(box[2:]), 0, (width, height)).astype(int).tolist()
    return slice(y0, y1), slice(x0, x1)


def _around(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that hold a mask, which can reach beyond its box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(*_first_and_end(rows)), slice(*_first_and_end(columns))


def _first_and_end(indices: np.ndarray) -> tuple[int, int]:
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else (0, 0)
