"""The input and the output of an engine beside the images: `PredictionOptions` and `Detections`. Needs NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tensormask_server.prediction.image_masks import ImageMasks
from tensormask_server.printable import quoted
from tensormask_server.spelling import did_you_mean_fraction
from tensormask_server.tile_options import DEFAULT_OVERLAP, check_tile_options

REAL = (int, float, np.floating, np.integer)
WHOLE = (int, np.integer)

if TYPE_CHECKING:  # the network's modules import torch
    from tensormask_server.network.config import DetectionConfig


@dataclass(frozen=True)
class CompleteOptions:
    """As `PredictionOptions`, with each value known."""

    score_threshold: float
    nms_threshold: float
    max_detections: int
    classes: tuple[int, ...] | None  # None: all classes
    mask_threshold: float


@dataclass(frozen=True)
class PredictionOptions:
    """Which detections of an image are returned. None stands for the value in the model's configuration.

    Raises:
        ValueError: a value isn't in its range, the classes aren't in ascending order, or an option of tiles can't be
            used.
    """

    score_threshold: float | None = None  # 0…1: a detection's score must be above it
    nms_threshold: float | None = None  # 0…1: a box is dropped if its IoU with a better one of its class is above it
    max_detections: int | None = None  # 0 or more: the best ones are returned
    # only these classes, each once and in ascending order, 0 … NUM_CLASSES-1. None: all classes
    classes: tuple[int, ...] | None = None
    mask_threshold: float = 0.5  # above 0, at most 1: a pixel belongs to a mask if its probability is this or more
    # pixels of the image, a tile's side; "auto": the largest square that the network sees unreduced; None: no tiles
    tile_size: int | str | None = None
    tile_overlap: float = DEFAULT_OVERLAP  # neighbouring tiles overlap by at least this fraction of a tile's side
    tile_whole: bool = True  # whether the network also sees the whole image once, for what is larger than a tile

    def __post_init__(self) -> None:
        check_tile_options(self.tile_size, self.tile_overlap, self.tile_whole)
        for name in ("score_threshold", "nms_threshold", "mask_threshold"):
            value = getattr(self, name)
            is_mask = name == "mask_threshold"
            if value is None and not is_mask:
                continue
            is_number = isinstance(value, REAL) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= 1 or (is_mask and value == 0):  # NaN isn't in the range
                expected = "a number above 0, at most 1" if is_mask else "a number from 0 to 1"
                raise ValueError(f"{name} is {quoted(value)}{did_you_mean_fraction(value)}; expected {expected}")
        if self.max_detections is not None and not _is_whole(self.max_detections):
            raise ValueError(f"max_detections is {quoted(self.max_detections)}; expected a whole number, 0 or more")
        if self.classes is not None:
            numbers = self.classes if isinstance(self.classes, tuple) else None
            if numbers is None or not all(map(_is_whole, numbers)) or list(numbers) != sorted(set(numbers)):
                expected = "a tuple of class numbers, 0 or more, each once and in ascending order"
                raise ValueError(f"classes is {quoted(self.classes)}; expected {expected}")

    def completed(self, configured: "DetectionConfig") -> CompleteOptions:
        """Replaces each None by the value in the model's configuration."""
        return CompleteOptions(
            configured.score_threshold if self.score_threshold is None else self.score_threshold,
            configured.nms_threshold if self.nms_threshold is None else self.nms_threshold,
            configured.max_detections if self.max_detections is None else self.max_detections,
            self.classes,
            self.mask_threshold,
        )


DEFAULT_OPTIONS = PredictionOptions()


class UnsupportedOption(ValueError):
    """An engine can't predict with the value of an option."""

    def __init__(self, error: str, expected: str):
        """
        Args:
            error: names the option, the value and the engine.
            expected: the values that the engine can use.
        """
        super().__init__(f"{error}; expected {expected}")
        self.error = error
        self.expected = expected


@dataclass(frozen=True)
class Detections:
    """The N instances that were detected on one image of H×W pixels, best score first."""

    boxes: np.ndarray  # float32 (N, 4): x0 y0 x1 y1 in pixels of the image, clipped to it
    scores: np.ndarray  # float32 (N,): 0…1, in descending order
    classes: np.ndarray  # int64 (N,): 0 … NUM_CLASSES-1
    image_masks: ImageMasks | None  # N masks in compact form; None if MASK_ON is False

    @classmethod
    def of_masks(
        cls, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, masks: np.ndarray | None
    ) -> "Detections":
        """Makes detections from dense masks: bool (N, H, W), or None."""
        return cls(boxes, scores, classes, None if masks is None else ImageMasks.of_masks(masks))

    @cached_property
    def masks(self) -> np.ndarray | None:
        """bool (N, H, W): dense masks. They take N·H·W bytes, and are made on the first access."""
        return None if self.image_masks is None else self.image_masks.dense()

    def __len__(self) -> int:
        return len(self.scores)


def options_per_image(
    options: float | PredictionOptions | Sequence[PredictionOptions], num_images: int, num_classes: int
) -> Sequence[PredictionOptions]:
    """Gives each image its options.

    Args:
        options: one for all images, or a sequence with one for each image. A number is a score threshold.
        num_images: how many images there are.
        num_classes: of the network.

    Returns:
        `num_images` options.

    Raises:
        ValueError: the sequence has another length, the number isn't from 0 to 1, or the network has no such class.
    """
    if isinstance(options, PredictionOptions):
        options = [options] * num_images
    elif not isinstance(options, Sequence):
        options = [PredictionOptions(score_threshold=options)] * num_images
    if len(options) != num_images:
        raise ValueError(f"options has {len(options)} entries; expected {num_images}, one per image, or a single one")
    for each in options:
        if each.classes and each.classes[-1] >= num_classes:
            raise ValueError(f"classes has {each.classes[-1]}; expected numbers from 0 to {num_classes - 1}")
    return options


def _is_whole(value: object) -> bool:
    return isinstance(value, WHOLE) and not isinstance(value, bool) and bool(value >= 0)
