"""Batches from a folder in COCO's format, each a function of the seed and the iteration alone."""

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from tensormask_server.config import InputConfig
from tensormask_server.images import ImageError, read_image
from tensormask_server.inputs import normalised_batch, resize_image
from tensormask_server.printable import printable
from tensormask_server.regular_files import MOST_ANNOTATIONS, read_regular
from torch import Tensor
from torch.utils.data import Dataset

from training.annotations import DataError, category_ids, check_images, outline_of, read_annotations
from training.settings import ImageConfig

Annotation = dict[str, Any]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Instances:
    """The things of one image, all of length M."""

    classes: Tensor  # int64 (M,), 0 … NUM_CLASSES-1
    boxes: Tensor  # float32 (M, 4), x0 y0 x1 y1 of the masks, in pixels of the network's input
    masks: Tensor  # uint8 (M, H, W), 0 or 1

    def to(self, device: torch.device) -> "Instances":
        return Instances(self.classes.to(device), self.boxes.to(device), self.masks.to(device))


@dataclass(frozen=True)
class Batch:
    images: Tensor  # float32 (N, 3, H, W), as `inputs.normalised_batch` gives them
    instances: list[Instances]

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.images.to(device), [each.to(device) for each in self.instances])


class CocoFolder:
    """A folder with images/ and instances.json. Crowd annotations and those that outline nothing are left out."""

    def __init__(self, folder: Path):
        """
        Raises:
            DataError: as `read_annotations`, `check_images` and `outline_of`.
        """
        self.folder = folder
        content = read_annotations(folder / "instances.json")
        check_images(content["images"], folder / "images")
        self.sha256 = hashlib.sha256(read_regular(folder / "instances.json", MOST_ANNOTATIONS)).hexdigest()
        self.category_ids = category_ids(content)
        self.entries: list[dict[str, Any]] = content["images"]
        self._annotations: dict[int, list[Annotation]] = {entry["id"]: [] for entry in self.entries}
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd", 0) and (outline := outline_of(annotation)):
                self._annotations[annotation["image_id"]].append({**annotation, "segmentation": outline})

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3), RGB.

        Raises:
            DataError: it can't be read, or hasn't the size that its annotations are for.
        """
        entry = self.entries[index]
        path = self.folder / "images" / entry["file_name"]
        try:
            image = read_image(path)
        except (ImageError, OSError) as error:
            raise DataError(str(error)) from error
        if image.shape[:2] != (entry["height"], entry["width"]):
            raise DataError(
                f"{printable(path)} has {image.shape[0]}×{image.shape[1]} pixels (height × width, turned as its "
                f"EXIF says); instances.json says {entry['height']}×{entry['width']}"
            )
        return image

    def classes_and_masks(self, index: int) -> tuple[list[int], np.ndarray]:
        """The image's M classes, and masks uint8 (M, H, W), 0 or 1."""
        entry = self.entries[index]
        height, width = entry["height"], entry["width"]
        annotations = self._annotations[entry["id"]]
        classes = [self.category_ids.index(annotation["category_id"]) for annotation in annotations]
        encoded = [_encoded(annotation["segmentation"], height, width) for annotation in annotations]
        masks = rle.decode(encoded).transpose(2, 0, 1) if encoded else np.zeros((0, height, width), np.uint8)
        return classes, masks

    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """The boxes of all instances that have an area within their image, without decoding masks.

        Returns:
            float64 (M, 4), x0 y0 x1 y1 in pixels of each instance's image; int64 (M, 2), height and width of that.

        Raises:
            DataError: an RLE has another size than its image.
        """
        boxes, shapes = [], []
        for entry in self.entries:
            height, width = entry["height"], entry["width"]
            for annotation in self._annotations[entry["id"]]:
                x0, y0, x1, y1 = _box(annotation["segmentation"], height, width)
                if x0 < x1 and y0 < y1:
                    boxes.append((x0, y0, x1, y1))
                    shapes.append((height, width))
        return np.array(boxes, np.float64).reshape(-1, 4), np.array(shapes, np.int64).reshape(-1, 2)


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
    ):
        """
        Args:
            normalisation: the channels' order, mean and deviation.
            stride: the network's; images are padded to a multiple of it.
            images_per_batch: over all processes, of which this one gets every world_size-th image.
        """
        self.data = data
        self.options = options
        self.normalisation = normalisation
        self.stride = stride
        self.images_per_batch = images_per_batch
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __getitem__(self, iteration: int) -> Batch:
        rng = np.random.default_rng([self.seed, 1, iteration])
        size = int(rng.choice(self.options.min_sizes))
        flips = rng.random(self.images_per_batch) < (0.5 if self.options.flip else 0)
        examples = []
        for i in range(self.rank, self.images_per_batch, self.world_size):
            epoch, place = divmod(iteration * self.images_per_batch + i, len(self.data))
            index = int(_order(len(self.data), self.seed, epoch)[place])
            examples.append(self._example(index, size, bool(flips[i])))
        images = normalised_batch([image for image, _ in examples], self.normalisation, self.stride, CPU)
        return Batch(images, [_padded(instances, *images.shape[2:]) for _, instances in examples])

    def _example(self, index: int, size: int, flip: bool) -> tuple[np.ndarray, Instances]:
        """The resized image, uint8 (h, w, 3), RGB, and its instances."""
        options = dataclasses.replace(self.normalisation, min_size=size, max_size=self.options.max_size)
        image = resize_image(self.data.image(index), options)
        classes, masks = self.data.classes_and_masks(index)
        masks = _resized_masks(masks, *image.shape[:2])
        if flip:
            image, masks = np.ascontiguousarray(image[:, ::-1]), masks[..., ::-1]
        return image, _instances(classes, masks)


