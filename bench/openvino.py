"""Networks whose convolutions OpenVINO computes, for the tables."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tensormask_server import Predictor
from tensormask_server.export.openvino_graph import openvino_model, quantised, save_openvino
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.options import ENGINE_PRECISIONS
from tensormask_server.prediction.openvino_engine import openvino_predictor

from bench.networks import ROOT

PRECISIONS = ENGINE_PRECISIONS["openvino"]
IMAGES = sorted((ROOT / "demo" / "images").glob("*.jpg"))  # for the ranges of int8: enough for its speed


def with_openvino(network: TensorMask, precision: str, calibration: Sequence[Path]) -> Predictor:
    """
    Args:
        network: belongs to the predictor from now on.
        precision: one of PRECISIONS.
        calibration: image files for int8.
    """
    model = openvino_model(network)
    if precision == "int8":
        model = quantised(model, network, calibration)
    with tempfile.TemporaryDirectory() as folder:  # OpenVINO has read the graph when the predictor is there
        graph = Path(folder) / "graph.xml"
        save_openvino(model, graph, half=False)
        return openvino_predictor(network, graph, precision)
