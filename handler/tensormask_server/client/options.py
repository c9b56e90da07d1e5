"""The options of a request, as the client's Python arguments, headers and command-line arguments."""

import argparse
from collections.abc import Callable, Sequence
from typing import TypedDict, cast

from tensormask_server.arguments import fraction, tile_overlap, weight, whole_number
from tensormask_server.printable import is_one_line


class Options(TypedDict, total=False):
    """The options of a request. The server has a default for each that is absent or None."""

    score_threshold: float | None  # 0…1; only detections with higher scores
    max_detections: int | None  # only the best ones
    classes: str | int | Sequence[str | int] | None  # only these: names, or the network's numbers from 0
    nms_threshold: float | None  # 0…1: a box is dropped if its IoU with a better one of its class is above it
    mask_threshold: float | None  # above 0, at most 1: a pixel belongs to a mask if its probability is this or more
    tile_size: int | str | None  # pixels of a tile's side, "auto", or "none": in which tiles the network sees the image
    tile_overlap: float | None  # 0…0.9: neighbouring tiles overlap by at least this fraction of a tile's side
    tile_whole: bool | None  # whether the network also sees the whole image once
    stretch: str | None  # auto, none, min-max or percentile: how values beyond 8 bits become 8 bits
    image_id: int | str | None  # of the image, in the formats coco and csv
    file_name: str | None  # of the image, in the formats coco, csv and polygons
    pixel_size: str | None  # such as "0.25um": lengths and areas in this unit, too, in the format csv
    tolerance: float | None  # pixels: how far simplified outlines may be from the exact ones, in the format polygons
    holes: str | None  # fill or keep: whether polygons leave out the holes of masks
    image_data: str | None  # embed or none: whether the format polygons holds the image


# From the name of an option to its type, example and help on the command line. image_id and file_name aren't there,
# because a command sends many images.
ARGUMENTS: dict[str, tuple[Callable[[str], object], str, str]] = {
    "score_threshold": (fraction, "0…1", "only detections with higher scores"),
    "max_detections": (whole_number(0), "N", "at most the best N detections on an image"),
    "classes": (str, "NAME,NAME", "only these classes: names, or the network's numbers from 0"),
    "nms_threshold": (fraction, "0…1", "drop a box if its IoU with a better one of its class is higher"),
    "mask_threshold": (fraction, "0…1", "lowest probability of a pixel of a mask"),
    "tile_size": (str, "PIXELS", "see a large image in tiles of this side; auto: the network's own; none: no tiles"),
    "tile_overlap": (tile_overlap, "FRACTION", "neighbouring tiles overlap by at least this fraction of a tile's side"),
    "tile_whole": (str, "BOOL", "with tiles, whether the network also sees the whole image once: true or false"),
    "stretch": (str, "auto|none|min-max|percentile", "how values beyond 8 bits become 8 bits"),
    "pixel_size": (str, "SIZE", "side of a pixel, such as 0.25um: csv has lengths and areas in this unit, too"),
    "tolerance": (weight, "PIXELS", "polygons: how far simplified outlines may be from the exact ones (server: 0.5)"),
    "holes": (str, "fill|keep", "polygons: fill the holes of masks, or keep them as holes"),
    "image_data": (str, "embed|none", "polygons: with the image in the file, or without it"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds an argument for each option: --score-threshold and so on."""
    for name, (type_, metavar, help_) in ARGUMENTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type_, metavar=metavar, help=help_)


def options_of(parsed: argparse.Namespace) -> Options:
    """The options among parsed arguments. They are None if they weren't given."""
    return cast(Options, {name: getattr(parsed, name) for name in ARGUMENTS})


def option_headers(options: Options) -> dict[str, str]:
    """The headers that request these options, such as Score-Threshold.

    Raises:
        TypeError: an option is unknown.
        ValueError: a value isn't a line of text.
    """
    headers = {}
    for name, value in options.items():
        if name not in Options.__annotations__:
            raise TypeError(f"{name!r} is not an option; expected {', '.join(Options.__annotations__)}")
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            if not is_one_line(text):
                raise ValueError(f"{name} is {text!r}; expected a line of text")
            headers[name.replace("_", "-").title()] = text
    return headers
