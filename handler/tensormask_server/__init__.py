"""TensorMask instance segmentation: `load_predictor` makes a `Predictor`, which gives each image its `Detections`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:
    from tensormask_server.prediction.detections import Detections, PredictionOptions
    from tensormask_server.prediction.predictor import Predictor, load_predictor
else:
    MODULES = {
        "Detections": "prediction.detections",
        "PredictionOptions": "prediction.detections",
        "Predictor": "prediction.predictor",
        "load_predictor": "prediction.predictor",
    }

    def __getattr__(name: str) -> Any:
        """Imports a public name on its first use: the client needs neither torch nor the second that it takes."""
        if name not in MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tensormask_server.extras import missing_extra

        if missing := missing_extra("predict"):
            raise ImportError(f"{name} needs packages of an extra: {missing}")
        return getattr(import_module(f"tensormask_server.{MODULES[name]}"), name)


__all__ = ["Detections", "PredictionOptions", "Predictor", "load_predictor"]
