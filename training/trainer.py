"""The loop: batches in, weights out, resumable at every checkpoint."""

import json
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tensormask_server.model_files.detectron2_yaml import ConfigError
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.printable import printable
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from training import files
from training.coco_folder import CocoFolder
from training.data import Batch, Batches
from training.image_files import check_image_files
from training.losses import Losses
from training.network import build_network, in_channels_last
from training.sampling import repeat_factors
from training.schedule import build_optimizer, learning_rate, set_learning_rate
from training.settings import REPEATING, SamplingConfig, TrainingConfig
from training.summary import data_table
from training.unmatched import warning_of_unmatched

REPORT_PERIOD = 20  # iterations


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


def train(config: TrainingConfig, run: Run) -> TensorMask:
    """Trains until MAX_ITER, from the state in the output folder if there is one; in one process of several or alone.

    Returns:
        The trained network, in training mode.

    Raises:
        ConfigError: the configuration doesn't suit the data or the device, or the folder has a training that can't go
            on with these options.
        DataError: an image or its annotations can't be learnt from.
    """
    torch.manual_seed(run.seed)
    device = torch.device(run.device)
    if config.norm == "SyncBN" and device.type == "cpu" and distributed.is_initialized():
        raise ConfigError(
            "MODEL.RESNETS.NORM is SyncBN, which torch has for GPUs alone; supported on CPUs: BN, FrozenBN"
        )
    data = CocoFolder(run.data, config.sampling.keep_empty)
    _check_number_of_classes(config, data)
    said_of_weights: list[str] = []
    network = build_network(config, run.weights, said_of_weights.append).to(device)
    if run.weights is None and config.norm == "FrozenBN" and _is_first():
        print(
            "MODEL.RESNETS.NORM is FrozenBN: the norms of random weights stay without effect; BN has them learn",
            file=sys.stderr,
        )
    in_channels_last(network)
    losses = Losses(network, config.losses, run.semantic_weight, run.name_weight).to(device)
    optimizer = build_optimizer(losses, config.solver, run.optimizer)
    options = {
        "--optimizer": run.optimizer,
        "--seed": run.seed,
        "--semantic-weight": run.semantic_weight,
        "--name-weight": run.name_weight,
        "SOLVER.IMS_PER_BATCH": config.solver.images_per_batch,
        "instances.json": data.sha256,
        **_sampling_options(config.sampling),
    }
    done = files.resume(run.out, losses, optimizer, options)
    if done and _is_first():
        print(
            f"going on from iteration {done} of {config.solver.max_iter}, from {run.out / files.STATE}", file=sys.stderr
        )
    if _is_first():
        if not done:
            print(*said_of_weights, sep="\n", end="\n" if said_of_weights else "", file=sys.stderr)
            check_image_files(data.all_entries, run.data / "images")
        print(data_table(data, config.images, config.network.input), file=sys.stderr)
    if _is_first() and (said := warning_of_unmatched(network, *data.boxes(), config.images, config.network.input)):
        print(said, file=sys.stderr)
    learner: nn.Module = losses
    if distributed.is_initialized():
        learner = DistributedDataParallel(
            losses,
            [device] if device.type == "cuda" else None,
            # the pyramid's levels that the head doesn't see are in no loss
            find_unused_parameters=config.network.head.in_features != config.network.fpn.out_features,
        )
    loader = DataLoader(
        _batches(config, run, data, network.stride),
        batch_size=None,
        sampler=range(done, config.solver.max_iter),
        num_workers=run.workers,
        prefetch_factor=4 if run.workers else None,
    )
    with closing(_Report(run.out, done, config.solver.max_iter)) as report:
        for iteration, batch in enumerate(loader, start=done):
            rate = learning_rate(config.solver, iteration)
            set_learning_rate(optimizer, rate)
            report(iteration, rate, _step(learner, optimizer, batch.to(device), run.precision, config.solver.clip_norm))
            due = (iteration + 1) % config.solver.checkpoint_period == 0 or iteration + 1 == config.solver.max_iter
            if due and _is_first():
                files.save(run.out, config, losses, optimizer, iteration + 1, options)
    return network


def _step(
    learner: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, precision: str, clip_norm: float | None
) -> dict[str, Tensor]:
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        parts: dict[str, Tensor] = learner(batch)
    optimizer.zero_grad()
    torch.autograd.backward(list(parts.values()))
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(learner.parameters(), clip_norm)
    optimizer.step()
    return {name: loss.detach() for name, loss in parts.items()}


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


def _sampling_options(sampling: SamplingConfig) -> dict[str, object]:
    """What changes the order of images, by the configuration's keys."""
    return {
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": not sampling.keep_empty,
        "DATALOADER.SAMPLER_TRAIN": "TrainingSampler" if sampling.repeat_threshold is None else REPEATING,
        "DATALOADER.REPEAT_THRESHOLD": sampling.repeat_threshold or 0.0,
        "DATALOADER.REPEAT_SQRT": sampling.repeat_square_root,
    }


def _check_number_of_classes(config: TrainingConfig, data: CocoFolder) -> None:
    if len(data.category_ids) != config.network.head.num_classes:
        raise ConfigError(
            f"MODEL.TENSOR_MASK.NUM_CLASSES is {config.network.head.num_classes}; "
            f"{printable(data.folder / 'instances.json')} has {len(data.category_ids)} categories; set NUM_CLASSES to "
            "their number"
        )


def _is_first() -> bool:
    return not distributed.is_initialized() or distributed.get_rank() == 0


class _Report:
    """A progress bar with the losses and the time left, and the same as lines of metrics.jsonl."""

    def __init__(self, out: Path, done: int, total: int):
        self.shown = _is_first()
        self.summed = 0
        self.sums: dict[str, Tensor] = {}
        self.started = time.monotonic()
        if self.shown:
            out.mkdir(parents=True, exist_ok=True)
            self.path = out / "metrics.jsonl"
            self.bar = tqdm(total=total, initial=done, unit="step", smoothing=0.05, dynamic_ncols=True)

    def __call__(self, iteration: int, rate: float, losses: dict[str, Tensor]) -> None:
        if not self.shown:
            return
        self.bar.update()
        self.summed += 1
        self.sums = {name: self.sums.get(name, 0) + loss for name, loss in losses.items()}
        if (iteration + 1) % REPORT_PERIOD == 0:
            means = {name: round(float(total) / self.summed, 4) for name, total in self.sums.items()}
            self.bar.set_postfix(means)
            seconds = round(time.monotonic() - self.started, 1)
            line = {"iteration": iteration + 1, "lr": rate, **means, "seconds": seconds}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            self.summed, self.sums = 0, {}

    def close(self) -> None:
        if self.shown:
            self.bar.close()
