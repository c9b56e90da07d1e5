"""Images in, detections with masks out: the class that a Python user needs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tensormask_server.images.large import LargeImage
from tensormask_server.model_files.checkpoint import load_checkpoint
from tensormask_server.models.files import ModelFiles, config_at, files_of_model, weights_at
from tensormask_server.network.config import TensorMaskConfig, load_config
from tensormask_server.network.detection import Selection
from tensormask_server.network.fused_convolutions import fuse_convolutions
from tensormask_server.network.graphs import graphs_for
from tensormask_server.network.loading import build_network
from tensormask_server.network.norms import fold_norms
from tensormask_server.network.onednn import pack_convolutions
from tensormask_server.network.tensormask import NetworkOutput, TensorMask
from tensormask_server.network.winograd import use_winograd
from tensormask_server.options import GPU_BATCH_SIZE
from tensormask_server.prediction.batched import BatchedPrediction
from tensormask_server.prediction.batches import predict_in_batches
from tensormask_server.prediction.cpu import warn_if_emulated
from tensormask_server.prediction.detections import DEFAULT_OPTIONS, Detections, PredictionOptions, options_per_image
from tensormask_server.prediction.devices import checked_device
from tensormask_server.prediction.inputs import check_images, group_by_padded_shape, normalised_batch, resize_image
from tensormask_server.prediction.on_image import on_image
from tensormask_server.prediction.pasting import paste_masks
from tensormask_server.prediction.precision import DTYPES, exact_float32
from tensormask_server.prediction.prepared_convolutions import limit_prepared_convolutions
from tensormask_server.prediction.tiled import detect_in_tiles
from tensormask_server.timing import Stopwatch

USUAL_SHAPES = ((480, 640), (640, 480))  # of images, height and width: most of COCO's, and any others of these ratios


def load_predictor(
    config: str | Path,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    *,
    sha256: str | None = None,
    offline: bool = False,
) -> "Predictor":
    """Builds the network of a model that has a name, or of a detectron2 configuration, and loads its weights.

    Args:
        config: the path or https URL of a .yaml file; without `weights` the name of a model, such as "demo".
        weights: the path or https URL of a file of detectron2, torch or safetensors, of any ending, with detectron2's
            entries. None: those of the named model, which are downloaded once.
        device: by torch's name: "cpu", "cuda" or "cuda:0".
        precision: of the convolutions: "float32", "bfloat16" or "float16". Scores, boxes and the sampling of masks are
            always in float32.
        sha256: the hash that the weights must have, 64 hex digits. None: it isn't known.
        offline: whether downloads are forbidden. Files in the cache are used.

    Raises:
        ModelError: no model has this name, or a file can't be downloaded or has another hash.
        ConfigError: the configuration can't be read, or sets something that isn't supported.
        CheckpointError: the weights can't be read, aren't safe to read, or don't fit the configuration.
        ValueError: the precision isn't one of these, or there is no such device.

    Warns:
        SlowPrecisionWarning: the device is a CPU that emulates the precision.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(DTYPES)}")
    checked = checked_device(device)
    if weights is None:
        files = files_of_model(str(config), sha256=sha256, offline=offline)
    else:
        files = ModelFiles(config_at(config, offline=offline), weights_at(weights, sha256=sha256, offline=offline))
    network = build_network(load_config(files.config), load_checkpoint(files.weights))
    return Predictor(network, checked, DTYPES[precision])


