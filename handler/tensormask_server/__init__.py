"""TensorMask instance segmentation: `load_predictor` makes a `Predictor`, which answers pictures with `Detections`."""

from tensormask_server.predictor import Detections, PredictionOptions, Predictor, load_predictor

__all__ = ["Detections", "PredictionOptions", "Predictor", "load_predictor"]
