"""Batches of images and instances, each a function of the seed and the iteration alone."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from tensormask_server.network.config import InputConfig
from tensormask_server.prediction.inputs import padded_shape, resize_image
from torch import Tensor
from torch.utils.data import Dataset

from training.batch import PackedBatch
from training.coco_folder import CocoFolder
from training.cropped_masks import CroppedMask, resized_mask
from training.resized_boxes import flipped_boxes, scaled_boxes
from training.sampling import Epochs
from training.settings import ImageConfig


@dataclass(frozen=True)
class _Instance:
    class_index: int
    box: np.ndarray  # float64 (4,), x0 y0 x1 y1
    mask: CroppedMask


class Batches(Dataset[PackedBatch]):
    """The batch of each iteration: images in a new order in each epoch, scaled to one drawn size and flipped."""

    def __init__(
        self,
        data: CocoFolder,
        options: ImageConfig,
        normalisation: InputConfig,
        stride: int,
        images_per_batch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        repeat_factors: np.ndarray | None = None,
    ):
        """
        Args:
            data: the images and instances.
            options: the sizes and flips.
            normalisation: the channels' order, mean and deviation.
            stride: the network's; images are padded to a multiple of it.
            images_per_batch: over all processes, of which this one gets every world_size-th image.
            seed: of the order, the sizes and the flips.
            rank, world_size: this process's number, from 0 on, and the number of processes.
            repeat_factors: as `Epochs`; None: each epoch shows every image once.
        """
        self.data = data
        self.options = options
        self.normalisation = normalisation
        self.stride = stride
        self.images_per_batch = images_per_batch
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epochs = Epochs(np.ones(len(data)) if repeat_factors is None else repeat_factors, seed)

    def __getitem__(self, iteration: int) -> PackedBatch:
        rng = np.random.default_rng([self.seed, 1, iteration])
        size = int(rng.choice(self.options.min_sizes))
        flips = rng.random(self.images_per_batch) < (0.5 if self.options.flip else 0)
        examples, names = [], []
        for i in range(self.rank, self.images_per_batch, self.world_size):
            index = self.epochs.image(iteration * self.images_per_batch + i)
            names.append(self.data.entries[index]["file_name"])
            examples.append(self._example(index, size, bool(flips[i])))
        height, width = padded_shape([image for image, _ in examples], self.stride)
        instances = [of_image for _, of_image in examples]
        bits = [each.mask.bits(height, width) for of_image in instances for each in of_image]
        return PackedBatch(
            pixels=_stacked([image for image, _ in examples], height, width),
            shapes=tuple((image.shape[0], image.shape[1]) for image, _ in examples),
            counts=tuple(map(len, instances)),
            classes=torch.tensor([each.class_index for of_image in instances for each in of_image], dtype=torch.int64),
            boxes=torch.from_numpy(_array([each.box for of_image in instances for each in of_image], np.float32, 4)),
            bits=torch.from_numpy(_array(bits, np.uint8, height, -(-width // 8))),
            normalisation=self.normalisation,
            names=tuple(names),
        )

    def _example(self, index: int, size: int, flip: bool) -> tuple[np.ndarray, list[_Instance]]:
        """The resized image, uint8 (h, w, 3), RGB, and its instances, less those whose masks have no pixel left."""
        options = dataclasses.replace(self.normalisation, min_size=size, max_size=self.options.max_size)
        image = resize_image(self.data.image(index), options)
        instances = []
        for number, class_index in enumerate(self.data.classes(index)):
            mask = resized_mask(self.data.mask(index, number), *image.shape[:2])
            if flip:
                mask = mask.flipped(image.shape[1])
            if mask.pixels.size:
                annotated = self._annotated_box(index, number, image, flip)
                box = np.array(mask.box, np.float64) if annotated is None else annotated
                instances.append(_Instance(class_index, box, mask))
        return image[:, ::-1] if flip else image, instances

    def _annotated_box(self, index: int, instance: int, resized: np.ndarray, flip: bool) -> np.ndarray | None:
        """The instance's bbox on the resized image, float64 (4,), or None where its mask's box counts instead."""
        box, entry = self.data.annotated_box(index, instance), self.data.entries[index]
        if box is None:
            return None
        shape = np.array((entry["height"], entry["width"]))
        scaled = scaled_boxes(np.array([box]), shape, np.array(resized.shape[:2]))
        [on_resized] = flipped_boxes(scaled, resized.shape[1]) if flip else scaled
        return np.array(on_resized)


def _stacked(images: list[np.ndarray], height: int, width: int) -> Tensor:
    """Images with zeros right and below, uint8 (N, height, width, 3)."""
    stacked = np.zeros((len(images), height, width, 3), np.uint8)
    for padded, image in zip(stacked, images, strict=True):
        padded[: image.shape[0], : image.shape[1]] = image
    return torch.from_numpy(stacked)


def _array(rows: list[np.ndarray], dtype: type[np.generic], *shape: int) -> np.ndarray:
    return np.array(rows, dtype).reshape(len(rows), *shape)
