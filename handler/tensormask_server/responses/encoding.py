"""Encodes a result as the body of a response, in each of `formats.FORMATS`."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tensormask_server.bad_request import BadRequest
from tensormask_server.formats import FORMATS, listed
from tensormask_server.responses.arrays import gzipped_torch, npz
from tensormask_server.responses.coco import coco_document
from tensormask_server.responses.cutouts import cutouts
from tensormask_server.responses.drawing import png
from tensormask_server.responses.labelmap import labelmap
from tensormask_server.responses.polygons import labelme_file
from tensormask_server.responses.result import Result
from tensormask_server.responses.table import csv_table

# from a format's name to its encoder; a JSON format's encoder returns a tree, and several images have one tree each
ENCODERS: dict[str, Callable[[Result], bytes | dict[str, Any]]] = {
    "coco": coco_document,
    "png": png,
    "labelmap": labelmap,
    "polygons": labelme_file,
    "csv": csv_table,
    "cutouts": cutouts,
    "npz": lambda result: npz(result.detections),
    "torch": lambda result: gzipped_torch(result.detections),
}


def encode(result: Result) -> bytes:
    """Encodes the body of a response about one image.

    Args:
        result: the image, its detections, and the requested format.

    Returns:
        The body, of the format's media type.

    Raises:
        BadRequest: the format needs masks, and the network makes none.
    """
    _check_masks(result)
    encoded = ENCODERS[result.response.format](result)
    return encoded if isinstance(encoded, bytes) else json_bytes(_with_notes(encoded, result))


def json_tree(result: Result) -> dict[str, Any]:
    """Encodes one image's part of a response in JSON.

    Args:
        result: the image, its detections, and the requested format.

    Returns:
        A tree that `json_bytes` can write.

    Raises:
        BadRequest: the format isn't JSON, or it needs masks and the network makes none.
    """
    format = result.response.format
    if not FORMATS[format].is_json:
        expected = f"format: {listed([each for each in FORMATS.values() if each.is_json])}"
        raise BadRequest(
            f"format is {format}, which isn't JSON, and the response to several images is JSON", expected, "option"
        )
    _check_masks(result)
    tree = ENCODERS[format](result)
    assert isinstance(tree, dict)
    return _with_notes(tree, result)


def error_json(error: str, expected: str) -> bytes:
    """Encodes the body of an error response.

    Args:
        error: what was found.
        expected: what would be accepted.
    """
    return json_bytes({"error": error, "expected": expected})


def json_bytes(tree: Mapping[str, Any]) -> bytes:
    """Encodes JSON in UTF-8, without spaces."""
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()


def _with_notes(tree: dict[str, Any], result: Result) -> dict[str, Any]:
    return {**tree, "notes": list(result.notes)} if result.notes else tree


def _check_masks(result: Result) -> None:
    format = result.response.format
    if FORMATS[format].needs_masks and result.detections.image_masks is None:
        expected = f"format: {listed([each for each in FORMATS.values() if not each.needs_masks])}"
        raise BadRequest(
            f"format is {format}, which needs masks, and this network finds only boxes, no masks", expected, "option"
        )
