"""A batch: as the processes that read images hand it over, and as a step learns from it on its device."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from tensormask_server.network.config import InputConfig
from tensormask_server.network.transfers import to_device
from torch import Tensor

NUM_BITS = 8  # of a byte


@dataclass(frozen=True)
class TrainingInstances:
    """The instances of one image, all of length M.

    Classes and boxes stay on the host, where it is decided what each location learns. Masks are on the batch's device.
    """

    classes: Tensor  # int64 (M,), 0 … NUM_CLASSES-1
    boxes: Tensor  # float32 (M, 4), x0 y0 x1 y1 in pixels of the network's input; bboxes, or else of the masks
    masks: Tensor  # uint8 (M, H, W), 0 or 1


@dataclass(frozen=True)
class Batch:
    """What one step learns from."""

    images: Tensor  # float32 (N, 3, H, W), as `inputs.normalised_batch` gives them
    instances: list[TrainingInstances]
    names: tuple[str, ...] = ()  # the images' file names


@dataclass(frozen=True)
class PackedBatch:
    """A batch in few bytes, as it travels between processes and to a device: a quarter of the images' bytes, and an
    eighth of the masks'. N images have T instances.
    """

    pixels: Tensor  # uint8 (N, H, W, 3), RGB, zeros right of and below each image
    shapes: tuple[tuple[int, int], ...]  # of the images, (h, w) each
    counts: tuple[int, ...]  # the images' numbers of instances
    classes: Tensor  # as `TrainingInstances`, of all instances, (T,)
    boxes: Tensor  # likewise, (T, 4)
    bits: Tensor  # uint8 (T, H, ⌈W/8⌉), as numpy.packbits
    normalisation: InputConfig
    names: tuple[str, ...]

    def pin_memory(self) -> "PackedBatch":
        """The batch in memory that a GPU copies from while the host goes on. A DataLoader calls it."""
        return dataclasses.replace(self, pixels=self.pixels.pin_memory(), bits=self.bits.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """Copies the batch to a device, where it normalises the images and unpacks the masks."""
        masks = self._masks(device)
        of_images = (torch.split(each, list(self.counts)) for each in (self.classes, self.boxes, masks))
        instances = [TrainingInstances(*of_image) for of_image in zip(*of_images, strict=True)]
        return Batch(self._images(device), instances, self.names)

    def _images(self, device: torch.device) -> Tensor:
        """As `inputs.normalised_batch`, number for number, in few operations."""
        values = self.normalisation.pixel_mean, self.normalisation.pixel_std
        mean, std = to_device([np.array(each, np.float32) for each in values], device)
        pixels = self.pixels.to(device, non_blocking=True)
        if self.normalisation.format == "BGR":
            pixels = pixels.flip(3)
        images = (pixels.float() - mean) / std
        alike = len(set(self.shapes)) == 1
        for part, (height, width) in [(images, self.shapes[0])] if alike else zip(images, self.shapes, strict=True):
            if height < images.shape[1]:
                part[..., height:, :, :] = 0
            if width < images.shape[2]:
                part[..., width:, :] = 0
        return images.permute(0, 3, 1, 2)

    def _masks(self, device: torch.device) -> Tensor:
        """uint8 (T, H, W)."""
        bits = self.bits.to(device, non_blocking=True)
        [places] = to_device([np.arange(NUM_BITS, dtype=np.uint8)[::-1]], device)  # the highest bit comes first
        unpacked = (bits[..., None] >> places) & 1
        return unpacked.flatten(2)[..., : self.pixels.shape[2]]
