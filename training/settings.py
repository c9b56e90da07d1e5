"""What training reads of a detectron2 configuration, beside what inference does: typed, with detectron2's defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensormask_server.model_files.detectron2_yaml import load_merged_yaml
from tensormask_server.model_files.key_reader import ConfigError, KeyReader, is_list
from tensormask_server.network.config import TensorMaskConfig, parse_config

MOST_ITERATIONS = 1 << 31
# of detectron2's SOLVER: what is read here, what must be as it is by default, and what nothing here depends on
READ = """BASE_LR MOMENTUM WEIGHT_DECAY WEIGHT_DECAY_NORM MAX_ITER LR_SCHEDULER_NAME STEPS GAMMA WARMUP_METHOD
    WARMUP_ITERS WARMUP_FACTOR IMS_PER_BATCH CHECKPOINT_PERIOD CLIP_GRADIENTS"""
FIXED = "NESTEROV BASE_LR_END BIAS_LR_FACTOR WEIGHT_DECAY_BIAS REFERENCE_WORLD_SIZE AMP"
UNUSED = "NUM_DECAYS RESCALE_INTERVAL"  # of schedules that aren't supported
# of detectron2's DATALOADER: what decides which images a batch has, and what only changes how fast batches are made
SAMPLING = "SAMPLER_TRAIN REPEAT_THRESHOLD REPEAT_SQRT RANDOM_SUBSET_RATIO FILTER_EMPTY_ANNOTATIONS"
SPEED = "NUM_WORKERS ASPECT_RATIO_GROUPING"
# by detectron2's name, how a norm learns; torch's SyncBN is used for detectron2's own kinds of it
LEARNING_NORMS: Mapping[str, str] = {
    **{name: name for name in ("FrozenBN", "BN", "SyncBN", "GN")},
    **dict.fromkeys(("nnSyncBN", "naiveSyncBN", "naiveSyncBN_N"), "SyncBN"),
}
REPEATING = "RepeatFactorTrainingSampler"


@dataclass(frozen=True)
class LossConfig:
    """MODEL.TENSOR_MASK (the losses)"""

    focal_gamma: float
    focal_alpha: float
    mask_weight: float
    positive_weight: float  # of a mask's entries that are on


@dataclass(frozen=True)
class SolverConfig:
    """SOLVER"""

    base_lr: float
    momentum: float
    weight_decay: float
    weight_decay_norm: float
    max_iter: int
    schedule: str  # "WarmupMultiStepLR" or "WarmupCosineLR"
    steps: tuple[int, ...]  # iterations at which the multi-step schedule multiplies the rate by gamma
    gamma: float
    warmup_iters: int
    warmup_factor: float
    images_per_batch: int  # over all processes
    checkpoint_period: int  # iterations
    clip_norm: float | None  # of all gradients together


@dataclass(frozen=True)
class ImageConfig:
    """INPUT (training)"""

    min_sizes: tuple[int, ...]  # shorter sides, of which each batch draws one
    max_size: int  # and what a longer side never passes
    flip: bool


@dataclass(frozen=True)
class SamplingConfig:
    """DATALOADER"""

    keep_empty: bool  # whether images without instances are trained on
    repeat_threshold: float | None  # a share of the images, as of `repeat_factors`; None: each epoch shows each once
    repeat_square_root: bool


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that a training depends on, from a detectron2 configuration."""

    tree: Mapping[str, Any]  # the merged configuration itself
    starting_weights: str  # MODEL.WEIGHTS, which detectron2 would start from; "": none
    network: TensorMaskConfig
    norm: str  # MODEL.RESNETS.NORM: "FrozenBN", "BN", "SyncBN" or "GN"
    pyramid_norm: str  # MODEL.FPN.NORM: one of these, or "" for none
    losses: LossConfig
    solver: SolverConfig
    images: ImageConfig
    sampling: SamplingConfig


def load_training_config(path: str | Path) -> TrainingConfig:
    """Reads a detectron2 YAML file with its `_BASE_` files.

    Raises:
        ConfigError: the file can't be read, or a key has a value that isn't supported.
    """
    tree = load_merged_yaml(path)
    reader = KeyReader(tree)
    pyramid_norms = {"": "", **LEARNING_NORMS}
    return TrainingConfig(
        tree=tree,
        starting_weights=str(reader.get("MODEL.WEIGHTS", "")),
        network=parse_config(tree),
        norm=LEARNING_NORMS[reader.choice("MODEL.RESNETS.NORM", "FrozenBN", tuple(LEARNING_NORMS))],
        pyramid_norm=pyramid_norms[reader.choice("MODEL.FPN.NORM", "", tuple(pyramid_norms))],
        losses=_losses(reader),
        solver=_solver(reader),
        images=_images(reader),
        sampling=_sampling(reader),
    )


def _losses(reader: KeyReader) -> LossConfig:
    section = "MODEL.TENSOR_MASK"
    return LossConfig(
        focal_gamma=reader.number(f"{section}.FOCAL_LOSS_GAMMA", 3.0, 0, 10),
        focal_alpha=reader.number(f"{section}.FOCAL_LOSS_ALPHA", 0.3, 0, 1),
        mask_weight=reader.number(f"{section}.MASK_LOSS_WEIGHT", 2.0, 0, 1000),
        positive_weight=reader.number(f"{section}.POSITIVE_WEIGHT", 1.5, 0, 1000),
    )


