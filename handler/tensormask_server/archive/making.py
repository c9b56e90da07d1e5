"""Makes an archive, after it has checked everything by building and running the network."""

import copy
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tensormask_server.archive.arguments import ArchiveRequest
from tensormask_server.archive.content import BESIDE, stage_content
from tensormask_server.archive.errors import ArchiveError
from tensormask_server.archive.graphs import CALIBRATION
from tensormask_server.archive.packing import pack
from tensormask_server.classes import ClassNamesError, class_names
from tensormask_server.export.calibration import CalibrationError
from tensormask_server.model_files.checkpoint import CheckpointError, check_sha256, load_checkpoint
from tensormask_server.model_files.detectron2_yaml import load_merged_yaml
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.network.config import TensorMaskConfig, parse_config
from tensormask_server.network.detection import Selection
from tensormask_server.network.loading import build_network
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.openvino_package import OpenVinoError, openvino
from tensormask_server.prediction.cpu import SlowPrecisionWarning
from tensormask_server.prediction.detectron2_network import EngineError, check_detectron2
from tensormask_server.prediction.finite import NotFiniteError, finite_layers
from tensormask_server.prediction.inputs import normalised_batch
from tensormask_server.prediction.precision import DTYPES
from tensormask_server.prediction.predictor import Predictor
from tensormask_server.sample_images import SampleError, read_samples

# what `make` raises for files and options that can't be used; each has a message of one line
MAKE_ERRORS = (
    ArchiveError,
    CalibrationError,
    CheckpointError,
    ClassNamesError,
    ConfigError,
    EngineError,
    OpenVinoError,
    SampleError,
)


@dataclass(frozen=True)
class Made:
    """An archive that was made."""

    path: Path  # of the .mar
    config: TensorMaskConfig
    class_names: Sequence[str]
    calibrated: int = 0  # images that the precision int8 was made with


def make_archive(request: ArchiveRequest) -> Path:
    """As `make`, but returns only the path of the .mar."""
    return make(request).path


def make(request: ArchiveRequest) -> Made:
    """Checks everything by building the network, then writes the archive, whole or not at all.

    Raises:
        MAKE_ERRORS: what is wrong, in one line.
    """
    if request.options.engine == "detectron2":
        check_detectron2()
    if request.options.engine == "openvino":
        openvino()
    tree = load_merged_yaml(request.config)
    config = parse_config(tree)
    check_sha256(request.weights)
    network = build_network(config, load_checkpoint(request.weights))
    if request.options.engine != "openvino":  # its graph is run when it is made
        check_runs(network, request.options.precision)
    names = class_names(config.head.num_classes, request.classes)
    samples = read_samples(request.samples) if request.samples else ()
    with tempfile.TemporaryDirectory(prefix="tensormask-archive-") as folder:
        stage = Path(folder)
        stage_content(stage, network, tree, names, samples, request)
        calibration = stage / BESIDE / CALIBRATION
        calibrated = len(calibration.read_text().splitlines()) if calibration.exists() else 0
        return Made(pack(stage, request), config, names, calibrated)


def check_runs(network: TensorMask, precision: str) -> None:
    """Runs a copy of the network once as it will be served, on a small image of noise.

    Args:
        network: is left as it is.
        precision: one of options.PRECISIONS.

    Raises:
        ArchiveError: a layer gives numbers that aren't finite.
    """
    side = 2 * network.stride
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    device = torch.device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlowPrecisionWarning)  # another machine may serve it
        served = Predictor(copy.deepcopy(network), device, DTYPES[precision]).network
    image = normalised_batch([noise], network.config.input, network.stride, device)
    most = network.config.detection.max_detections
    everything = Selection(score_threshold=0.0, nms_threshold=1.0, max_detections=most)
    try:
        with torch.inference_mode(), finite_layers(served):
            served(image.to(DTYPES[precision]), [everything])
    except NotFiniteError as error:
        raise ArchiveError(f"with --precision {precision} {error}") from error
