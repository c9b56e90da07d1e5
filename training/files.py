"""What a training writes: its state, to go on from, and the network's weights and configuration, as detectron2 does."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tensormask_server.detectron2_yaml import ConfigError

from training.losses import Losses
from training.network import named_weights
from training.settings import TrainingConfig

STATE = "state.pth"
WEIGHTS = "weights.pkl"
CONFIG = "config.yaml"


def save(
    out: Path,
    config: TrainingConfig,
    losses: Losses,
    optimizer: torch.optim.Optimizer,
    done: int,
    asked: Mapping[str, object],
) -> None:
    """Writes the state after `done` iterations and the weights; whoever reads them finds the old or the new ones.

    Args:
        asked: the options that may not change when the training goes on, by their names.

    Raises:
        ConfigError: the weights aren't finite numbers; nothing is written.
    """
    out.mkdir(parents=True, exist_ok=True)
    state = {
        "losses": losses.state_dict(),
        "optimizer": optimizer.state_dict(),
        "iteration": done,
        "asked": dict(asked),
    }
    weights = {name: tensor.numpy() for name, tensor in named_weights(losses.network).items()}
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise ConfigError(
            f"after {done} iterations the weights aren't finite numbers, and {out} keeps what it has; "
            "lower SOLVER.BASE_LR, or set SOLVER.CLIP_GRADIENTS"
        )
    content = {"model": weights, "__author__": "tensormask-segmentation-server"}
    _replace(out / WEIGHTS, lambda path: path.write_bytes(pickle.dumps(content, protocol=4)))
    _replace(out / CONFIG, lambda path: path.write_text(yaml.safe_dump(dict(config.tree)), encoding="utf-8"))
    # last, so that a training that is killed before it makes the weights again
    _replace(out / STATE, lambda path: torch.save(state, path))


def resume(out: Path, losses: Losses, optimizer: torch.optim.Optimizer, asked: Mapping[str, object]) -> int:
    """Puts a saved state back, if there is one.

    Returns:
        The iterations already done.

    Raises:
        ConfigError: it is that of a training with other options or of another network, or it is damaged.
    """
    if not (out / STATE).exists():
        return 0
    try:
        state: dict[str, Any] = torch.load(out / STATE, map_location="cpu", weights_only=True)
        # a training that is older than the name loss had none
        before, done = {"--name-weight": 0.0, **state["asked"]}, int(state["iteration"])
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{out / STATE} is damaged: {_short(error)}; name another --out") from error
    for name, value in asked.items():
        if before.get(name) != value:
            raise ConfigError(
                f"{out} has a training with another {name}, {before.get(name)} and not {value}; "
                "go on with that, or name another --out"
            )
    try:
        losses.load_state_dict(state["losses"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{out} has a training of another network: {_short(error)}; go on with its {CONFIG}, or name another --out"
        ) from error
    return done


def _short(error: Exception) -> str:
    """In a line that can be read; torch's errors list all entries."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _replace(path: Path, write: Any) -> None:
    partial = path.with_suffix(".part")
    write(partial)
    partial.replace(path)