def _solver(reader: KeyReader) -> SolverConfig:
    reader.known_keys("SOLVER", (*READ.split(), *FIXED.split(), *UNUSED.split()))
    weight_decay = reader.number("SOLVER.WEIGHT_DECAY", 1e-4, 0, 1)
    reader.choice("SOLVER.WARMUP_METHOD", "linear", ("linear",))
    reader.choice("SOLVER.NESTEROV", False, (False,))
    reader.choice("SOLVER.BASE_LR_END", 0.0, (0.0, 0))
    reader.choice("SOLVER.BIAS_LR_FACTOR", 1.0, (1.0, 1, None))
    reader.choice("SOLVER.WEIGHT_DECAY_BIAS", None, (None, weight_decay))
    reader.choice("SOLVER.REFERENCE_WORLD_SIZE", 0, (0,))
    if reader.boolean("SOLVER.AMP.ENABLED", False):
        raise ConfigError("SOLVER.AMP.ENABLED is True; supported: False, with --precision bfloat16 in its place")
    return SolverConfig(
        base_lr=reader.number("SOLVER.BASE_LR", 0.001, 0, 100),
        momentum=reader.number("SOLVER.MOMENTUM", 0.9, 0, 1),
        weight_decay=weight_decay,
        weight_decay_norm=reader.number("SOLVER.WEIGHT_DECAY_NORM", 0.0, 0, 1),
        max_iter=reader.integer("SOLVER.MAX_ITER", 40000, most=MOST_ITERATIONS),
        schedule=reader.choice(
            "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", ("WarmupMultiStepLR", "WarmupCosineLR")
        ),
        steps=_integers(reader, "SOLVER.STEPS", (30000,)),
        gamma=reader.number("SOLVER.GAMMA", 0.1, 0, 1),
        warmup_iters=reader.integer("SOLVER.WARMUP_ITERS", 1000, least=0, most=MOST_ITERATIONS),
        warmup_factor=reader.number("SOLVER.WARMUP_FACTOR", 0.001, 0, 1),
        images_per_batch=reader.integer("SOLVER.IMS_PER_BATCH", 16),
        checkpoint_period=reader.integer("SOLVER.CHECKPOINT_PERIOD", 5000, most=MOST_ITERATIONS),
        clip_norm=_clip_norm(reader),
    )


def _clip_norm(reader: KeyReader) -> float | None:
    if not reader.boolean("SOLVER.CLIP_GRADIENTS.ENABLED", False):
        return None
    reader.choice("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value", ("full_model",))
    reader.choice("SOLVER.CLIP_GRADIENTS.NORM_TYPE", 2.0, (2.0,))
    return reader.number("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1.0, 0, 1e9)


def _images(reader: KeyReader) -> ImageConfig:
    sampling = reader.choice("INPUT.MIN_SIZE_TRAIN_SAMPLING", "choice", ("choice", "range"))
    min_sizes = _integers(reader, "INPUT.MIN_SIZE_TRAIN", (800,))
    if not min_sizes or min(min_sizes) < 1:
        raise ConfigError(f"INPUT.MIN_SIZE_TRAIN is {min_sizes!r}; supported: one or more sizes in pixels")
    if sampling == "range":
        min_sizes = tuple(range(min(min_sizes), max(min_sizes) + 1))
    reader.choice("INPUT.CROP.ENABLED", False, (False,))
    return ImageConfig(
        min_sizes=min_sizes,
        max_size=reader.integer("INPUT.MAX_SIZE_TRAIN", 1333),
        flip=reader.choice("INPUT.RANDOM_FLIP", "horizontal", ("horizontal", "none")) == "horizontal",
    )


def _sampling(reader: KeyReader) -> SamplingConfig:
    reader.known_keys("DATALOADER", (*SAMPLING.split(), *SPEED.split()))
    sampler = reader.choice("DATALOADER.SAMPLER_TRAIN", "TrainingSampler", ("TrainingSampler", REPEATING))
    threshold = reader.number("DATALOADER.REPEAT_THRESHOLD", 0.0, 0, 1)
    if threshold and sampler != REPEATING:
        raise ConfigError(
            f"DATALOADER.REPEAT_THRESHOLD is {threshold:g}, which has no effect with the SAMPLER_TRAIN {sampler}; set "
            f"SAMPLER_TRAIN to {REPEATING}, or REPEAT_THRESHOLD to 0"
        )
    reader.choice("DATALOADER.RANDOM_SUBSET_RATIO", 1.0, (1.0, 1))
    return SamplingConfig(
        keep_empty=not reader.boolean("DATALOADER.FILTER_EMPTY_ANNOTATIONS", True),
        repeat_threshold=threshold if sampler == REPEATING else None,
        repeat_square_root=reader.boolean("DATALOADER.REPEAT_SQRT", True),
    )


def _integers(reader: KeyReader, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = reader.get(key, default)
    numbers = value if is_list(value) else [value]
    if not all(type(number) is int for number in numbers):
        raise ConfigError(f"{key} is {value!r}; supported: a whole number or a list of them")
    return tuple(numbers)
