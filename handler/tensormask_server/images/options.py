"""The options of a request that say how its image is decoded."""

from dataclasses import dataclass

from tensormask_server.option_choices import DEFAULT_STRETCH


@dataclass(frozen=True)
class ImageOptions:
    """How an image is decoded."""

    stretch: str = DEFAULT_STRETCH  # one of STRETCHES: how values beyond 8 bits become 8 bits; see `depth.eight_bits`


DEFAULT_IMAGE_OPTIONS = ImageOptions()
