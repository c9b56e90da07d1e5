"""TensorMask instance segmentation: `load_predictor` makes a `Predictor`, which answers images with `Detections`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tensormask_server.predictor import Detections, PredictionOptions, Predictor, load_predictor
else:

    def __getattr__(name: str) -> Any:
        """Imports the predictor when it is first asked for: the client needs neither torch nor the second it takes."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("tensormask_server.predictor"), name)


__all__ = ["Detections", "PredictionOptions", "Predictor", "load_predictor"]
