"""What a request chooses about its response: the format, and options that only some formats use. Needs no package."""

from dataclasses import dataclass

from tensormask_server.option_choices import (
    DEFAULT_FORMAT,
    DEFAULT_HOLES,
    DEFAULT_IMAGE_DATA,
    DEFAULT_TOLERANCE,
    Holes,
    ImageData,
)
from tensormask_server.pixel_sizes import PixelSize


@dataclass(frozen=True)
class ResponseOptions:
    """How the detections on an image are encoded."""

    format: str = DEFAULT_FORMAT  # one of FORMATS
    image_id: int | str | None = None  # in coco and csv
    file_name: str | None = None  # of the image, in coco, csv and polygons
    pixel_size: PixelSize | None = None  # csv: lengths and areas in its unit, too
    tolerance: float = (
        DEFAULT_TOLERANCE  # polygons: how far a simplified outline may be from the exact one, in pixels; 0: exact
    )
    holes: Holes = DEFAULT_HOLES  # polygons: whether the holes of masks are filled, or stay holes
    image_data: ImageData = DEFAULT_IMAGE_DATA  # polygons: whether the image is in the file


DEFAULT_RESPONSE = ResponseOptions()
