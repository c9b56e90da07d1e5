"""Batches of images and instances, each a function of the seed and the iteration alone."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tensormask_server.network.config import InputConfig
from tensormask_server.prediction.inputs import normalised_batch, resize_image
from torch import Tensor
from torch.utils.data import Dataset

from training.coco_folder import CocoFolder
from training.resized_boxes import flipped_boxes, scaled_boxes
from training.sampling import Epochs
from training.settings import ImageConfig

CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainingInstances:
    """The instances of one image, all of length M."""

    classes: Tensor  # int64 (M,), 0 … NUM_CLASSES-1
    boxes: Tensor  # float32 (M, 4), x0 y0 x1 y1 in pixels of the network's input; bboxes, or else of the masks
    masks: Tensor  # uint8 (M, H, W), 0 or 1

    def to(self, device: torch.device) -> "TrainingInstances":
        return TrainingInstances(self.classes.to(device), self.boxes.to(device), self.masks.to(device))


@dataclass(frozen=True)
class Batch:
    """What one step learns from."""

    images: Tensor  # float32 (N, 3, H, W), as `inputs.normalised_batch` gives them
    instances: list[TrainingInstances]
    names: tuple[str, ...] = ()  # the images' file names

    def to(self, device: torch.device) -> "Batch":
        return dataclasses.replace(
            self, images=self.images.to(device), instances=[each.to(device) for each in self.instances]
        )


class Batches(Dataset[Batch]):
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

    def __getitem__(self, iteration: int) -> Batch:
        rng = np.random.default_rng([self.seed, 1, iteration])
        size = int(rng.choice(self.options.min_sizes))
        flips = rng.random(self.images_per_batch) < (0.5 if self.options.flip else 0)
        examples, names = [], []
        for i in range(self.rank, self.images_per_batch, self.world_size):
            index = self.epochs.image(iteration * self.images_per_batch + i)
            names.append(self.data.entries[index]["file_name"])
            examples.append(self._example(index, size, bool(flips[i])))
        images = normalised_batch([image for image, _ in examples], self.normalisation, self.stride, CPU)
        instances = [_padded(each, *images.shape[2:]) for _, each in examples]
        return Batch(images, instances, tuple(names))

    def _example(self, index: int, size: int, flip: bool) -> tuple[np.ndarray, TrainingInstances]:
        """The resized image, uint8 (h, w, 3), RGB, and its instances."""
        options = dataclasses.replace(self.normalisation, min_size=size, max_size=self.options.max_size)
        image = resize_image(self.data.image(index), options)
        classes = self.data.classes(index)
        masks = np.empty((len(classes), *image.shape[:2]), np.uint8)
        for instance, out in enumerate(masks):  # one at a time, as all masks of a large image would take much memory
            out[:] = _resized_mask(self.data.mask(index, instance), *image.shape[:2])
        boxes = [self._annotated_box(index, instance, image, flip) for instance in range(len(classes))]
        if flip:
            image, masks = np.ascontiguousarray(image[:, ::-1]), masks[..., ::-1]
        return image, _instances(classes, masks, boxes)

    def _annotated_box(self, index: int, instance: int, resized: np.ndarray, flip: bool) -> np.ndarray | None:
        """The instance's bbox on the resized image, float64 (4,), or None where its mask's box counts instead."""
        box, entry = self.data.annotated_box(index, instance), self.data.entries[index]
        if box is None:
            return None
        shape = np.array((entry["height"], entry["width"]))
        scaled = scaled_boxes(np.array([box]), shape, np.array(resized.shape[:2]))
        [on_resized] = flipped_boxes(scaled, resized.shape[1]) if flip else scaled
        return np.array(on_resized)


def _resized_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask, uint8 (H, W) of 0 or 1, at another size."""
    if mask.shape == (height, width):
        return mask
    scaled = Image.fromarray(mask * 255).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled) >= 128


def _instances(classes: list[int], masks: np.ndarray, annotated_boxes: list[np.ndarray | None]) -> TrainingInstances:
    """Leaves out the instances whose masks have no pixel left. Without an annotated box, the mask's box is taken."""
    boxes, kept = [], []
    for i, (mask, annotated) in enumerate(zip(masks, annotated_boxes, strict=True)):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            kept.append(i)
            of_mask = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            boxes.append(np.array(of_mask if annotated is None else annotated, np.float32))
    return TrainingInstances(
        classes=torch.tensor([classes[i] for i in kept], dtype=torch.int64),
        boxes=torch.from_numpy(np.array(boxes, np.float32).reshape(-1, 4)),
        masks=torch.from_numpy(np.ascontiguousarray(masks[kept])),
    )


def _padded(instances: TrainingInstances, height: int, width: int) -> TrainingInstances:
    """The instances with masks of the batch's height and width, zeros right and bottom."""
    _, mask_height, mask_width = instances.masks.shape
    padding = (0, width - mask_width, 0, height - mask_height)
    return dataclasses.replace(instances, masks=torch.nn.functional.pad(instances.masks, padding))
