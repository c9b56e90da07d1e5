"""The input of the encoders: an image, its detections, the model that detected them, and the response's options."""

from dataclasses import dataclass

import numpy as np

from tensormask_server.images.large import LargeImage
from tensormask_server.prediction.detections import Detections
from tensormask_server.responses.options import DEFAULT_RESPONSE, ResponseOptions


@dataclass(frozen=True)
class Model:
    """The model that a response names."""

    name: str  # TorchServe's name for it, as in its URL
    class_names: tuple[str, ...]  # by class number
    weights_sha256: str  # of the archive's weights, hexadecimal
    weights_bytes: int = 0  # the size of their file


@dataclass(frozen=True)
class Result:
    """One image, its detections, and how to encode them."""

    image: np.ndarray | LargeImage  # uint8 (H, W, 3), RGB
    detections: Detections
    model: Model
    response: ResponseOptions = DEFAULT_RESPONSE
    notes: tuple[str, ...] = ()  # short texts in ASCII on how the image was decoded
    max_bytes: int | None = None  # of the response; an encoder may stop there, and the service checks it for all
