"""The interface of an engine, which detects the instances: our own network with its own or OpenVINO's convolutions, or
detectron2's if it is installed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from tensormask_server.images.large import LargeImage
from tensormask_server.network.config import TensorMaskConfig
from tensormask_server.prediction.detections import Detections, PredictionOptions
from tensormask_server.prediction.detectron2_engine import load_detectron2
from tensormask_server.prediction.openvino_engine import load_openvino
from tensormask_server.prediction.predictor import load_predictor
from tensormask_server.timing import Stopwatch


class Engine(Protocol):
    """All that the server needs of an engine."""

    @property
    def config(self) -> TensorMaskConfig: ...

    @property
    def network(self) -> nn.Module: ...

    def check(self, options: PredictionOptions) -> None:
        """Checks options before an image is run with them.

        Raises:
            UnsupportedOption: this engine can't predict with them.
        """

    def __call__(
        self,
        images: Sequence[np.ndarray | LargeImage],
        options: float | PredictionOptions | Sequence[PredictionOptions] = ...,
        stopwatch: Stopwatch | None = None,
    ) -> list[Detections]:
        """Detects the instances on each image, with `Predictor`'s arguments and returns.

        Raises:
            UnsupportedOption: as `check`.
        """
        ...


def load_engine(name: str, config: Path, weights: Path, device: torch.device, precision: str) -> Engine:
    """Loads the engine of this name.

    Args:
        name: one of `options.ENGINES`.
        config, weights: as in `load_predictor`.
        precision: one of the engine's `options.ENGINE_PRECISIONS`.

    Raises:
        EngineError: the engine is detectron2, and it can't be used here.
        OpenVinoError: the engine is openvino, and it or the graph beside the configuration can't be used here.
        ConfigError, CheckpointError, ValueError: as `load_predictor`.
    """
    if name == "detectron2":
        return load_detectron2(config, weights, device)
    if name == "openvino":
        return load_openvino(config, weights, device, precision)
    return load_predictor(config, weights, device, precision)
