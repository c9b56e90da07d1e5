"""detectron2's own TensorMask as an `Engine`, for users who have installed detectron2.

This file and `detectron2_network` haven't been run with an installed detectron2 yet. The parts that don't need it are
tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tensormask_server.images.large import LargeImage, all_of
from tensormask_server.network.config import TensorMaskConfig, load_config
from tensormask_server.prediction.detections import (
    DEFAULT_OPTIONS,
    Detections,
    PredictionOptions,
    UnsupportedOption,
    options_per_image,
)
from tensormask_server.prediction.detectron2_network import Resize, build_detectron2
from tensormask_server.prediction.image_masks import ImageMasks, MaskCrop
from tensormask_server.prediction.inputs import check_images
from tensormask_server.prediction.precision import exact_float32
from tensormask_server.prediction.prepared_convolutions import limit_prepared_convolutions
from tensormask_server.prediction.tiled import detect_in_tiles
from tensormask_server.timing import Stopwatch

MASK_THRESHOLD = 0.5  # a constant in detectron2's TensorMask
KNOWN_OPTIONS = (
    "score_threshold",
    "nms_threshold",
    "max_detections",
    "classes",
    "mask_threshold",
    "tile_size",
    "tile_overlap",
    "tile_whole",
)


def load_detectron2(
    config: str | Path, weights: str | Path, device: str | torch.device, min_score: float = 0.0
) -> "Detectron2Engine":
    """Builds detectron2's network of a configuration and loads its weights.

    Args:
        config, weights, device: as in `load_predictor`.
        min_score: the lowest score threshold that can be requested. detectron2 makes a mask for each score above it.

    Raises:
        EngineError, ConfigError, CheckpointError: as `build_detectron2`.
    """
    torch_device = torch.device(device)
    if torch_device.type == "cpu":
        limit_prepared_convolutions()
    model, resize = build_detectron2(Path(config), Path(weights), torch_device, min_score)
    return Detectron2Engine(model, resize, load_config(config), torch_device, min_score)


class Detectron2Engine:
    """Runs detectron2's network with `Predictor`'s interface.

    It runs one image at a time and prepares it as detectron2's DefaultPredictor does.
    """

    def __init__(
        self, network: nn.Module, resize: Resize, config: TensorMaskConfig, device: torch.device, min_score: float
    ):
        """
        Args:
            network: detectron2's, in evaluation mode, on the device.
            resize: detectron2's ResizeShortestEdge.
            min_score: as in `load_detectron2`.
        """
        self.config = config
        self.device = device
        self.network = network
        self._resize = resize
        self._min_score = min_score

    def check(self, options: PredictionOptions) -> None:
        """Checks options before an image is run with them.

        Raises:
            UnsupportedOption: as `check_options`.
        """
        check_options(options, self.config, self._min_score)

    @torch.no_grad()
    def __call__(
        self,
        images: Sequence[np.ndarray | LargeImage],
        options: float | PredictionOptions | Sequence[PredictionOptions] = DEFAULT_OPTIONS,
        stopwatch: Stopwatch | None = None,
    ) -> list[Detections]:
        """Detects the instances on each image.

        Args:
            images: each uint8 (H, W, 3), RGB. A `LargeImage` becomes an array where it is seen as a whole.
            options: one for all images, or a sequence with one for each image. A number is a score threshold.
            stopwatch: measures the parts "resize", "network" and "masks". detectron2 makes dense masks in "network".

        Returns:
            One `Detections` per image, in the order of the images, in the host's memory.

        Raises:
            ValueError: an image has another shape or dtype, there isn't one option per image, or there is no such
                class.
            UnsupportedOption: as `check_options`.
        """
        image_options = options_per_image(options, len(images), self.config.head.num_classes)
        check_images(images)
        for each in image_options:
            self.check(each)
        stopwatch = stopwatch or Stopwatch()
        detect = partial(self._detect_each, stopwatch)
        return detect_in_tiles(detect, images, image_options, self.config, 1, stopwatch)

    def _detect_each(
        self,
        stopwatch: Stopwatch,
        images: Sequence[np.ndarray | LargeImage],
        image_options: Sequence[PredictionOptions],
    ) -> list[Detections]:
        """Detects the instances on each image as a whole."""
        return [self._detect(all_of(image), each, stopwatch) for image, each in zip(images, image_options, strict=True)]

    def _detect(self, image: np.ndarray, options: PredictionOptions, stopwatch: Stopwatch) -> Detections:
        height, width = image.shape[:2]
        with stopwatch("resize"):
            channels = np.ascontiguousarray(image[:, :, ::-1] if self.config.input.format == "BGR" else image)
            resized = self._resize.get_transform(channels).apply_image(channels)
        with stopwatch("network"), exact_float32(self.device):
            pixels = torch.as_tensor(resized.astype(np.float32).transpose(2, 0, 1))  # (3, h, w)
            [output] = self.network([{"image": pixels, "height": height, "width": width}])
        with stopwatch("masks"):
            fields = output["instances"].get_fields()
            instances = Instances(
                fields["pred_boxes"].tensor, fields["scores"], fields["pred_classes"], fields.get("pred_masks")
            )
            return select_detections(instances, self.config, options, height, width)


# --- what needs no detectron2 -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Instances:
    """The output of detectron2's network for one image of H×W pixels, on any device."""

    boxes: Tensor  # float32 (N, 4): x0 y0 x1 y1 in pixels of the image, clipped to it
    scores: Tensor  # float32 (N,)
    classes: Tensor  # int64 (N,)
    masks: Tensor | None  # bool (N, H, W); None if N is 0 or MASK_ON is False


