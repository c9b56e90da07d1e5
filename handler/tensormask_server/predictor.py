"""Images in, detections with their masks out: the one class that a Python user needs."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tensormask_server.checkpoint import load_checkpoint
from tensormask_server.config import TensorMaskConfig, load_config
from tensormask_server.cpu import warn_if_emulated
from tensormask_server.image_masks import ImageMasks, paste_masks
from tensormask_server.inputs import check_images, normalised, resize_image, same_shaped
from tensormask_server.network.detection import Selection
from tensormask_server.network.loading import build_network
from tensormask_server.network.norms import fold_norms
from tensormask_server.network.strategies import strategy_for
from tensormask_server.network.tensormask import NetworkOutput, TensorMask
from tensormask_server.network.winograd import use_winograd
from tensormask_server.timing import Stopwatch

LARGEST_BATCH = 8  # images at once on a GPU
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class PredictionOptions:
    """What to find on an image; None stands for the configuration's own value."""

    score_threshold: float | None = None  # scores strictly above it
    nms_threshold: float | None = None  # a box with an IoU strictly above it to a better one of its class is dropped
    max_detections: int | None = None
    classes: tuple[int, ...] | None = None  # these alone, rising; None: all
    mask_threshold: float = 0.5  # above 0: a mask is on where the probability is this or more


@dataclass(frozen=True)
class Detections:
    """What was found on one image, best score first; N things, on an image of H×W pixels."""

    boxes: np.ndarray  # float32 (N, 4), x0 y0 x1 y1 in the image's pixels, clipped to it
    scores: np.ndarray  # float32 (N,), falling
    classes: np.ndarray  # int64 (N,), 0 … NUM_CLASSES-1
    image_masks: ImageMasks | None  # of N things, small; None when MASK_ON is False

    @classmethod
    def of_masks(
        cls, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, masks: np.ndarray | None
    ) -> "Detections":
        """With masks as `masks` gives them."""
        return cls(boxes, scores, classes, None if masks is None else ImageMasks.of_masks(masks))

    @cached_property
    def masks(self) -> np.ndarray | None:
        """bool (N, H, W): every pixel of every mask, N·H·W bytes, made when first asked for."""
        return None if self.image_masks is None else self.image_masks.dense()

    def __len__(self) -> int:
        return len(self.scores)


