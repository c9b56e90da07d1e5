"""The words that some options of a request take, and their defaults, for the rooms that use them and for the table."""

from typing import Literal, get_args

Holes = Literal["fill", "keep"]
ImageData = Literal["embed", "none"]

STRETCHES = ("auto", "none", "min-max", "percentile")
HOLES: tuple[Holes, ...] = get_args(Holes)
IMAGE_DATA: tuple[ImageData, ...] = get_args(ImageData)

DEFAULT_STRETCH = "auto"
DEFAULT_FORMAT = "coco"
DEFAULT_TOLERANCE = 0.5  # pixels
DEFAULT_HOLES: Holes = "fill"
DEFAULT_IMAGE_DATA: ImageData = "embed"
