"""Encodes detections as LabelMe's polygons."""

import base64
from typing import Any

import numpy as np
from contourpy import FillType, contour_generator

from tensormask_server.prediction.image_masks import MaskCrop
from tensormask_server.responses.png_files import png_of
from tensormask_server.responses.result import Result

LABELME_VERSION = "5.5.0"  # the version of the file format


def labelme_file(result: Result) -> dict[str, Any]:
    """Encodes an image and its masks as LabelMe's JSON.

    A polygon runs midway between the centres of a mask's outermost pixels and the centres of their neighbours. A pixel
    belongs to the mask if its centre is inside. Polygons have no holes. The holes of a mask are filled.

    Args:
        result: with masks.

    Returns:
        The tree of a LabelMe file, with the image in it as a PNG. Points are x, y in pixels of the image. The centre of
        the first pixel is at 0.5, 0.5. A mask of several pieces has one shape for each piece, with the same group_id.
    """
    detections = result.detections
    assert detections.image_masks is not None
    shapes = []
    for i, (crop, class_number) in enumerate(zip(detections.image_masks, detections.classes.tolist(), strict=True)):
        outlines = _outlines(crop)
        for outline in outlines:
            shapes.append(
                {
                    "label": result.model.class_names[class_number],
                    "points": outline,
                    "group_id": i + 1 if len(outlines) > 1 else None,
                    "description": f"score {detections.scores[i]:.3f}",
                    "shape_type": "polygon",
                    "flags": {},
                }
            )
    height, width = result.image.shape[:2]
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": "image.png",
        "imageData": base64.b64encode(png_of(result.image)).decode(),
        "imageHeight": height,
        "imageWidth": width,
    }


def _outlines(crop: MaskCrop) -> list[list[list[float]]]:
    """The outer boundary of each piece, as points x, y in pixels of the image."""
    inside = np.pad(crop.pixels, 1).astype(np.float64)
    contours = contour_generator(z=inside, fill_type=FillType.OuterOffset)
    pieces: Any = contours.filled(0.5, np.inf)
    # a piece's points are its outer boundary, with the first point again at the end, and then its holes
    outers = [points[: offsets[1] - 1] for points, offsets in zip(*pieces, strict=True)]
    return [(outer + np.array([crop.left - 0.5, crop.top - 0.5])).tolist() for outer in outers]
