"""The actor of a run. Each has a network, and writes one part after the other. Ray runs many of them."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import ray
import torch
from pyarrow.fs import FileSystem, FileType

from tensormask_server.bad_request import BadRequest
from tensormask_server.bulk.listing import RunError
from tensormask_server.bulk.model import Network
from tensormask_server.bulk.parts import Parts
from tensormask_server.bulk.places import Place, source_of
from tensormask_server.bulk.tries import MOST_DEATHS, Tries
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import ImageError
from tensormask_server.images.signatures import SIGNATURES
from tensormask_server.openvino_package import OpenVinoError
from tensormask_server.options import Limits
from tensormask_server.prediction.detections import Detections, PredictionOptions
from tensormask_server.requests.limits import Size, check_size
from tensormask_server.responses.coco import coco_instances
from tensormask_server.timing import Stopwatch

LARGEST_FILE = 1 << 30  # bytes; far more than an image has, and few enough for the memory
READERS = 4  # threads that read and decode the next images, because object stores respond slowly

Image = np.ndarray | str  # uint8 (H, W, 3), RGB, or an error message


@dataclass(frozen=True)
class Task:
    """What an actor needs to write parts."""

    output: Place
    network: ray.ObjectRef  # a `Network` in Ray's store, so that the nodes need no file
    cores: int  # threads of torch
    on_gpu: bool


class PartActor:
    """Writes the part of the number that it is called with. A second call with the number writes the same part."""

    def __init__(self, task: Task):
        """Makes the network.

        Raises:
            RunError: this node has no access to the run's folder or its images, torch can't use the GPU, or OpenVINO
                can't use the graph.
        """
        node = ray.util.get_node_ip_address()
        if task.on_gpu and not torch.cuda.is_available():
            raise RunError(
                f"Ray counts a GPU on the node {node}, and torch {torch.__version__} can't use it; "
                "install a torch for it there, or start Ray with --num-gpus=0"
            )
        torch.set_num_threads(task.cores)
        self.parts = Parts(task.output)
        self.source = source_of(self.parts.settings.input).root
        if self.source.file_type == FileType.NotFound:
            raise RunError(f"there is no {self.source} on the node {node}; all nodes need access to the images")
        device = torch.device("cuda:0" if task.on_gpu else "cpu")
        network: Network = ray.get(task.network)
        try:
            self.predictor = network.predictor(device)
        except OpenVinoError as error:
            raise RunError(f"the node {node} can't use the archive's graph: {error}") from error
        settings = self.parts.settings
        self.options = PredictionOptions(
            score_threshold=settings.threshold,
            tile_size=settings.tile_size,
            tile_overlap=settings.tile_overlap,
            tile_whole=settings.tile_whole,
        )
        self.limits = Limits.of_single_images(settings.max_pixels, settings.max_side)
        self.readers = ThreadPoolExecutor(READERS)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Writes a part, unless it is complete already.

        Args:
            row: {"part": the part's number}.

        Returns:
            {"images": the number of the part's images, "seconds": that this call took, "network_seconds": that the
            network took of them}.

        Raises:
            RunError: the part can't be written, for instance because the disk is full or the GPU no longer works.
        """
        part = int(row["part"])
        started = time.perf_counter()
        stopwatch = Stopwatch()
        # a complete part was written by an actor that died afterwards
        if self.parts.is_damaged(part) or self.parts.errors(part) is None:
            try:
                self._write(part, stopwatch)
            except Exception as error:
                node = ray.util.get_node_ip_address()
                raise RunError(
                    f"the node {node} can't write part {part} of {self.parts.folder}: {_message(error)}"
                ) from error
        return {
            "images": self.parts.rows(part),
            "seconds": time.perf_counter() - started,
            "network_seconds": stopwatch.seconds.get("network", 0.0),
        }

    def _write(self, part: int, stopwatch: Stopwatch) -> None:
        tries = Tries(self.parts.tries(part))
        rows = self._rows if tries.is_first else partial(self._careful_rows, tries)
        self.parts.write(part, list(rows(self.parts.paths(part), stopwatch)))
        tries.end()

    def _rows(self, paths: Sequence[str], stopwatch: Stopwatch) -> Iterator[dict[str, Any]]:
        images = self._images(paths)
        remaining = iter(paths)
        while group := list(islice(images, self.predictor.batch_size)):
            results = iter(self._detected([each for each in group if not isinstance(each, str)], stopwatch))
            for path, image in zip(islice(remaining, len(group)), group, strict=True):
                yield self._row(path, image, image if isinstance(image, str) else next(results))

    def _careful_rows(self, tries: Tries, paths: Sequence[str], stopwatch: Stopwatch) -> Iterator[dict[str, Any]]:
        """As `_rows`, but image by image, and without the images at which earlier processes died."""
        for index, path in enumerate(paths):
            if tries.is_hopeless(index):
                error = f"{MOST_DEATHS} processes died at this image; run fewer networks at a time, or shrink the image"
                yield self._row(path, error, error)
            else:
                tries.begin(index)
                yield from self._rows([path], stopwatch)
                tries.survived(index)

    def _row(self, path: str, image: Image, result: Detections | str) -> dict[str, Any]:
        row: dict[str, Any] = {"path": path, "weights_sha256": self.parts.settings.weights}
        if not isinstance(image, str):
            row["height"], row["width"] = image.shape[:2]
        if isinstance(result, str):
            return {**row, "error": result}
        return {**row, "instances": coco_instances(result, self.parts.settings.classes)}

    def _images(self, paths: Iterable[str]) -> Iterator[Image]:
        """The images in order. The next ones are read while the network runs."""
        waiting: deque[Future[Image]] = deque()
        for path in paths:
            waiting.append(self.readers.submit(self._read, path.removeprefix(self.source.prefix)))
            if len(waiting) > max(READERS, self.predictor.batch_size):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _read(self, path: str) -> Image:
        try:
            return read_limited(self.source.filesystem, path, self.limits)
        except (ImageError, BadRequest, OSError, MemoryError) as error:
            return _message(error)

    def _detected(self, images: list[np.ndarray], stopwatch: Stopwatch) -> list[Detections | str]:
        """Detects on all images together. If that fails, it detects on each by itself, so that only bad images fail."""
        try:
            return list(self.predictor(images, self.options, stopwatch))
        except Exception as error:
            message = _message(error)
        # outside the except block, in which the error's traceback holds the tensors
        if self.predictor.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(images) > 1:
            return [result for image in images for result in self._detected([image], stopwatch)]
        # if no image works any more, this raises, so that the run stops instead of writing an error for each image
        self.predictor([np.zeros((32, 32, 3), np.uint8)])
        return [message]


def read_limited(filesystem: FileSystem, path: str, limits: Limits) -> np.ndarray:
    """Reads an image if it is within the limits.

    Returns:
        As `DecodedImage.pixels`: uint8 (H, W, 3), RGB.

    Raises:
        ImageError: the file isn't an image, or is damaged.
        BadRequest: the image exceeds the limits. It wasn't decoded.
        OSError: the file can't be read.
    """
    with filesystem.open_input_stream(path, compression=None) as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ImageError(f"the file has more than {LARGEST_FILE} bytes")
    image = EncodedImage(content, tuple(SIGNATURES))
    check_size(Size(image.height, image.width, masks=0), limits)
    return image.decoded().pixels


def _message(error: Exception) -> str:
    prefix = "" if isinstance(error, ImageError | BadRequest | OSError) else f"{type(error).__name__}: "
    return prefix + " ".join(str(error).split())
