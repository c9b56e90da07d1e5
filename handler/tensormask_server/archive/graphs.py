"""The files that an archive for the engine openvino has besides: the graph, and what it was calibrated with."""

from pathlib import Path

import numpy as np
import torch

from tensormask_server.archive.arguments import ArchiveRequest
from tensormask_server.archive.errors import ArchiveError
from tensormask_server.export.calibration import calibration_images
from tensormask_server.export.openvino_graph import openvino_model, quantised, save_openvino
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.prediction.detections import PredictionOptions
from tensormask_server.prediction.finite import NotFiniteError, finite_layers
from tensormask_server.prediction.openvino_engine import GRAPH, load_openvino
from tensormask_server.printable import printable
from tensormask_server.regular_files import MOST_IMAGE, sha256_of

CALIBRATION = "calibration.sha256"  # the images' hashes and names, as sha256sum writes and checks them


def stage_graph(folder: Path, weights: Path, network: TensorMask, request: ArchiveRequest) -> None:
    """Writes the graph of a network's convolutions, and runs it once with the rest of the network.

    Args:
        folder: has the configuration already.
        weights: the network's, as a file.
        network: is left as it is.

    Raises:
        ArchiveError: the graph's numbers aren't finite.
        OpenVinoError: OpenVINO or nncf isn't installed.
        CalibrationError: the images can't be used.
    """
    precision = request.options.precision
    images = [] if request.calibrate is None else calibration_images(request.calibrate)
    lines = (f"{sha256_of(path, MOST_IMAGE)}  {printable(path.name)}\n" for path in images)
    if images:
        (folder / CALIBRATION).write_text("".join(lines), encoding="utf-8")
    model = openvino_model(network)
    if images:
        model = quantised(model, network, images)
    save_openvino(model, folder / GRAPH, half=precision != "float32")
    engine = load_openvino(folder / "config.yaml", weights, torch.device("cpu"), precision)
    side = 2 * engine.network.stride
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    try:
        with finite_layers(engine.network):
            engine([noise], PredictionOptions(score_threshold=0.0))
    except NotFiniteError as error:
        raise ArchiveError(f"with --engine openvino --precision {precision} {error}") from error
