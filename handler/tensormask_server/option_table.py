"""The table of a request's options. The parser, the documentation and the OpenAPI document are made from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensormask_server.formats import FORMATS, OTHER_NAMES
from tensormask_server.option_choices import (
    DEFAULT_FORMAT,
    DEFAULT_HOLES,
    DEFAULT_IMAGE_DATA,
    DEFAULT_STRETCH,
    DEFAULT_TOLERANCE,
    HOLES,
    IMAGE_DATA,
    STRETCHES,
)
from tensormask_server.option_values import (
    LARGEST_ID,
    LONGEST_TEXT,
    MOST_CLASSES,
    MOST_DETECTIONS,
    MOST_TOLERANCE,
    checked_boolean,
    checked_classes,
    checked_file_name,
    checked_fraction,
    checked_image_id,
    checked_max_detections,
    checked_pixel_size,
    checked_positive_fraction,
    checked_tile_overlap,
    checked_tile_size,
    checked_tolerance,
    one_of,
)
from tensormask_server.pixel_sizes import LONGEST as LONGEST_PIXEL_SIZE
from tensormask_server.tile_options import AUTO, DEFAULT_OVERLAP, LEAST_TILE, MOST_OVERLAP, NO_TILES

Schema = Mapping[str, Any]  # a JSON Schema

TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}
CLASS: Schema = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1}]}
CLASSES: Schema = {"type": "array", "minItems": 1, "maxItems": MOST_CLASSES, "items": CLASS}


@dataclass(frozen=True)
class Option:
    """One option of a request."""

    check: Callable[[str, Any, Sequence[str]], Any]  # from its name, its value and the class names to the used value
    schema: Schema  # of the value in JSON. In a query, a form or a header stands its text
    meaning: str  # the accepted values and what they do, in Markdown
    default: str  # in words, in Markdown


# by name, in the order of the documentation
OPTIONS: dict[str, Option] = {
    "score_threshold": Option(
        checked_fraction,
        {"type": "number", "minimum": 0, "maximum": 1},
        "0 to 1. Detections have scores above it",
        "the archive's `--threshold`",
    ),
    "max_detections": Option(
        checked_max_detections,
        {"type": "integer", "minimum": 0, "maximum": MOST_DETECTIONS},
        f"0 to {MOST_DETECTIONS}. The response has the best ones only",
        "the configuration's, 100",
    ),
    "classes": Option(
        checked_classes,
        {"anyOf": [CLASSES, *CLASS["anyOf"]]},
        "class names, or the network's class numbers, separated by commas. The numbers start at 0; they are those of "
        "`pred_classes`, not of `category_id`",
        "all classes",
    ),
    "nms_threshold": Option(
        checked_fraction,
        {"type": "number", "minimum": 0, "maximum": 1},
        "0 to 1. Of two boxes of one class with a larger IoU, the one with the lower score is dropped",
        "the configuration's",
    ),
    "mask_threshold": Option(
        checked_positive_fraction,
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "above 0, up to 1. A pixel belongs to the mask if its probability is at least this",
        "0.5",
    ),
    "tile_size": Option(
        checked_tile_size,
        {"anyOf": [{"type": "integer", "minimum": LEAST_TILE}, {"type": "string", "enum": [AUTO, NO_TILES]}]},
        f"pixels of a [tile](#large-images-in-tiles)'s side, {LEAST_TILE} or more, or `{AUTO}`. `{NO_TILES}`: no tiles",
        f"the archive's `--tile-size`, `{NO_TILES}`",
    ),
    "tile_overlap": Option(
        checked_tile_overlap,
        {"type": "number", "minimum": 0, "maximum": MOST_OVERLAP},
        f"0 to {MOST_OVERLAP}. Neighbouring tiles overlap by at least this fraction of a tile's side",
        f"the archive's `--tile-overlap`, {DEFAULT_OVERLAP}",
    ),
    "tile_whole": Option(
        checked_boolean,
        {"type": "boolean"},
        "`true` or `false`: whether the network also sees the whole image once",
        "`true`, unless the archive has `--no-tile-whole`",
    ),
    "stretch": Option(
        one_of(*STRETCHES),
        {"type": "string", "enum": list(STRETCHES)},
        "`auto`, `none`, `min-max` or `percentile`: how [more than 8 bits](#more-than-8-bits) become 8",
        f"`{DEFAULT_STRETCH}`",
    ),
    "format": Option(
        one_of(*FORMATS, other_names=OTHER_NAMES),
        {"type": "string", "enum": list(FORMATS)},
        "one of the [formats](#formats)",
        f"`{DEFAULT_FORMAT}`; `torch` for `img_data`",
    ),
    "image_id": Option(
        checked_image_id,
        {"anyOf": [{"type": "integer", "minimum": 0, "maximum": LARGEST_ID}, TEXT]},
        "`coco`, `csv`: the image's number in your data set, or a text. It is repeated for each instance",
        "none",
    ),
    "file_name": Option(
        checked_file_name,
        TEXT,
        "`coco`, `csv`, `polygons`: the image's file, likewise",
        "none",
    ),
    "pixel_size": Option(
        checked_pixel_size,
        {"type": "string", "minLength": 2, "maxLength": LONGEST_PIXEL_SIZE, "examples": ["0.25um"]},
        "`csv`: the side of a pixel, as a number with nm, um (or µm), mm, cm, m, km, in or ft: `0.25um`",
        "none",
    ),
    "tolerance": Option(
        checked_tolerance,
        {"type": "number", "minimum": 0, "maximum": MOST_TOLERANCE},
        f"`polygons`: 0 to {MOST_TOLERANCE} pixels. [Outlines](#polygons) are simplified by at most this distance. 0 "
        "removes only points on straight lines",
        f"{DEFAULT_TOLERANCE}",
    ),
    "holes": Option(
        one_of(*HOLES),
        {"type": "string", "enum": list(HOLES)},
        "`polygons`: `fill` makes the [holes](#polygons) of masks part of the polygons, and `keep` keeps them as holes",
        f"`{DEFAULT_HOLES}`",
    ),
    "image_data": Option(
        one_of(*IMAGE_DATA),
        {"type": "string", "enum": list(IMAGE_DATA)},
        "`polygons`: `embed`, or `none`, which leaves the image out of the file",
        f"`{DEFAULT_IMAGE_DATA}`",
    ),
}