@lru_cache(maxsize=2)
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(length)


def _encoded(segmentation: Any, height: int, width: int) -> Any:
    """COCO's polygons, or its RLE as a list or compressed, as one compressed RLE."""
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if segmentation.get("size") != [height, width]:
        raise DataError(f"an RLE is of the size {segmentation.get('size')}, and its image of [{height}, {width}]")
    if isinstance(segmentation["counts"], list):
        return rle.frPyObjects(segmentation, height, width)
    return segmentation


def _box(segmentation: Any, height: int, width: int) -> tuple[float, float, float, float]:
    """x0 y0 x1 y1 of the segmentation, as far as it lies within the image."""
    if isinstance(segmentation, list):
        x = [number for polygon in segmentation for number in polygon[::2]]
        y = [number for polygon in segmentation for number in polygon[1::2]]
        x0, y0, x1, y1 = min(x), min(y), max(x), max(y)
    else:
        x0, y0, x1, y1 = rle.toBbox(_encoded(segmentation, height, width))
        x1, y1 = x0 + x1, y0 + y1
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)


def _resized_masks(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    if masks.shape[1:] == (height, width):
        return masks
    resized = np.empty((len(masks), height, width), np.uint8)
    for out, mask in zip(resized, masks, strict=True):
        scaled = Image.fromarray(mask * 255).resize((width, height), Image.Resampling.BILINEAR)
        out[:] = np.asarray(scaled) >= 128
    return resized


def _instances(classes: list[int], masks: np.ndarray) -> Instances:
    """Leaves out the masks that have no pixel left."""
    boxes, kept = [], []
    for i, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            kept.append(i)
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return Instances(
        classes=torch.tensor([classes[i] for i in kept], dtype=torch.int64),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        masks=torch.from_numpy(np.ascontiguousarray(masks[kept])),
    )


def _padded(instances: Instances, height: int, width: int) -> Instances:
    """The instances with masks of the batch's height and width, zeros right and bottom."""
    _, mask_height, mask_width = instances.masks.shape
    padding = (0, width - mask_width, 0, height - mask_height)
    return dataclasses.replace(instances, masks=torch.nn.functional.pad(instances.masks, padding))
