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
        ValueError: a threshold isn't a number in its range, or an option of tiles can't be used.
    """

    score_threshold: float | None = None  # 0…1: a detection's score must be above it
    nms_threshold: float | None = None  # 0…1: a box is dropped if its IoU with a better one of its class is above it
    max_detections: int | None = None  # the best ones are returned
    classes: tuple[int, ...] | None = None  # only these classes, in ascending order; None: all classes
    mask_threshold: float = 0.5  # above 0: a pixel belongs to a mask if its probability is this or more
    # pixels of the image, a tile's side; "auto": the largest square that the network sees unreduced; None: no tiles
    tile_size: int | str | None = None
    tile_overlap: float = DEFAULT_OVERLAP  # the smallest share of a tile's side that the next tile has, too
    tile_whole: bool = True  # whether the network also sees the whole image once, for what is larger than a tile

    def __post_init__(self) -> None:
        check_tile_options(self.tile_size, self.tile_overlap, self.tile_whole)
        for name in ("score_threshold", "nms_threshold", "mask_threshold"):
            value = getattr(self, name)
            if value is None and name != "mask_threshold":
                continue
            if not isinstance(value, REAL) or isinstance(value, bool) or not 0 <= value <= 1:  # NaN isn't
                hint = did_you_mean_fraction(value)
                raise ValueError(f"{name} is {quoted(value)}{hint}; expected a number from 0 to 1")

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
    options: float | PredictionOptions | Sequence[PredictionOptions], num_images: int
) -> Sequence[PredictionOptions]:
    """Gives each image its options.

    Args:
        options: one for all images, or a sequence with one for each image. A number is a score threshold.

    Returns:
        `num_images` options.

    Raises:
        ValueError: the sequence has another length, or the number isn't from 0 to 1.
    """
    if isinstance(options, PredictionOptions):
        return [options] * num_images
    if not isinstance(options, Sequence):
        return [PredictionOptions(score_threshold=options)] * num_images
    if len(options) != num_images:
        raise ValueError(f"options has {len(options)} entries; expected {num_images}, one per image, or a single one")
    return options
