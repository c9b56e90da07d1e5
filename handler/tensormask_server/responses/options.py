"""What a request chooses about its response: the format, and options that only some formats use. Needs no package."""

from dataclasses import dataclass
from typing import Literal, get_args

from tensormask_server.pixel_sizes import PixelSize

Holes = Literal["fill", "keep"]
ImageData = Literal["embed", "none"]
HOLES: tuple[Holes, ...] = get_args(Holes)
IMAGE_DATA: tuple[ImageData, ...] = get_args(ImageData)


@dataclass(frozen=True)
class ResponseOptions:
    """How the detections on an image are encoded."""

    format: str = "coco"  # one of FORMATS
    image_id: int | str | None = None  # in coco and csv
    file_name: str | None = None  # of the image, in coco, csv and polygons
    pixel_size: PixelSize | None = None  # csv: lengths and areas in its unit, too
    tolerance: float = 0.5  # polygons: how far a simplified outline may be from the exact one, in pixels; 0: exact
    holes: Holes = "fill"  # polygons: whether they leave out the holes of masks
    image_data: ImageData = "embed"  # polygons: whether the image is in the file


DEFAULT_RESPONSE = ResponseOptions()
