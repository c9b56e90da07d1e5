"""detectron2's own TensorMask behind our interface, for who has installed it.

Like `detectron2_network` this has not been run against an installed detectron2 yet; what needs none of it is tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tensormask_server.bad_request import BadRequest
from tensormask_server.config import TensorMaskConfig, load_config
from tensormask_server.detectron2_network import Resize, build_detectron2
from tensormask_server.image_masks import ImageMasks, MaskCrop
from tensormask_server.inputs import check_images
from tensormask_server.predictor import Detections, PredictionOptions, exact_float32, one_each
from tensormask_server.timing import Stopwatch

MASK_THRESHOLD = 0.5  # detectron2's TensorMask has no other
AS_CONFIGURED = PredictionOptions()


def load_detectron2(
    config: str | Path, weights: str | Path, device: str | torch.device, least_score: float = 0.0
) -> "Detectron2Engine":
    """As `load_predictor`, with detectron2's network.

    Args:
        least_score: scores above it can be asked for; detectron2 makes masks for all of them.

    Raises:
        EngineError, ConfigError, CheckpointError: as `build_detectron2`.
    """
    torch_device = torch.device(device)
    model, resize = build_detectron2(Path(config), Path(weights), torch_device, least_score)
    return Detectron2Engine(model, resize, load_config(config), torch_device, least_score)


class Detectron2Engine:
    """The same interface as `Predictor`; one image after the other, each as detectron2's DefaultPredictor does it."""

    def __init__(
        self, model: nn.Module, resize: Resize, config: TensorMaskConfig, device: torch.device, least_score: float
    ):
        """
        Args:
            model: detectron2's, ready to be run on the device.
            resize: detectron2's transform.
        """
        self.config = config
        self.device = device
        self.network = model
        self._resize = resize
        self._least_score = least_score

    def check(self, options: PredictionOptions) -> None:
        """
        Raises:
            BadRequest: detectron2's network has another value of an option built in.
        """
        check_options(options, self.config, self._least_score)

    @torch.no_grad()
    def __call__(
        self,
        images: Sequence[np.ndarray],
        options: float | PredictionOptions | Sequence[PredictionOptions] = AS_CONFIGURED,
        stopwatch: Stopwatch | None = None,
    ) -> list[Detections]:
        """Finds the things on each image, as if it were alone.

        Args:
            images: each uint8 (H, W, 3), RGB.
            options: for all images, or one for each; a number is a score threshold.
            stopwatch: counts the time of "resize", "network" (detectron2 makes whole masks there) and "masks".

        Raises:
            ValueError: an image isn't of that shape or type, or there are more or fewer options than images.
            BadRequest: as `check`.
        """
        each_options = one_each(options, len(images))
        check_images(images)
        for wanted in each_options:
            self.check(wanted)
        watch = stopwatch or Stopwatch()
        return [self._detections(*each, watch) for each in zip(images, each_options, strict=True)]

    def _detections(self, image: np.ndarray, options: PredictionOptions, watch: Stopwatch) -> Detections:
        height, width = image.shape[:2]
        with watch("resize"):
            ordered = np.ascontiguousarray(image[:, :, ::-1] if self.config.input.format == "BGR" else image)
            resized = self._resize.get_transform(ordered).apply_image(ordered)
        with watch("network"), exact_float32(self.device):
            planes = torch.as_tensor(resized.astype(np.float32).transpose(2, 0, 1))
            [output] = self.network([{"image": planes, "height": height, "width": width}])
        with watch("masks"):
            fields = output["instances"].get_fields()
            found = Instances(
                fields["pred_boxes"].tensor, fields["scores"], fields["pred_classes"], fields.get("pred_masks")
            )
            return detections_of(found, self.config, options, height, width)


# --- what needs no detectron2 -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Instances:
    """What detectron2's network says of one image of H×W pixels, on any device."""

    boxes: Tensor  # float32 (N, 4), x0 y0 x1 y1 in the image's pixels, clipped to it
    scores: Tensor  # float32 (N,)
    classes: Tensor  # int64 (N,)
    masks: Tensor | None  # bool (N, H, W); it gives none where N is 0 or MASK_ON is False


def detections_of(
    found: Instances, config: TensorMaskConfig, options: PredictionOptions, height: int, width: int
) -> Detections:
    """Those that are asked for, best score first.

    The score threshold changes nothing else, since no detection depends on one with a worse score. The classes are
    chosen from the DETECTIONS_PER_IMAGE best things of all classes, where our own network looks for so many of the
    classes that are asked for; and max_detections counts things on the image, where ours counts those beside it too.
    """
    own = config.detection
    threshold = own.score_threshold if options.score_threshold is None else options.score_threshold
    wanted = found.scores > threshold
    if options.classes is not None:
        wanted &= torch.isin(found.classes, found.classes.new_tensor(options.classes))
    order = found.scores.argsort(descending=True, stable=True)
    chosen = order[wanted[order]][: own.max_detections if options.max_detections is None else options.max_detections]
    masks = None
    if config.head.mask_on:
        if found.masks is None and len(chosen):
            raise RuntimeError("detectron2 gave boxes and no pred_masks, with MODEL.MASK_ON True")
        # one after the other: all masks of a large image take gigabytes
        each = [] if found.masks is None else (found.masks[i].cpu().numpy() for i in chosen.tolist())
        masks = ImageMasks(height, width, [MaskCrop.of_mask(mask) for mask in each])
    return Detections(
        boxes=found.boxes[chosen].cpu().numpy(),
        scores=found.scores[chosen].cpu().numpy(),
        classes=found.classes[chosen].cpu().numpy(),
        image_masks=masks,
    )


def check_options(options: PredictionOptions, config: TensorMaskConfig, least_score: float) -> None:
    """
    Raises:
        BadRequest: detectron2's network has another value of an option built in.
    """
    own = config.detection
    if options.score_threshold is not None and options.score_threshold < least_score:
        raise _fixed("score_threshold", options.score_threshold, f"{least_score:g} or more")
    if options.nms_threshold not in (None, own.nms_threshold):
        raise _fixed("nms_threshold", options.nms_threshold, f"{own.nms_threshold:g}, NMS_THRESH_TEST")
    if options.mask_threshold != MASK_THRESHOLD:
        raise _fixed("mask_threshold", options.mask_threshold, f"{MASK_THRESHOLD:g}")
    if options.max_detections is not None and options.max_detections > own.max_detections:
        expected = f"at most {own.max_detections}, DETECTIONS_PER_IMAGE"
        raise _fixed("max_detections", options.max_detections, expected)


def _fixed(name: str, value: object, expected: str) -> BadRequest:
    return BadRequest(
        f"{name} is {value}, and this server's engine, detectron2, has it built in",
        f"{name}: {expected}; or leave it out (the engine native takes any)",
        "option",
    )
