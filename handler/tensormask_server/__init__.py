"""TensorMask instance segmentation: `load_predictor` makes a `Predictor`, which gives each image its `Detections`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tensormask_server.detections import Detections, PredictionOptions
    from tensormask_server.predictor import Predictor, load_predictor
else:
    MODULES = {
        "Detections": "detections",
        "PredictionOptions": "detections",
        "Predictor": "predictor",
        "load_predictor": "predictor",
    }

    def __getattr__(name: str) -> Any:
        """Imports a public name on its first use: the client needs neither torch nor the second that it takes."""
        if name not in MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"tensormask_server.{MODULES[name]}"), name)


__all__ = ["Detections", "PredictionOptions", "Predictor", "load_predictor"]
