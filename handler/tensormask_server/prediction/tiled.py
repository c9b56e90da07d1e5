"""Detects in tiles where that is requested: the network sees each part of a large image at its own resolution."""

from collections.abc import Callable, Sequence

import numpy as np

from tensormask_server.images.large import LargeImage, part_of
from tensormask_server.network.config import TensorMaskConfig
from tensormask_server.prediction.detections import Detections, PredictionOptions
from tensormask_server.prediction.inputs import unreduced_side
from tensormask_server.prediction.tile_grid import Tile, requested_tiles
from tensormask_server.prediction.tile_merging import TileMerger
from tensormask_server.timing import Stopwatch

BATCHES = 4  # of tiles are given to an engine together, so that it can prepare one while it runs another
# detects on images without tiles: one `Detections` for each image and its options
Detect = Callable[[Sequence[np.ndarray | LargeImage], Sequence[PredictionOptions]], list[Detections]]


def detect_in_tiles(
    detect: Detect,
    images: Sequence[np.ndarray | LargeImage],
    options: Sequence[PredictionOptions],
    config: TensorMaskConfig,
    batch_size: int,
    stopwatch: Stopwatch,
) -> list[Detections]:
    """Detects the instances on each image, in tiles where its options request them.

    Args:
        detect: an engine without tiles.
        images: each uint8 (H, W, 3), RGB, or what can be read as such in parts.
        options: of each image.
        config: of the network.
        batch_size: the most images that the engine runs together.
        stopwatch: measures the part "masks", in which detections are merged. Its limit holds for images in tiles.

    Returns:
        One `Detections` per image, in the order of the images.

    Raises:
        TimeLimitError: the tiles, or merging their detections, take longer than the stopwatch allows.
    """
    auto_size = unreduced_side(config.input)
    tiles = [
        requested_tiles(image.shape[0], image.shape[1], each, auto_size)
        for image, each in zip(images, options, strict=True)
    ]
    whole = [i for i, of_image in enumerate(tiles) if not of_image]
    detections: dict[int, Detections] = {}
    if whole:
        results = detect([images[i] for i in whole], [options[i] for i in whole])
        detections = dict(zip(whole, results, strict=True))
    for i, of_image in enumerate(tiles):
        if of_image:
            most = options[i].completed(config.detection).max_detections
            detections[i] = _merged(detect, images[i], options[i], of_image, most, batch_size, stopwatch)
    return [detections[i] for i in range(len(images))]


def _merged(
    detect: Detect,
    image: np.ndarray | LargeImage,
    options: PredictionOptions,
    tiles: Sequence[Tile],
    max_detections: int,
    batch_size: int,
    stopwatch: Stopwatch,
) -> Detections:
    merger = TileMerger(image.shape[0], image.shape[1], max_detections)
    step = batch_size if isinstance(image, LargeImage) else BATCHES * batch_size  # parts of a large image are copies
    for start in range(0, len(tiles), step):
        stopwatch.check_limit()
        batch = tiles[start : start + step]
        parts = [_part(image, tile) for tile in batch]
        for tile, detections in zip(batch, detect(parts, [options] * len(parts)), strict=True):
            with stopwatch("masks"):
                merger.add(tile, detections)
    with stopwatch("masks"):
        return merger.merged(stopwatch.check_limit)


def _part(image: np.ndarray | LargeImage, tile: Tile) -> np.ndarray | LargeImage:
    if (tile.height, tile.width) == image.shape[:2]:
        return image
    return part_of(image, tile.top, tile.left, tile.height, tile.width)
