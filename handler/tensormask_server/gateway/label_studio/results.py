"""The regions of Label Studio's results, from the server's response.

Source: "Label Studio JSON format of annotated tasks" and the results of the tags BrushLabels, PolygonLabels and
RectangleLabels in Label Studio's documentation.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from tensormask_server.gateway.errors import bad_request
from tensormask_server.gateway.label_studio.labels import Labelling
from tensormask_server.gateway.label_studio.rle import brush_rle
from tensormask_server.gateway.segmentation import polygon_score

LARGEST_BRUSHED = 1 << 26  # pixels of an image; the server makes no polygons of larger masks either
LONGEST_CLASSES = 3000  # characters in a URL that may have 4000

Region = dict[str, Any]


def request_options(labelling: Labelling) -> dict[str, str]:
    """The options of the request whose response `regions` takes."""
    options = {"format": "coco"}
    if labelling.control.tool == "polygonlabels":
        options = {"format": "polygons", "image_data": "none"}
    if labelling.control.score_threshold is not None:
        options["score_threshold"] = str(labelling.control.score_threshold)
    classes = ",".join(map(str, labelling.classes))
    return options | ({"classes": classes} if 0 < len(classes) <= LONGEST_CLASSES else {})


def regions(labelling: Labelling, response: Mapping[str, Any]) -> list[Region]:
    """Makes the regions of one control.

    Args:
        labelling: the control with its labels.
        response: the server's, to a request with `request_options`.

    Returns:
        The regions, best score first. Coordinates are in percent of the upright image's width and height. A polygon of
        several pieces has one region for each. A mask without pixels has none.

    Raises:
        GatewayError: the image is too large for brush masks, or the network has no masks: 400.
    """
    return _MADE[labelling.control.tool](labelling, response)


def _brushes(labelling: Labelling, response: Mapping[str, Any]) -> list[Region]:
    height, width = response["height"], response["width"]
    if height * width > LARGEST_BRUSHED:
        raise bad_request(
            f"the image has {height * width} pixels, more than the {LARGEST_BRUSHED} of which brush masks are made",
            "a smaller image, or RectangleLabels in the labelling configuration",
        )
    found = []
    for instance, label in _labelled(labelling, response):
        if "segmentation" not in instance:
            raise bad_request(
                "the network has no masks, and the project has BrushLabels",
                "RectangleLabels in the labelling configuration",
            )
        if instance["area"] > 0:
            rle = brush_rle(instance["segmentation"]["counts"], height, width)
            value = {"format": "rle", "rle": rle}
            found.append(_region(labelling, label, value, instance["score"], height, width))
    return found


def _rectangles(labelling: Labelling, response: Mapping[str, Any]) -> list[Region]:
    height, width = response["height"], response["width"]
    found = []
    for instance, label in _labelled(labelling, response):
        x, y, box_width, box_height = instance["bbox"]
        value = {
            "x": 100 * x / width,
            "y": 100 * y / height,
            "width": 100 * box_width / width,
            "height": 100 * box_height / height,
            "rotation": 0,
        }
        found.append(_region(labelling, label, value, instance["score"], height, width))
    return found


def _polygons(labelling: Labelling, response: Mapping[str, Any]) -> list[Region]:
    height, width = response["imageHeight"], response["imageWidth"]
    found = []
    for shape in response["shapes"]:
        if label := labelling.labels.get(shape["label"]):
            points = [[100 * x / width, 100 * y / height] for x, y in shape["points"]]
            value = {"points": points, "closed": True}
            found.append(_region(labelling, label, value, polygon_score(shape), height, width))
    return found


_MADE: dict[str, Callable[[Labelling, Mapping[str, Any]], list[Region]]] = {
    "brushlabels": _brushes,
    "polygonlabels": _polygons,
    "rectanglelabels": _rectangles,
}


def _labelled(labelling: Labelling, response: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """The instances of the format coco that have a label, with it."""
    labels = labelling.labels
    return [(each, labels[each["category_name"]]) for each in response["instances"] if each["category_name"] in labels]


def _region(labelling: Labelling, label: str, value: dict[str, Any], score: float, height: int, width: int) -> Region:
    control = labelling.control
    return {
        "id": uuid.uuid4().hex[:10],
        "from_name": control.name,
        "to_name": control.image,
        "type": control.tool,
        "origin": "prediction",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": score,
        "value": {**value, control.tool: [label]},
    }
