"""What a training writes: its state, to go on from, and the network's weights and configuration, as detectron2 does."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import open_regular, write_whole
from tensormask_server.same_options import check_same_options

from training.losses import Losses
from training.moving_average import MovingAverage
from training.network import named_weights
from training.settings import TrainingConfig

STATE = "state.pth"
WEIGHTS = "weights.pkl"
AVERAGE = "average.pkl"
CONFIG = "config.yaml"
# how a training went that is older than these options
OLDER = {
    "--average-decay": None,
    "--name-weight": 0.0,
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": False,
    "DATALOADER.SAMPLER_TRAIN": "TrainingSampler",
    "DATALOADER.REPEAT_THRESHOLD": 0.0,
    "DATALOADER.REPEAT_SQRT": True,
}
MOST_STATE = 1 << 34  # bytes: the weights, and what the optimizer keeps of each


def save(
    out: Path,
    config: TrainingConfig,
    losses: Losses,
    optimizer: torch.optim.Optimizer,
    done: int,
    options: Mapping[str, object],
    average: MovingAverage | None = None,
) -> None:
    """Writes the state after `done` iterations and the weights; whoever reads them finds the old or the new ones.

    Args:
        options: what may not change when the training continues, by name.
        average: of the weights, which is written beside them.

    Raises:
        ConfigError: the weights aren't finite numbers; nothing is written.
    """
    out.mkdir(parents=True, exist_ok=True)
    state = {
        "losses": losses.state_dict(),
        "optimizer": optimizer.state_dict(),
        "iteration": done,
        "options": dict(options),
        **({} if average is None else {"average": average.state_dict()}),
    }
    weights = {name: tensor.numpy() for name, tensor in named_weights(losses.network).items()}
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise ConfigError(
            f"after {done} iterations the weights aren't finite numbers, and {printable(out)} keeps what it has; "
            "lower SOLVER.BASE_LR, or set SOLVER.CLIP_GRADIENTS"
        )
    write_weights(out / WEIGHTS, weights)
    if average is not None:
        write_weights(out / AVERAGE, {name: each.cpu().numpy() for name, each in average.state_dict().items()})
    write_whole(out / CONFIG, lambda file: file.write(yaml.safe_dump(dict(config.tree)).encode()))
    # last, so that a training that is killed before it makes the weights again
    write_whole(out / STATE, lambda file: torch.save(state, file))


def write_weights(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Writes a file of weights as detectron2 does.

    Args:
        weights: float32 arrays by the entries' names.

    Raises:
        OSError: the file can't be written.
    """
    content = {"model": dict(weights), "__author__": "tensormask-segmentation-server"}
    write_whole(path, lambda file: file.write(pickle.dumps(content, protocol=4)))


def resume(
    out: Path,
    losses: Losses,
    optimizer: torch.optim.Optimizer,
    options: Mapping[str, object],
    average: MovingAverage | None = None,
) -> int:
    """Puts a saved state back, if there is one.

    Returns:
        The iterations already done.

    Raises:
        OptionsChanged: it is the state of a training with other options.
        ConfigError: it is the state of a training of another network, or it is damaged.
    """
    if not (out / STATE).exists():
        return 0
    try:
        with open_regular(out / STATE, MOST_STATE) as file:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        recorded = state["asked"] if "asked" in state else state["options"]  # "asked" in older states
        before, done = OLDER | recorded, int(state["iteration"])
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{printable(out / STATE)} is damaged: {_short(error)}; name another --out") from error
    check_same_options(out, before, options, "--out")
    try:
        losses.load_state_dict(state["losses"])
        for saved, group in zip(state["optimizer"]["param_groups"], optimizer.param_groups, strict=True):
            saved["fused"] = group.get("fused")  # which the device decides
        optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.load_state_dict(state["average"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{printable(out)} has a training of another network: {_short(error)}; go on with its {CONFIG}, or name "
            "another --out"
        ) from error
    return done


def _short(error: Exception) -> str:
    """In a line that can be read; torch's errors list all entries."""
    return one_line(getattr(error, "strerror", None) or error, 200) or type(error).__name__