def load_predictor(
    config: str | Path, weights: str | Path, device: str | torch.device = "cpu", precision: str = "float32"
) -> "Predictor":
    """Builds the network of a detectron2 configuration with its weights.

    Args:
        config: a .yaml file.
        weights: a .pkl or .pth file of detectron2, or a .safetensors one of the same entries.
        device: as torch names it, "cpu" or "cuda:0".
        precision: of the convolutions: "float32", "bfloat16" or "float16". Scores, boxes and the sampling of masks are
            always in float32.

    Raises:
        ConfigError: the configuration can't be read or asks for something that isn't supported.
        CheckpointError: the weights can't be read, aren't safe to read, or don't fit the configuration.
        ValueError: the precision isn't one of these.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; supported: {', '.join(PRECISIONS)}")
    network = build_network(load_config(config), load_checkpoint(weights))
    return Predictor(network, torch.device(device), PRECISIONS[precision])


class Predictor:
    """A TensorMask network ready for images of any size. Made by `load_predictor`."""

    def __init__(self, network: TensorMask, device: torch.device, dtype: torch.dtype, winograd: bool = True):
        """Takes the network over: its norms are folded, its convolutions converted, and it moves to the device.

        Args:
            winograd: on a CPU in float32, most 3×3 convolutions in a quarter of the products (see `network.winograd`).

        Warns:
            SlowPrecisionWarning: the device is a CPU that emulates the dtype.
        """
        if device.type == "cpu":
            warn_if_emulated(dtype)
        fold_norms(network)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # left out there
        if winograd and device.type == "cpu" and dtype == torch.float32:
            use_winograd(network)
        network.strategy = strategy_for(device)
        self.network = network.eval().requires_grad_(False).to(device)
        self.device = device
        self.dtype = dtype
        # a CPU is as fast with one image after the other, in the memory of one
        self.largest_batch = 1 if device.type == "cpu" else LARGEST_BATCH

    @property
    def config(self) -> TensorMaskConfig:
        return self.network.config

    def check(self, options: PredictionOptions) -> None:
        """Refuses nothing: see `Engine`."""

    @torch.inference_mode()
    def __call__(
        self,
        images: Sequence[np.ndarray],
        options: "float | PredictionOptions | Sequence[PredictionOptions]" = PredictionOptions(),
        stopwatch: Stopwatch | None = None,
    ) -> list[Detections]:
        """Finds the things on each image, as if it were alone; on a GPU images of one shape run together.

        Args:
            images: each uint8 (H, W, 3), RGB.
            options: for all images, or one for each; a number is a score threshold.
            stopwatch: counts the time of "resize", "network" and "masks".

        Returns:
            One `Detections` per image, in order, on the host.

        Raises:
            ValueError: an image isn't of that shape or type, or there are more or fewer options than images.
        """
        each_options = one_each(options, len(images))
        check_images(images)
        watch = stopwatch or Stopwatch()
        with watch("resize"):
            inputs = [resize_image(image, self.config.input) for image in images]
        found: list[Detections | None] = [None] * len(images)
        for group in same_shaped(inputs, self.network.stride, self.largest_batch):
            with watch("network"):
                outputs = self._run([inputs[i] for i in group], [self._selection(each_options[i]) for i in group])
            with watch("masks"):
                for i, output in zip(group, outputs, strict=True):
                    shapes = inputs[i].shape[:2], images[i].shape[:2]
                    found[i] = _on_image(output, each_options[i].mask_threshold, *shapes)
        return [detections for detections in found if detections is not None]

    def _selection(self, options: PredictionOptions) -> Selection:
        own = self.config.detection
        return Selection(
            own.score_threshold if options.score_threshold is None else options.score_threshold,
            own.nms_threshold if options.nms_threshold is None else options.nms_threshold,
            own.max_detections if options.max_detections is None else options.max_detections,
            options.classes,
        )

    def _run(self, inputs: list[np.ndarray], selections: list[Selection]) -> list[NetworkOutput]:
        """Resized images that are padded to one shape, through the network."""
        batch = normalised(inputs, self.config.input, self.network.stride, self.device)
        with exact_float32(self.device):
            outputs: list[NetworkOutput] = self.network(batch.to(self.dtype), selections)
        return outputs


def exact_float32(device: torch.device) -> AbstractContextManager[None]:
    """On CUDA torch lets convolutions round float32 to TF32 unless told not to."""
    if device.type == "cuda":
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return nullcontext()


def one_each(
    options: float | PredictionOptions | Sequence[PredictionOptions], count: int
) -> Sequence[PredictionOptions]:
    """
    Raises:
        ValueError: there are neither one nor `count`.
    """
    if isinstance(options, PredictionOptions):
        return [options] * count
    if not isinstance(options, Sequence):
        return [PredictionOptions(score_threshold=float(options))] * count
    if len(options) != count:
        raise ValueError(f"there are {len(options)} options; expected one, or {count} as images")
    return options


def _on_image(
    output: NetworkOutput, mask_threshold: float, resized: tuple[int, ...], original: tuple[int, ...]
) -> Detections:
    """Boxes and masks from the resized image to the original one (docs/NETWORK.md, sections 7 and 8)."""
    candidates = output.candidates
    height, width = original
    scale = torch.tensor([width / resized[1], height / resized[0]] * 2, device=candidates.boxes.device)
    limit = torch.tensor([width, height] * 2, device=candidates.boxes.device)
    boxes = (candidates.boxes * scale).clamp(min=torch.zeros_like(limit), max=limit)
    keep = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero(as_tuple=True)[0]
    masks = None
    if output.masks is not None:
        anchors = (candidates.anchor_boxes[keep].double() * scale).cpu().numpy()
        probabilities = _probabilities([output.masks[i] for i in keep.tolist()])
        masks = paste_masks(probabilities, anchors, mask_threshold, height, width)
    return Detections(
        boxes=boxes[keep].cpu().numpy(),
        scores=candidates.scores[keep].cpu().numpy(),
        classes=candidates.classes[keep].cpu().numpy(),
        image_masks=masks,
    )


def _probabilities(masks: list[Tensor]) -> list[np.ndarray]:
    """Of the logits of masks of several sizes, (M, M) each, all together and with one copy to the host."""
    if not masks:
        return []
    values = torch.cat([mask.flatten() for mask in masks]).sigmoid_().cpu().numpy()
    ends = np.cumsum([mask.numel() for mask in masks])
    return [part.reshape(mask.shape) for part, mask in zip(np.split(values, ends[:-1]), masks, strict=True)]
