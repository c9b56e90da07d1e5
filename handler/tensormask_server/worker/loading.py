"""Loads the service from the files of an unpacked archive."""

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tensormask_server.classes import class_names
from tensormask_server.integrity import check_sums
from tensormask_server.options import HandlerOptions
from tensormask_server.prediction.cpu import SlowPrecisionWarning, faster_precision
from tensormask_server.prediction.detections import PredictionOptions
from tensormask_server.prediction.engine import Engine, load_engine
from tensormask_server.prediction.finite import finite_layers
from tensormask_server.prediction.precision import DTYPES
from tensormask_server.prediction.predictor import Predictor
from tensormask_server.reports import FASTER, SLOW, report
from tensormask_server.request_log import RequestLog
from tensormask_server.responses.result import Model
from tensormask_server.sample_images import FOLDER as SAMPLES
from tensormask_server.sample_images import read_samples
from tensormask_server.worker.first_answer import first_answer
from tensormask_server.worker.metrics import Measurement
from tensormask_server.worker.page import try_it_page
from tensormask_server.worker.service import Service

logger = logging.getLogger(__name__)


def load_service(
    model_dir: Path,
    weights: str,
    name: str,
    options: HandlerOptions,
    device: torch.device,
    record: Callable[[Measurement], None],
    request_log: RequestLog | None = None,
    tile_seconds: float = math.inf,
) -> Service:
    """Checks the files, builds the network and runs it once, so that the first request is as fast as the next ones.

    Args:
        model_dir: the folder of the unpacked archive.
        weights: the name of the weights' file in the folder.
        name: the model's, as in its URL.
        options: the engine, the precision, the limits and the default score threshold.
        device: where the network runs.
        record: the service calls it with each measurement.
        request_log: the service appends a line for each request. None: there is no such log.
        tile_seconds: the most that the images in tiles of a batch may take.

    Returns:
        A service that is ready for requests.

    Raises:
        Exception: the files can't be used. The message says why.
    """
    sums = check_sums(model_dir)
    engine = _load_engine(options, model_dir / "config.yaml", model_dir / weights, device)
    names = class_names(engine.config.head.num_classes, model_dir / "classes.txt")
    samples = read_samples(model_dir / SAMPLES) if (model_dir / SAMPLES).is_dir() else ()
    page = try_it_page(name, names, options, engine.config, samples)
    _warm_up(engine)
    model = Model(name, names, sums[weights], (model_dir / weights).stat().st_size)
    service = Service(engine, model, options, page, record, request_log, tile_seconds)
    if not samples:
        return service
    answer = first_answer(service, samples[0])
    return replace(service, page=try_it_page(name, names, options, engine.config, samples, answer))


def _load_engine(options: HandlerOptions, config: Path, weights: Path, device: torch.device) -> Engine:
    """Loads the engine, logs its warnings, and tells the launcher of a slow precision, or of a much faster one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        engine = load_engine(options.engine, config, weights, device, options.precision)
    for warning in caught:
        logger.warning("%s: %s", warning.category.__name__, warning.message)
        if issubclass(warning.category, SlowPrecisionWarning):
            report(SLOW, str(warning.message))
    own_network_on_cpu = options.engine == "native" and device.type == "cpu"
    if own_network_on_cpu and (faster := faster_precision(DTYPES[options.precision])):
        report(FASTER, faster)
    return engine


def _warm_up(engine: Engine) -> None:
    """Detects as many instances as possible on an image of noise, so that the code for masks runs once as well.

    Raises:
        NotFiniteError: a layer's output has infinite values or NaN.
    """
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with finite_layers(engine.network):
        engine([noise], PredictionOptions(score_threshold=0.0))
    if isinstance(engine, Predictor):
        engine.prepare()
