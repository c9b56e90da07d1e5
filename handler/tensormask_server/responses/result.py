"""The input of the encoders: an image, its detections, and the model that detected them."""

from dataclasses import dataclass

import numpy as np

from tensormask_server.prediction.detections import Detections


@dataclass(frozen=True)
class Model:
    """The model that a response names."""

    name: str  # TorchServe's name for it, as in its URL
    class_names: tuple[str, ...]  # by class number
    weights_sha256: str  # of the archive's weights, hexadecimal


@dataclass(frozen=True)
class Result:
    """One image and its detections."""

    image: np.ndarray  # uint8 (H, W, 3), RGB
    detections: Detections
    model: Model
    notes: tuple[str, ...] = ()  # short texts in ASCII on how the image was decoded
