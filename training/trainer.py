"""The loop: batches in, weights out, resumable at every checkpoint."""

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.printable import printable, say
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from training import files
from training.batch import Batch
from training.coco_folder import CocoFolder
from training.data import Batches
from training.first_few import first_few
from training.image_files import check_image_files
from training.losses import Losses, on_host
from training.moving_average import MovingAverage
from training.network import in_channels_last, lay_out_gradients, network_to_train
from training.report import Report
from training.sampling import repeat_factors
from training.schedule import build_optimizer, learning_rate, set_learning_rate
from training.settings import REPEATING, SamplingConfig, TrainingConfig
from training.summary import data_table
from training.temporary_folder import check_temporary_folder
from training.unmatched import warning_of_unmatched
from training.validation import Validation, keep_best

MOST_IMAGES = 8  # named for a loss that is no number


class TrainingStopped(Exception):
    """A training can't go on, because its losses aren't finite numbers. The message is one line."""


@dataclass(frozen=True)
class Run:
    """How to train, beside what the configuration says."""

    data: Path  # a folder in COCO's format
    out: Path
    weights: Path | None = None  # to start from
    device: str = "cpu"
    precision: str = "float32"  # of the convolutions; or "bfloat16"
    optimizer: str = "sgd"
    workers: int = 2  # processes that make batches
    seed: int = 0
    semantic_weight: float = 0.0  # of the loss that sees every pixel
    name_weight: float = 0.0  # of the loss by which classes compete
    validate: Path | None = None  # a folder in COCO's format, on which the network is scored
    every: int | None = None  # iterations between these scores; None: at each checkpoint
    average_decay: float | None = None  # of the weights' moving average, which is written too; None: there is none
    minutes: float | None = None  # after which the training stops; None: at MAX_ITER


def train(config: TrainingConfig, run: Run) -> TensorMask:
    """Trains until MAX_ITER or until the time is up, from the state in the output folder if there is one.

    It runs in one process of several or alone. What it writes when the time is up is what it would write at MAX_ITER.

    Returns:
        The trained network, in training mode.

    Raises:
        ConfigError: the configuration doesn't suit the data or the device, or the folder has a training that can't go
            on with these options.
        DataError: an image or its annotations can't be learnt from.
        TemporaryFolderError: the processes that make batches can't use the folder for temporary files.
        TrainingStopped: a loss is no finite number.
    """
    end = math.inf if run.minutes is None else time.monotonic() + 60 * run.minutes
    if run.workers:
        check_temporary_folder()
    torch.manual_seed(run.seed)
    device = torch.device(run.device)
    if "SyncBN" in (config.norm, config.pyramid_norm) and device.type == "cpu" and distributed.is_initialized():
        raise ConfigError(
            "MODEL.RESNETS.NORM or MODEL.FPN.NORM is SyncBN, which torch has only for GPUs; supported on CPUs: BN, "
            "FrozenBN, GN"
        )
    data = CocoFolder(run.data, config.sampling.keep_empty)
    _check_number_of_classes(config, data)
    start_lines: list[str] = []
    network = network_to_train(config, run.weights, start_lines.append).to(device)
    in_channels_last(network)
    criterion = Losses(network, config.losses, run.semantic_weight, run.name_weight).to(device)
    optimizer = build_optimizer(criterion, config.solver, run.optimizer)
    options = _fixed_options(config, run, data)
    average = None if run.average_decay is None else MovingAverage(network, run.average_decay)
    done = files.resume(run.out, criterion, optimizer, options, average)
    if _is_first():
        if done:
            start_lines = [
                f"continues from iteration {done} of {config.solver.max_iter}, from {printable(run.out / files.STATE)}"
            ]
        else:
            check_image_files(data.all_entries, run.data / "images")
        for line in (*start_lines, *_description(config, run, data, network)):
            say(line, sys.stderr)
    # in one process; the others wait for its next gradients
    validation = Validation(run.validate, data.category_ids) if run.validate and _is_first() else None
    every = run.every or config.solver.checkpoint_period
    learner: nn.Module = criterion
    if distributed.is_initialized():
        learner = DistributedDataParallel(
            criterion,
            [device] if device.type == "cuda" else None,
            # the pyramid's levels that the head doesn't see are in no loss
            find_unused_parameters=config.network.head.in_features != config.network.fpn.out_features,
        )
    loader = DataLoader(
        _batches(config, run, data, network.stride),
        batch_size=None,
        sampler=range(done, config.solver.max_iter),
        num_workers=run.workers,
        pin_memory=device.type == "cuda",
    )
    with closing(Report(run.out, done, config.solver.max_iter, is_shown=_is_first())) as report:
        for iteration, batch in enumerate(loader, start=done):
            rate = learning_rate(config.solver, iteration)
            set_learning_rate(optimizer, rate)
            batch_losses = _compute_losses(learner, batch.to(device), run.precision)
            values_of_losses = on_host(batch_losses)
            optimizer.zero_grad()
            torch.autograd.backward(list(batch_losses.values()))
            values = values_of_losses()
            _check_finite(values, batch.names, iteration, run.out)
            _step(learner, optimizer, config.solver.clip_norm)
            if average is not None:
                average.update(iteration)
            report.add(rate, values)
            is_last = iteration + 1 == config.solver.max_iter or _is_over(end, device)
            if (is_last or (iteration + 1) % config.solver.checkpoint_period == 0) and _is_first():
                files.save(run.out, config, criterion, optimizer, iteration + 1, options, average)
            if validation is not None and (is_last or (iteration + 1) % every == 0):
                validated = validation(network, device)
                report.add_validation(validated, keep_best(run.out, network, validated.scores, iteration + 1))
            if is_last:
                break
    if distributed.is_initialized():
        distributed.barrier()  # no process ends its connections while another still needs them
    return network


