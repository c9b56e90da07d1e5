"""One image of a request before it is decoded."""

from dataclasses import dataclass

import numpy as np

from tensormask_server.requests.options import RequestedOptions


@dataclass(frozen=True)
class UndecodedImage:
    """One image of a request, and its options."""

    image: bytes | np.ndarray  # an image file's bytes, or uint8 (H, W, 3), RGB
    options: RequestedOptions
    name: str = ""  # its place in a request of several images, for error messages: "instances[1]"
