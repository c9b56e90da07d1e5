"""Detects the instances of a batch of images together, as a GPU does: with few operations and few returns to the host.

The numbers are those of the network's own forward pass, which a CPU runs image by image.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from tensormask_server.network.batched_selection import HostCandidates, batched_detections
from tensormask_server.network.dense import DenseMaps, dense_maps
from tensormask_server.network.detection import Selection
from tensormask_server.network.graphs import Graphs
from tensormask_server.network.kernels import kernels_for
from tensormask_server.network.places import Places, places
from tensormask_server.network.selection_kernels import OPTIONS as SELECTION_OPTIONS
from tensormask_server.network.selection_kernels import SOURCE as SELECTION_SOURCE
from tensormask_server.network.stored_numbers import stored_option
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.network.transfers import images_to_device, to_device
from tensormask_server.prediction.batched_pasting import Stretching
from tensormask_server.prediction.detections import Detections
from tensormask_server.prediction.image_masks import ImageMasks
from tensormask_server.prediction.input_kernels import OPTIONS as INPUT_OPTIONS
from tensormask_server.prediction.input_kernels import SOURCE as INPUT_SOURCE
from tensormask_server.prediction.input_kernels import normalised_by_kernel
from tensormask_server.prediction.inputs import padded_shape
from tensormask_server.prediction.mask_paths import mask_path
from tensormask_server.prediction.on_image import OnImage, on_image
from tensormask_server.prediction.precision import exact_float32, exact_products
from tensormask_server.timing import Stopwatch

MOST_SHAPES = 32  # whose places are kept
MOST_THREADS = 8  # that resize images


@dataclass(frozen=True)
class Input:
    """An image of a batch, and what is wanted of it."""

    resized: np.ndarray  # uint8 (h, w, 3), RGB
    height: int  # of the original image, in pixels
    width: int
    selection: Selection
    mask_threshold: float


class BatchedPrediction:
    """Runs a network on batches of images of one padded shape."""

    def __init__(self, network: TensorMask, device: torch.device, dtype: torch.dtype, graphs: Graphs):
        """
        Args:
            network: with its weights, on its device, in evaluation mode.
            dtype: of its convolutions.
            graphs: run what is computed at every location.
        """
        self.network = network
        self.device = device
        self.dtype = dtype
        self.graphs = graphs
        config = network.config
        normalisation = config.input.pixel_mean, config.input.pixel_std
        self._mean, self._std = to_device([np.array(each, np.float32) for each in normalisation], device)
        self.mask_path = mask_path(network.head, device, dtype) if config.head.mask_on else None
        self.input_kernels = kernels_for(INPUT_SOURCE, device, (*INPUT_OPTIONS, stored_option(dtype)))
        self.selection_kernels = kernels_for(SELECTION_SOURCE, device, SELECTION_OPTIONS)
        self._places: dict[tuple[int, int], Places] = {}  # by padded shape, the latest last
        self.threads = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))

    def __call__(self, inputs: Sequence[Input], stopwatch: Stopwatch) -> list[Detections]:
        """
        Args:
            inputs: of one padded shape.
            stopwatch: measures the parts "network" and "masks".

        Returns:
            Per image its detections, in the host's memory.
        """
        with stopwatch("network"), exact_float32(self.device), exact_products(self.dtype):
            images = self.normalised([each.resized for each in inputs])
            maps = self.dense(images)
            places_of_shape = self._places_of(images.shape[2], images.shape[3])
            topk = self.network.config.detection.topk_candidates
            selections = [each.selection for each in inputs]
            found = batched_detections(maps, places_of_shape, selections, topk, self.selection_kernels)
        with stopwatch("masks"), exact_float32(self.device), exact_products(self.dtype):
            there = [
                on_image(candidates.boxes, candidates.anchor_boxes, each.resized.shape[:2], (each.height, each.width))
                for candidates, each in zip(found, inputs, strict=True)
            ]
            found = [candidates[each.kept] for candidates, each in zip(found, there, strict=True)]
            masks = self._image_masks(maps, found, there, inputs)
        return [
            Detections(each.boxes, candidates.scores, candidates.classes, of_image)
            for candidates, each, of_image in zip(found, there, masks, strict=True)
        ]

    def dense(self, images: Tensor) -> DenseMaps:
        """What is computed at every location, as one graph where there is one. It holds until the next call.

        Args:
            images: of `normalised`.
        """
        places_of_shape = self._places_of(images.shape[2], images.shape[3])
        return self.graphs.run(partial(dense_maps, self.network, places=places_of_shape), images)

    def _image_masks(
        self, maps: DenseMaps, found: Sequence[HostCandidates], there: Sequence[OnImage], inputs: Sequence[Input]
    ) -> Sequence[ImageMasks | None]:
        """The masks of each image; None without MASK_ON."""
        if self.mask_path is None:
            return [None] * len(inputs)
        counts = [len(each) for each in found]
        stretching = Stretching(
            anchors=np.concatenate([each.anchors for each in there]),
            thresholds=np.repeat(np.array([each.mask_threshold for each in inputs], np.float64), counts),
            heights=np.repeat([each.height for each in inputs], counts),
            widths=np.repeat([each.width for each in inputs], counts),
        )
        crops = iter(self.mask_path(maps.mask_towers, found, stretching))
        return [
            ImageMasks(each.height, each.width, list(islice(crops, count)))
            for each, count in zip(inputs, counts, strict=True)
        ]

    def normalised(self, images: Sequence[np.ndarray]) -> Tensor:
        """As `inputs.normalised_batch`, number for number, in the dtype of the convolutions."""
        config = self.network.config.input
        shape = padded_shape(images, self.network.stride)
        pixels = images_to_device(images, *shape, self.device)
        is_bgr = config.format == "BGR"
        if self.input_kernels is not None:
            how = self._mean, self._std, is_bgr, self.dtype, self.input_kernels
            return normalised_by_kernel(pixels, images, *how)
        if is_bgr:
            pixels = pixels.flip(3)
        batch = pixels.float().sub_(self._mean).div_(self._std)  # (N, H, W, 3)
        if len({image.shape for image in images}) == 1:
            _clear_padding(batch, images[0])
        else:
            for each, image in zip(batch, images, strict=True):
                _clear_padding(each, image)
        return batch.permute(0, 3, 1, 2).to(self.dtype)

    def _places_of(self, height: int, width: int) -> Places:
        """The places for a padded shape."""
        made = self._places.pop((height, width), None)
        if made is None:
            network = self.network
            anchors = [network.get_buffer(f"cell_anchors_{level}") for level in range(len(network.strides))]
            shapes = [(-(-height // stride), -(-width // stride)) for stride in network.strides]
            made = places(anchors, network.strides, shapes, network.config.detection.bbox_reg_weights)
        self._places[height, width] = made
        if len(self._places) > MOST_SHAPES:
            del self._places[next(iter(self._places))]
        return made


def _clear_padding(batch: Tensor, image: np.ndarray) -> None:
    """Writes zeros below and to the right of an image, (h, w, 3), in (…, H, W, 3)."""
    height, width = image.shape[:2]
    if height < batch.shape[-3]:
        batch[..., height:, :, :] = 0
    if width < batch.shape[-2]:
        batch[..., :height, width:, :] = 0