def _description(config: TrainingConfig, run: Run, data: CocoFolder, network: TensorMask) -> Iterator[str]:
    """What a person should know before the first step."""
    if run.weights is None and config.norm == "FrozenBN":
        yield "MODEL.RESNETS.NORM is FrozenBN: the norms of random weights stay without effect; BN has them learn"
    yield data_table(data, config.images, config.network.input)
    warning = warning_of_unmatched(network, data.boxes(), config.images, config.network.input)
    if warning is not None:
        yield warning


def _fixed_options(config: TrainingConfig, run: Run, data: CocoFolder) -> dict[str, object]:
    """What may not change when a training continues, by name."""
    return {
        "--optimizer": run.optimizer,
        "--seed": run.seed,
        "--semantic-weight": run.semantic_weight,
        "--name-weight": run.name_weight,
        "--average-decay": run.average_decay,
        "SOLVER.IMS_PER_BATCH": config.solver.images_per_batch,
        "instances.json": data.sha256,
        **_sampling_options(config.sampling, data),
    }


def _sampling_options(sampling: SamplingConfig, data: CocoFolder) -> dict[str, object]:
    """What changes the order of images, by the configuration's keys."""
    return {
        # without images to leave out, the key changes nothing
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": len(data) < len(data.all_entries),
        "DATALOADER.SAMPLER_TRAIN": "TrainingSampler" if sampling.repeat_threshold is None else REPEATING,
        "DATALOADER.REPEAT_THRESHOLD": sampling.repeat_threshold or 0.0,
        "DATALOADER.REPEAT_SQRT": sampling.repeat_square_root,
    }


def _compute_losses(learner: nn.Module, batch: Batch, precision: str) -> dict[str, Tensor]:
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        losses: dict[str, Tensor] = learner(batch)
    return losses


def _check_finite(values: Mapping[str, float], image_names: Sequence[str], iteration: int, out: Path) -> None:
    """Checks the losses before a step is made with them, which would spoil the weights."""
    wrong = [f"the {name} loss is {value}" for name, value in values.items() if not math.isfinite(value)]
    if not wrong:
        return
    names = first_few([printable(name, 60) for name in image_names], MOST_IMAGES)
    kept = "keeps the weights of its last checkpoint" if (out / files.WEIGHTS).exists() else "has no weights yet"
    raise TrainingStopped(
        f"iteration {iteration + 1}: {', '.join(wrong)}, on the images {names}. {printable(out)} {kept}. Lower "
        "SOLVER.BASE_LR, set SOLVER.CLIP_GRADIENTS, or look at these images"
    )


def _step(learner: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> None:
    lay_out_gradients(learner)
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(learner.parameters(), clip_norm)
    optimizer.step()


def _batches(config: TrainingConfig, run: Run, data: CocoFolder, stride: int) -> Batches:
    rank, world_size = (
        (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    )
    per_batch = config.solver.images_per_batch
    if per_batch % world_size:
        raise ConfigError(f"SOLVER.IMS_PER_BATCH is {per_batch}; supported: a multiple of the {world_size} processes")
    return Batches(
        data,
        config.images,
        config.network.input,
        stride,
        per_batch,
        run.seed,
        rank,
        world_size,
        _repeat_factors(config.sampling, data),
    )


def _repeat_factors(sampling: SamplingConfig, data: CocoFolder) -> np.ndarray | None:
    if sampling.repeat_threshold is None:
        return None
    return repeat_factors(data.classes_of_images(), sampling.repeat_threshold, sampling.repeat_square_root)


def _check_number_of_classes(config: TrainingConfig, data: CocoFolder) -> None:
    if len(data.category_ids) != config.network.head.num_classes:
        raise ConfigError(
            f"MODEL.TENSOR_MASK.NUM_CLASSES is {config.network.head.num_classes}; "
            f"{printable(data.folder / 'instances.json')} has {len(data.category_ids)} categories; set NUM_CLASSES to "
            "their number"
        )


def _is_over(end: float, device: torch.device) -> bool:
    """Whether the time is up, which the first of several processes decides for all.

    Args:
        end: of the training, in seconds on the monotonic clock; infinite if it has no limit.
    """
    if end == math.inf or not distributed.is_initialized():
        return time.monotonic() >= end
    over = torch.tensor(time.monotonic() >= end, dtype=torch.uint8, device=device)
    distributed.broadcast(over, 0)
    return bool(over)


def _is_first() -> bool:
    return not distributed.is_initialized() or distributed.get_rank() == 0
