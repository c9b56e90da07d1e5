"""The format cutouts: a zip of PNGs, each one instance before a transparent background."""

import io
import re
import zipfile

import numpy as np

from tensormask_server.bad_request import BadRequest
from tensormask_server.images.large import part_of
from tensormask_server.prediction.image_masks import MaskCrop
from tensormask_server.responses.png_files import png_of
from tensormask_server.responses.result import Result

LONGEST_CLASS = 60  # characters of a class name in a file's name


def cutouts(result: Result) -> bytes:
    """Encodes a zip of PNGs with an alpha channel, one for each mask that has pixels.

    A PNG is as large as the smallest rectangle around its mask. Pixels outside of the mask are transparent and black.
    A file's name has the instance's number, class and score: "001_cat_0.93.png". The same result gives the same bytes.

    Args:
        result: with masks.

    Raises:
        BadRequest: the PNGs have more pixels than the response may have bytes. It is raised before one is encoded.
            Or the zip has more bytes; no further PNG is encoded then.
    """
    detections, limit = result.detections, result.max_bytes
    assert detections.image_masks is not None
    places = [_extent(crop) for crop in detections.image_masks]
    pixels = sum(rows * columns for rows, columns in (_size(place) for place in places))
    if limit is not None and pixels > limit:  # a photograph's PNG has more bytes than pixels
        raise _too_large(f"the cut-outs have {pixels} pixels, more than the {limit} bytes")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # not deflated, as a PNG is already
        for i, (crop, place) in enumerate(zip(detections.image_masks, places, strict=True)):
            if 0 in _size(place):
                continue
            mask = crop.pixels[place]
            rgba = np.zeros((*mask.shape, 4), np.uint8)
            rows, columns = place
            pixels_there = part_of(result.image, crop.top + rows.start, crop.left + columns.start, *mask.shape)
            np.copyto(rgba[..., :3], pixels_there, where=mask[..., None])
            rgba[..., 3] = mask * np.uint8(255)
            name = _name(i + 1, result.model.class_names[detections.classes[i]], float(detections.scores[i]))
            archive.writestr(zipfile.ZipInfo(name), png_of(rgba))  # ZipInfo has a fixed date
            if limit is not None and content.tell() > limit:
                raise _too_large(f"the first {i + 1} of {len(places)} cut-outs have more than the {limit} bytes")
    return content.getvalue()


def _too_large(found: str) -> BadRequest:
    expected = "a smaller image, a higher score_threshold, fewer max_detections or format coco"
    return BadRequest(f"{found} that a response may have", expected, "response")


def _extent(crop: MaskCrop) -> tuple[slice, slice]:
    """The rows and columns of the crop that have pixels which are on."""
    pixels = crop.pixels
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _size(place: tuple[slice, slice]) -> tuple[int, int]:
    rows, columns = place
    return rows.stop - rows.start, columns.stop - columns.start


def _name(number: int, class_name: str, score: float) -> str:
    """A file's name of ASCII letters, digits and -_. only, whatever the class is called."""
    safe_class = re.sub(r"[^A-Za-z0-9_]+", "-", class_name).strip("-")[:LONGEST_CLASS]
    return "_".join(filter(None, (f"{number:03}", safe_class, f"{score:.2f}"))) + ".png"