def select_detections(
    instances: Instances, config: TensorMaskConfig, options: PredictionOptions, height: int, width: int
) -> Detections:
    """Selects the instances that the options request, best score first.

    The score threshold doesn't change the instances above it, because none depends on one with a lower score.
    Two options differ slightly from our own network's:

    - classes: detectron2 keeps the best DETECTIONS_PER_IMAGE instances of all classes, and these are chosen from them.
      Our network keeps as many of the requested classes.
    - max_detections: it counts the boxes within the image here. Our network also counts boxes beside the image.

    Args:
        instances: at most DETECTIONS_PER_IMAGE.
        height, width: of the image, in pixels.
    """
    complete = options.completed(config.detection)
    selected = instances.scores > complete.score_threshold  # bool (N,)
    if options.classes is not None:
        selected &= torch.isin(instances.classes, instances.classes.new_tensor(options.classes))
    order = instances.scores.argsort(descending=True, stable=True)
    indices = order[selected[order]][: complete.max_detections]
    masks = None
    if config.head.mask_on:
        if instances.masks is None and len(indices):
            raise RuntimeError("detectron2 returned boxes without pred_masks, though MODEL.MASK_ON is True")
        # one mask at a time, because all masks of a large image take gigabytes
        dense = [] if instances.masks is None else (instances.masks[i].cpu().numpy() for i in indices.tolist())
        masks = ImageMasks(height, width, [MaskCrop.of_mask(mask) for mask in dense])
    return Detections(
        boxes=instances.boxes[indices].cpu().numpy(),
        scores=instances.scores[indices].cpu().numpy(),
        classes=instances.classes[indices].cpu().numpy(),
        image_masks=masks,
    )


def check_options(options: PredictionOptions, config: TensorMaskConfig, min_score: float) -> None:
    """Checks that detectron2's network can predict with these options.

    Raises:
        UnsupportedOption: the network was built with another value.
    """
    configured = config.detection
    if options.score_threshold is not None and options.score_threshold < min_score:
        raise _unsupported("score_threshold", options.score_threshold, f"{min_score:g} or more")
    if options.nms_threshold not in (None, configured.nms_threshold):
        expected = f"{configured.nms_threshold:g}, the configuration's NMS_THRESH_TEST"
        raise _unsupported("nms_threshold", options.nms_threshold, expected)
    if options.mask_threshold != MASK_THRESHOLD:
        raise _unsupported("mask_threshold", options.mask_threshold, f"{MASK_THRESHOLD:g}")
    if options.max_detections is not None and options.max_detections > configured.max_detections:
        expected = f"at most {configured.max_detections}, the configuration's DETECTIONS_PER_IMAGE"
        raise _unsupported("max_detections", options.max_detections, expected)
    for each in fields(options):  # an option that this engine doesn't know must not be ignored
        if each.name not in KNOWN_OPTIONS and getattr(options, each.name) != each.default:
            raise _unsupported(each.name, getattr(options, each.name), f"{each.default}")


def _unsupported(name: str, value: object, expected: str) -> UnsupportedOption:
    return UnsupportedOption(
        f"{name} is {value}, which the engine detectron2 doesn't support",
        f"{name}: {expected}; or leave the option out (the engine native supports all values)",
    )
