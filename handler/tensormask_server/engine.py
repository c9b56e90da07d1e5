"""What finds things for the handler: our own network, or detectron2's where that is installed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from tensormask_server.config import TensorMaskConfig
from tensormask_server.detectron2_engine import load_detectron2
from tensormask_server.predictor import Detections, PredictionOptions, load_predictor
from tensormask_server.timing import Stopwatch

ENGINES = ("native", "detectron2")


class Engine(Protocol):
    """All that the handler needs of one."""

    @property
    def config(self) -> TensorMaskConfig: ...

    @property
    def network(self) -> nn.Module: ...

    def check(self, options: PredictionOptions) -> None:
        """
        Raises:
            BadRequest: this engine can't find things so; the message says what it can do.
        """

    def __call__(
        self,
        images: Sequence[np.ndarray],
        options: float | PredictionOptions | Sequence[PredictionOptions] = ...,
        stopwatch: Stopwatch | None = None,
    ) -> list[Detections]:
        """As `Predictor`'s. Options that `check` refuses are refused here too."""
        ...


def load_engine(name: str, config: Path, weights: Path, device: torch.device, precision: str) -> Engine:
    """
    Args:
        name: one of ENGINES.
        precision: as in `load_predictor`; of native alone.

    Raises:
        EngineError: detectron2 is asked for and can't be used.
        ConfigError, CheckpointError, ValueError: as `load_predictor`.
    """
    if name == "detectron2":
        return load_detectron2(config, weights, device)
    return load_predictor(config, weights, device, precision)
