"""The options of a request that say how its image is decoded."""

from dataclasses import dataclass

STRETCHES = ("auto", "none", "min-max", "percentile")


@dataclass(frozen=True)
class ImageOptions:
    """How an image is decoded."""

    stretch: str = "auto"  # one of STRETCHES: how values beyond 8 bits become 8 bits; see `depth.eight_bits`


DEFAULT_IMAGE_OPTIONS = ImageOptions()
