"""TensorMask instance segmentation: `load_predictor` makes a `Predictor`, which answers pictures with `Detections`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensormask_server.predictor import Detections, PredictionOptions, Predictor, load_predictor

__all__ = ["Detections", "PredictionOptions", "Predictor", "load_predictor"]


def __getattr__(name: str) -> Any:
    """Imports torch when a predictor is asked for, and not for the client."""
    if name in __all__:
        from tensormask_server import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
