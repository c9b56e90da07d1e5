"""Images of any shapes in batches of one padded shape, as a GPU takes them."""

import gc
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from tensormask_server.images.large import LargeImage
from tensormask_server.network.config import InputConfig
from tensormask_server.network.detection import Selection
from tensormask_server.prediction.batched import BatchedPrediction, Input
from tensormask_server.prediction.detections import CompleteOptions, Detections
from tensormask_server.prediction.inputs import group_by_padded_shape, resize_image, resized_shape
from tensormask_server.timing import Stopwatch

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def predict_in_batches(
    predict: BatchedPrediction,
    images: Sequence[np.ndarray | LargeImage],
    options: Sequence[CompleteOptions],
    batch_size: int,
    stopwatch: Stopwatch,
) -> list[Detections]:
    """Detects the instances on images.

    Threads resize the images, those of the next batches while the GPU works on one. If memory is short for a batch, its
    halves are tried, and in the end its images one by one.

    Args:
        images: each uint8 (H, W, 3), RGB.
        options: one per image.
        batch_size: the most images that are run together.
        stopwatch: measures the parts "resize", "network" and "masks".

    Raises:
        torch.OutOfMemoryError: an image by itself is too large for the memory.
    """
    config, stride = predict.network.config.input, predict.network.stride
    shapes = [_OnlyShape(resized_shape(image.shape[0], image.shape[1], config)) for image in images]
    detections: dict[int, Detections] = {}
    resized = [_resized(image, config, predict.threads if len(images) > 1 else None) for image in images]
    for group in group_by_padded_shape(shapes, stride, batch_size):
        with stopwatch("resize"):
            inputs = [_input(resized[i](), images[i], options[i]) for i in group]
        found = with_less_memory(partial(predict, stopwatch=stopwatch), inputs, partial(_give_back, predict))
        detections.update(zip(group, found, strict=True))
    return [detections[i] for i in range(len(images))]


def with_less_memory(
    run: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], give_back: Callable[[], None]
) -> list[Result]:
    """Runs some items together; if memory is short, in halves, and in the end one by one.

    Args:
        give_back: frees memory before another try.

    Raises:
        torch.OutOfMemoryError: memory is short for a single item.
    """
    try:
        return run(items)
    except torch.OutOfMemoryError as error:
        logger.warning("memory is short for %d images together: %s", len(items), error)
    give_back()  # not in the except block, where the error's traceback holds the tensors of the batch
    if len(items) == 1:
        return run(items)
    middle = len(items) // 2
    halves = items[:middle], items[middle:]
    return [result for half in halves for result in with_less_memory(run, half, give_back)]


def _resized(image: np.ndarray | LargeImage, config: InputConfig, threads: Executor | None) -> Callable[[], np.ndarray]:
    """Begins to resize an image, if there are threads. The function that it returns waits for the resized image."""
    if threads is None:
        return partial(resize_image, image, config)
    return threads.submit(resize_image, image, config).result


@dataclass(frozen=True)
class _OnlyShape:
    """The shape of an image that isn't resized yet."""

    shape: tuple[int, ...]


def _input(resized: np.ndarray, image: np.ndarray | LargeImage, options: CompleteOptions) -> Input:
    selection = Selection(options.score_threshold, options.nms_threshold, options.max_detections, options.classes)
    return Input(resized, image.shape[0], image.shape[1], selection, options.mask_threshold)


def _give_back(predict: BatchedPrediction) -> None:
    predict.graphs.clear()
    gc.collect()
    torch.cuda.empty_cache()  # without CUDA it does nothing
