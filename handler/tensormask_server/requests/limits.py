"""Checks that a request is within the server's limits, before any image is decoded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tensormask_server.bad_request import BadRequest
from tensormask_server.options import Limits


@dataclass(frozen=True)
class Size:
    """The size of an image once it is decoded, and how many masks its response can have."""

    height: int  # pixels
    width: int  # pixels
    masks: int  # at most
    tiles: int = 0  # how often the network runs on parts of it; 0: it runs once, on the image
    tile_pixels: int = 0  # H·W of a tile

    @property
    def pixels(self) -> int:
        return self.height * self.width


def is_large(size: Size, limits: Limits) -> bool:
    """Whether an image is too large for one array, and is read part by part."""
    return limits.max_pixels < size.pixels <= limits.largest_image


def check_number(images: int, limits: Limits) -> None:
    """Checks how many images a request has.

    Raises:
        BadRequest: the request has too many.
    """
    if images > limits.max_images:
        raise BadRequest(
            f"the request has {images} images, more than the {limits.max_images} allowed",
            f"at most {limits.max_images} images in one request: send several requests {_set_by('max-images')}",
            "pixels",
        )


def check_size(size: Size, limits: Limits) -> None:
    """Checks the size of one image.

    Raises:
        BadRequest: the image has too many pixels, a side that is too long, or tiles that a large image can't have.
    """
    if is_large(size, limits):
        if size.tiles:
            _check_tiles(size, limits)
        return
    shape = f"width {size.width}, height {size.height}"
    if size.pixels > limits.max_pixels:
        raise BadRequest(
            f"the image has {size.pixels} pixels ({shape}), more than the {limits.max_pixels} allowed",
            expected_size(limits),
            "pixels",
        )
    if max(size.height, size.width) > limits.max_side:
        raise BadRequest(
            f"the image has a side of more than the {limits.max_side} allowed ({shape})",
            f"an image of at most {limits.max_side} pixels a side: cut or resize it first {_set_by('max-side')}",
            "pixels",
        )


def expected_size(limits: Limits) -> str:
    """What would be accepted, for an error about an image of too many pixels."""
    most = max(limits.max_pixels, limits.largest_image)
    return f"an image of at most {most} pixels: resize it first {_set_by('largest-image or --max-pixels')}"


def _check_tiles(size: Size, limits: Limits) -> None:
    """Checks the tiles of a large image: each is an image of its own, and they are as many as the image has pixels for.

    Raises:
        BadRequest: a tile is too large or can have too many masks, or there are too many tiles.
    """
    if size.tile_pixels > limits.max_pixels:
        raise BadRequest(
            f"a tile has {size.tile_pixels} pixels, more than the {limits.max_pixels} allowed",
            f"a tile_size of at most {math.isqrt(limits.max_pixels)} {_set_by('max-pixels')}",
            "pixels",
        )
    most_tiles = limits.max_tiles * size.pixels // limits.max_pixels
    if size.tiles > most_tiles:
        raise BadRequest(
            f"the image has {size.tiles} tiles, more than the {most_tiles} allowed for its {size.pixels} pixels",
            f"a larger tile_size or a smaller tile_overlap {_set_by('max-tiles')}",
            "pixels",
        )
    if size.masks * size.tile_pixels > limits.max_mask_pixels:
        raise BadRequest(
            f"{size.masks} masks of a tile have up to {size.masks * size.tile_pixels} pixels, more than the "
            f"{limits.max_mask_pixels} allowed",
            f"max_detections of at most {limits.max_mask_pixels // size.tile_pixels}, or a smaller tile_size "
            f"{_set_by('max-mask-pixels')}",
            "pixels",
        )


def check_sum(sizes: Sequence[Size], limits: Limits) -> None:
    """Checks all images of a request together.

    Raises:
        BadRequest: the images have too many pixels or tiles, their masks can have too many pixels, or a large image
            isn't alone.
    """
    if any(is_large(size, limits) for size in sizes):
        if len(sizes) > 1:
            raise BadRequest(
                f"the request has {len(sizes)} images, and one has more than {limits.max_pixels} pixels",
                f"an image of more than {limits.max_pixels} pixels in a request of its own",
                "pixels",
            )
        return
    pixels = sum(size.pixels for size in sizes)
    if pixels > limits.max_request_pixels:
        raise BadRequest(
            f"the request's {len(sizes)} images have {pixels} pixels together, more than the "
            f"{limits.max_request_pixels} allowed",
            f"images of at most {limits.max_request_pixels} pixels together: send several requests, or smaller "
            f"images {_set_by('max-request-pixels')}",
            "pixels",
        )
    tiles = sum(size.tiles for size in sizes)
    if tiles > limits.max_tiles:
        raise BadRequest(
            f"the request has {tiles} tiles, more than the {limits.max_tiles} allowed",
            f"at most {limits.max_tiles} tiles: a larger tile_size, a smaller tile_overlap, or smaller images "
            f"{_set_by('max-tiles')}",
            "pixels",
        )
    mask_pixels = sum(size.masks * size.pixels for size in sizes)
    if mask_pixels > limits.max_mask_pixels:
        raise BadRequest(
            f"{_masks(sizes)} have up to {mask_pixels} pixels, more than the {limits.max_mask_pixels} allowed",
            f"max_detections of at most {limits.max_mask_pixels // pixels}, smaller images, or fewer in one request "
            f"{_set_by('max-mask-pixels')}",
            "pixels",
        )


def _masks(sizes: Sequence[Size]) -> str:
    (first, *others) = sizes
    if not others:
        return f"{first.masks} masks of {first.pixels} pixels (width {first.width}, height {first.height})"
    return f"{sum(size.masks for size in sizes)} masks of {len(sizes)} images"


def _set_by(option: str) -> str:
    return f"(the server's limit is set by --{option} of archive.sh and tensormask-server)"
