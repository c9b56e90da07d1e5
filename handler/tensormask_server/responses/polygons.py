"""Encodes detections as LabelMe's polygons."""

import base64
from itertools import pairwise
from typing import Any

import numpy as np
from contourpy import FillType, contour_generator

from tensormask_server.bad_request import BadRequest
from tensormask_server.images.large import all_of
from tensormask_server.prediction.image_masks import MaskCrop
from tensormask_server.responses.outlines import Outline, simplified
from tensormask_server.responses.png_files import png_of
from tensormask_server.responses.result import Result

LARGEST_MASK = 1 << 26  # pixels of a mask's rectangle; each takes 8 bytes while its outline is computed
LABELME_VERSION = "5.5.0"  # the version of the file format


def labelme_file(result: Result) -> dict[str, Any]:
    """Encodes an image and its masks as LabelMe's JSON.

    An exact polygon runs midway between the centres of a mask's outermost pixels and the centres of their neighbours. A
    pixel belongs to the mask if its centre is inside. The option `tolerance` simplifies polygons: see `simplified`.

    A polygon has no holes. By the option `holes`, the holes of a mask are filled, or the polygon goes from its outer
    boundary to each hole, around it, and back the same way. A tool that fills such a polygon leaves out the holes.

    Args:
        result: with masks.

    Returns:
        The tree of a LabelMe file, with the image in it as a PNG, or without it by the option `image_data`. Points are
        x, y in pixels of the image. The centre of the first pixel is at 0.5, 0.5. A mask of several pieces has one
        shape for each piece, with the same group_id.

    Raises:
        BadRequest: a mask is too large for its outline to be computed.
    """
    detections, response = result.detections, result.response
    assert detections.image_masks is not None
    largest = max((crop.pixels_spanned for crop in detections.image_masks), default=0)
    if largest > LARGEST_MASK:
        raise BadRequest(
            f"a mask spans {largest} pixels, more than the {LARGEST_MASK} of which polygons are made",
            "format coco, a smaller image, or a higher score_threshold",
            "response",
        )
    shapes = []
    for i, (crop, class_number) in enumerate(zip(detections.image_masks, detections.classes.tolist(), strict=True)):
        outlines = [simplified(each, response.tolerance) for each in _outlines(crop, response.holes == "keep")]
        for outline in outlines:
            points = outline.one_ring() + np.array([crop.left - 0.5, crop.top - 0.5])
            shapes.append(
                {
                    "label": result.model.class_names[class_number],
                    "points": points.tolist(),
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
        "imagePath": response.file_name or "image.png",
        "imageData": base64.b64encode(png_of(all_of(result.image))).decode()
        if response.image_data == "embed"
        else None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _outlines(crop: MaskCrop, with_holes: bool) -> list[Outline]:
    """The outline of each piece, in pixels of the crop with a frame of one pixel: pixel centres are whole numbers."""
    inside = np.pad(crop.pixels, 1).astype(np.float64)
    contours = contour_generator(z=inside, fill_type=FillType.OuterOffset)
    pieces: Any = contours.filled(0.5, np.inf)
    outlines = []
    for points, offsets in zip(*pieces, strict=True):
        rings = [points[start : stop - 1] for start, stop in pairwise(offsets)]
        outlines.append(Outline(rings if with_holes else rings[:1]))
    return outlines
