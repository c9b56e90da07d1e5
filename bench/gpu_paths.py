"""The ways of running the published network on a GPU, each with one optimisation more than the one before."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.network import batched_selection
from tensormask_server.network.batched_masks import BatchedMasks
from tensormask_server.network.detection import Selection
from tensormask_server.network.graphs import Graphs, graphs_for, record_nothing
from tensormask_server.network.strategies import Everywhere
from tensormask_server.options import GPU_BATCH_SIZE
from tensormask_server.prediction import batched_pasting, pasting_kernels
from tensormask_server.prediction.batched import BatchedPrediction
from tensormask_server.prediction.inputs import normalised_batch
from tensormask_server.prediction.mask_paths import path_by_operations
from tensormask_server.prediction.on_image import on_image
from tensormask_server.prediction.pasting import paste_masks
from tensormask_server.prediction.precision import DTYPES, exact_float32

from bench.networks import published_network
from bench.operations import Operations

THRESHOLD = 0.05


@dataclass(frozen=True)
class Way:
    """How images are run."""

    name: str
    precision: str
    batched: bool  # selection, masks and pasting for all detections together; else one after the other
    kernels: bool  # of our own; else operations of torch
    graphs: bool
    images: int  # at a time


@dataclass(frozen=True)
class Times:
    """Of some images at a time, in milliseconds."""

    network: float  # the median of all that is computed at every location
    whole: float  # the median, from the decoded images to packed masks
    p90: float
    megabytes: float  # of the GPU, at the peak; NaN on a CPU


def ways(batch_size: int) -> list[Way]:
    half = "half precision, convolutions with what follows them"
    return [
        Way("eager, image by image and mask by mask", "float32", False, False, False, 1),
        Way("+ selection, masks and pasting together", "float32", True, False, False, 1),
        Way("+ by kernels of our own", "float32", True, True, False, 1),
        Way("+ CUDA graphs", "float32", True, True, True, 1),
        Way(f"+ {half}: bfloat16", "bfloat16", True, True, True, 1),
        Way("float16 instead", "float16", True, True, True, 1),
        Way(f"+ {batch_size} images at a time, float16", "float16", True, True, True, batch_size),
        Way(f"{batch_size} images at a time, bfloat16", "bfloat16", True, True, True, batch_size),
        Way(f"{batch_size} images at a time, float32", "float32", True, True, True, batch_size),
    ]


def predictor_of(way: Way, device: torch.device) -> Predictor:
    predictor = Predictor(published_network(0), device, DTYPES[way.precision], winograd=False, fused=False)
    predictor = with_gpu_path(predictor, graphs_for(device) if way.graphs else Graphs(record_nothing, 0))
    if not way.kernels and predictor.batched is not None:
        predictor.batched.input_kernels = predictor.batched.selection_kernels = None
        predictor.batched.mask_path = path_by_operations(BatchedMasks(predictor.network.head))
    return predictor


def with_gpu_path(predictor: Predictor, graphs: Graphs | None = None) -> Predictor:
    """Lets a predictor run as on a GPU, on any device: images together, with these graphs."""
    graphs = graphs or graphs_for(predictor.device)
    predictor.batched = BatchedPrediction(predictor.network, predictor.device, predictor.dtype, graphs)
    predictor.batch_size = GPU_BATCH_SIZE
    return predictor


def measured(way: Way, device: torch.device, image: np.ndarray, rounds: int, seconds: float) -> Times:
    """Times a way, for so many rounds, or until so many seconds are over."""
    predictor = predictor_of(way, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    images, options = [image] * way.images, PredictionOptions(score_threshold=THRESHOLD)

    def run() -> None:
        if way.batched:
            predictor(images, options)
        else:
            one_by_one(predictor, image)

    whole = timed(run, device, rounds, seconds)
    network = timed(_network_alone(predictor, way, image), device, rounds, seconds / 2)
    peak = torch.cuda.max_memory_reserved(device) / 1e6 if device.type == "cuda" else float("nan")
    return Times(statistics.median(network), statistics.median(whole), float(np.quantile(whole, 0.9)), peak)


@torch.inference_mode()
def one_by_one(predictor: Predictor, image: np.ndarray) -> None:
    """The plain way, to compare with: detections one after the other, and masks on the image on the CPU."""
    network = predictor.network
    network.strategy = Everywhere()
    config = predictor.config.detection
    batch = normalised_batch([image], predictor.config.input, network.stride, predictor.device)
    with exact_float32(predictor.device):
        selection = Selection(THRESHOLD, config.nms_threshold, config.max_detections)
        [output] = network(batch.to(predictor.dtype), [selection])
    boxes, anchors = (each.cpu().numpy() for each in (output.candidates.boxes, output.candidates.anchor_boxes))
    there = on_image(boxes, anchors, image.shape[:2], image.shape[:2])
    assert output.masks is not None
    probabilities = [output.masks[i].sigmoid().cpu().numpy() for i in there.kept.tolist()]
    paste_masks(probabilities, there.anchors, 0.5, image.shape[0], image.shape[1])


def counts(predictor: Predictor, images: list[np.ndarray]) -> tuple[int, int]:
    """Operations without a graph, and copies to the host, of a batch with the detections of each image."""
    options = PredictionOptions(score_threshold=THRESHOLD)
    predictor(images, options)  # what is made once per shape
    with ExitStack() as stack:
        copies = [
            stack.enter_context(patch.object(module, "to_host", wraps=module.to_host))
            for module in (batched_selection, batched_pasting, pasting_kernels)
        ]
        operations = stack.enter_context(Operations())
        predictor(images, options)
    return operations.counts.total(), sum(each.call_count for each in copies)


def timed(way: Callable[[], object], device: torch.device, rounds: int, seconds: float) -> list[float]:
    """Milliseconds, after three rounds that aren't counted, with the device's work done."""
    times: list[float] = []
    begin = time.perf_counter()
    for number in range(rounds + 3):
        start = time.perf_counter()
        way()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        end = time.perf_counter()
        if number >= 3 or end - begin > seconds:
            times.append(1000 * (end - start))
        if end - begin > seconds:
            break
    return times


def _network_alone(predictor: Predictor, way: Way, image: np.ndarray) -> Callable[[], object]:
    """What is computed at every location, on images that are on the device already."""
    batched = predictor.batched
    assert batched is not None

    @torch.inference_mode()
    def run() -> None:
        with exact_float32(predictor.device):
            batched.dense(images)

    with torch.inference_mode():
        images = batched.normalised([image] * way.images)
    return run