class Predictor:
    """A TensorMask network with all that it needs to detect instances on images of any size.

    `load_predictor` makes one. The class has the interface of `Engine`.
    """

    def __init__(
        self, network: TensorMask, device: torch.device, dtype: torch.dtype, winograd: bool = True, fused: bool = True
    ):
        """Prepares the network in place: folds its norms, converts its convolutions, and moves it to the device.

        Args:
            network: belongs to the predictor from now on.
            dtype: of the convolutions.
            winograd: whether a CPU in float32 computes most 3×3 convolutions with a quarter of the multiplications
                (see `network.winograd`).
            fused: whether a CPU computes convolutions together with what follows them (see `network.onednn`).

        Warns:
            SlowPrecisionWarning: the device is a CPU that emulates the dtype.
        """
        if device.type == "cpu":
            limit_prepared_convolutions()
            warn_if_emulated(dtype)
        fold_norms(network)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # left out there
        if winograd and device.type == "cpu" and dtype == torch.float32:
            use_winograd(network)
        if fused and device.type == "cpu":
            pack_convolutions(network)
        self.network = network.eval().requires_grad_(False).to(device)
        if device.type == "cuda":
            fuse_convolutions(self.network, device, dtype)
        self.device = device
        self.dtype = dtype
        # a CPU, and a GPU in float32, take as long for a batch as for its images one by one, which need less memory
        self.batch_size = 1 if device.type == "cpu" or dtype == torch.float32 else GPU_BATCH_SIZE
        self.batched: BatchedPrediction | None = None  # a GPU runs images together
        if device.type != "cpu":
            self.batched = BatchedPrediction(self.network, device, dtype, graphs_for(device))

    @property
    def config(self) -> TensorMaskConfig:
        return self.network.config

    def check(self, options: PredictionOptions) -> None:
        """Does nothing: this engine supports all options. `Engine` requires the method."""

    def prepare(self) -> None:
        """Runs images of usual shapes before the first request.

        A GPU records their graphs. A CPU prepares the convolutions with what follows them.
        """
        if self.batched is None:
            self([np.zeros((*USUAL_SHAPES[0], 3), np.uint8)])
            return
        for shape in USUAL_SHAPES:
            for _ in range(2):  # a graph is recorded at a shape's second image
                self([np.zeros((*shape, 3), np.uint8)])

    @torch.inference_mode()
    def __call__(
        self,
        images: Sequence[np.ndarray | LargeImage],
        options: float | PredictionOptions | Sequence[PredictionOptions] = DEFAULT_OPTIONS,
        stopwatch: Stopwatch | None = None,
    ) -> list[Detections]:
        """Detects the instances on each image.

        An image's detections don't depend on the other images. In half precision a GPU runs images and tiles of the
        same shape together.

        Args:
            images: each uint8 (H, W, 3), RGB, or a `LargeImage`.
            options: one for all images, or a sequence with one for each image. A number is a score threshold.
            stopwatch: measures the parts "resize", "network" and "masks".

        Returns:
            One `Detections` per image, in the order of the images, in the host's memory.

        Raises:
            ValueError: an image has another shape or dtype, there isn't one option per image, or there is no such
                class.
            LargeMasksError: the masks of an image together are too large.
            ImageError: a part of a `LargeImage` is damaged.
        """
        image_options = options_per_image(options, len(images), self.config.head.num_classes)
        check_images(images)
        stopwatch = stopwatch or Stopwatch()
        detect = partial(self._detect, stopwatch)
        return detect_in_tiles(detect, images, image_options, self.config, self.batch_size, stopwatch)

    def _detect(
        self,
        stopwatch: Stopwatch,
        images: Sequence[np.ndarray | LargeImage],
        image_options: Sequence[PredictionOptions],
    ) -> list[Detections]:
        """Detects the instances on each image as a whole."""
        if self.batched is not None:
            complete = [each.completed(self.config.detection) for each in image_options]
            return predict_in_batches(self.batched, images, complete, self.batch_size, stopwatch)
        with stopwatch("resize"):
            inputs = [resize_image(image, self.config.input) for image in images]
        detections: dict[int, Detections] = {}
        for group in group_by_padded_shape(inputs, self.network.stride, self.batch_size):
            with stopwatch("network"):
                outputs = self._run([inputs[i] for i in group], [self._selection(image_options[i]) for i in group])
            with stopwatch("masks"):
                for i, output in zip(group, outputs, strict=True):
                    shapes = inputs[i].shape[:2], images[i].shape[:2]
                    detections[i] = _detections_on_image(output, image_options[i].mask_threshold, *shapes)
        return [detections[i] for i in range(len(images))]

    def _selection(self, options: PredictionOptions) -> Selection:
        complete = options.completed(self.config.detection)
        return Selection(complete.score_threshold, complete.nms_threshold, complete.max_detections, complete.classes)

    def _run(self, inputs: list[np.ndarray], selections: list[Selection]) -> list[NetworkOutput]:
        """Runs the network on one batch of resized images."""
        batch = normalised_batch(inputs, self.config.input, self.network.stride, self.device)  # (N, 3, H, W)
        with exact_float32(self.device):
            outputs: list[NetworkOutput] = self.network(batch.to(self.dtype), selections)
        return outputs


def _detections_on_image(
    output: NetworkOutput, mask_threshold: float, resized_shape: tuple[int, ...], image_shape: tuple[int, ...]
) -> Detections:
    """Maps boxes and masks of a network on the CPU to the original image, with the arguments of `on_image`."""
    candidates = output.candidates
    there = on_image(candidates.boxes.numpy(), candidates.anchor_boxes.numpy(), resized_shape, image_shape)
    masks = None
    if output.masks is not None:
        probabilities = _mask_probabilities([output.masks[i] for i in there.kept.tolist()])
        masks = paste_masks(probabilities, there.anchors, mask_threshold, *image_shape)
    return Detections(
        boxes=there.boxes,
        scores=candidates.scores.numpy()[there.kept],
        classes=candidates.classes.numpy()[there.kept],
        image_masks=masks,
    )


def _mask_probabilities(logits: list[Tensor]) -> list[np.ndarray]:
    """The sigmoids of N masks' logits, (M, M) each with its own M."""
    if not logits:
        return []
    probabilities = torch.cat([mask.flatten() for mask in logits]).sigmoid_().numpy()
    ends = np.cumsum([mask.numel() for mask in logits])
    return [part.reshape(mask.shape) for part, mask in zip(np.split(probabilities, ends[:-1]), logits, strict=True)]
