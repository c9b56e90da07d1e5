"""detectron2's own TensorMask, built by its own functions where it is installed.

This is written from detectron2's public documentation, and has not been run against an installed detectron2 yet. What
needs none of it is tested: the errors, and how weights are held against a network.
"""

import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tensormask_server.checkpoint import CheckpointError, is_ignored, load_checkpoint
from tensormask_server.config import TensorMaskConfig, load_config
from tensormask_server.network.loading import checked_weights

Resize = Any  # detectron2's ResizeShortestEdge
REPOSITORY = "https://github.com/facebookresearch/detectron2.git"
# without isolation, since both look for the torch that they are compiled for
PIP_INSTALL = f"{sys.executable} -m pip install --no-build-isolation"
INSTALL = (
    f"{PIP_INSTALL} 'git+{REPOSITORY}' && git clone {REPOSITORY} && {PIP_INSTALL} -e detectron2/projects/TensorMask"
)
MODULES = (
    "detectron2.checkpoint",
    "detectron2.config",
    "detectron2.data.transforms",
    "detectron2.modeling",
    "tensormask",  # the project's
)


class EngineError(ValueError):
    """An engine that can't be used here. The message says what to do, in one line."""


def check_detectron2() -> None:
    """
    Raises:
        EngineError: detectron2 or its TensorMask project can't be imported.
    """
    try:
        for name in MODULES:
            import_module(name)
    except Exception as error:  # one that was compiled for another torch can raise anything
        raise EngineError(
            f"the engine detectron2 can't be used: {error}. It needs detectron2 and its TensorMask project, compiled "
            f"on this machine for its torch, {torch.__version__}, with CUDA where masks are aligned: {INSTALL}. "
            "The engine native needs none of it, and gives the same numbers"
        ) from error


def build_detectron2(config: Path, weights: Path, device: torch.device, least_score: float) -> tuple[nn.Module, Resize]:
    """Builds detectron2's network of a configuration with its weights, all by detectron2's own functions.

    The weights are read as ever, so that nothing in the file is executed, and go to DetectionCheckpointer as a .pth of
    tensors alone: it would unpickle a .pkl, and doesn't know an archive's .safetensors. It only logs what it doesn't
    find, so each entry is compared afterwards. A configuration is read by detectron2 too, once ours has admitted it.

    Args:
        config: a .yaml file.
        weights: a .pkl, .pth or .safetensors file.
        device: aligned masks, those of the published configurations, need CUDA.
        least_score: SCORE_THRESH_TEST, instead of the configuration's.

    Returns:
        The network, on the device, and what resizes images for it.

    Raises:
        EngineError: detectron2 isn't installed, can't make these masks on this device, or refuses the configuration.
        ConfigError, CheckpointError: as `load_predictor`.
    """
    check_detectron2()
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import get_cfg
    from detectron2.data.transforms import ResizeShortestEdge
    from detectron2.modeling import build_model
    from tensormask import add_tensormask_config

    own_config = load_config(config)
    tensors = checked_weights(own_config, load_checkpoint(weights))
    check_device(own_config, device)
    cfg = get_cfg()
    add_tensormask_config(cfg)
    try:
        cfg.merge_from_file(str(config), allow_unsafe=False)
    except Exception as error:  # yacs has a KeyError, a ValueError or an AssertionError for what it doesn't know
        raise EngineError(f"detectron2 refuses the configuration {config}: {error}") from error
    cfg.MODEL.DEVICE = str(device)
    cfg.MODEL.TENSOR_MASK.SCORE_THRESH_TEST = least_score
    cfg.freeze()
    model: nn.Module = build_model(cfg)
    with tempfile.TemporaryDirectory(prefix="tensormask-detectron2-") as folder:
        plain = Path(folder) / "weights.pth"
        torch.save({"model": tensors}, plain)
        DetectionCheckpointer(model).load(str(plain))
    check_loaded(model.state_dict(), tensors)
    sides = [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MIN_SIZE_TEST]
    return model.eval(), ResizeShortestEdge(sides, cfg.INPUT.MAX_SIZE_TEST)


def check_device(config: TensorMaskConfig, device: torch.device) -> None:
    """
    Raises:
        EngineError: detectron2 can't make this configuration's masks there.
    """
    if device.type != "cuda" and config.head.mask_on and config.head.aligned_on:
        raise EngineError(
            f"the engine detectron2 makes aligned masks (MODEL.TENSOR_MASK.ALIGNED_ON) on CUDA alone, and this is "
            f"{device.type}: expected a GPU that torch can use, or the engine native"
        )


def check_loaded(state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Whether detectron2's network holds these weights and no others.

    Args:
        state: of the network, on any device.

    Raises:
        CheckpointError: an entry is missing on one side, or has other numbers.
    """
    entries = {name: tensor for name, tensor in state.items() if not is_ignored(name)}
    for name in sorted(entries.keys() | weights.keys()):
        if name not in entries:
            raise CheckpointError(f"detectron2's network has no entry {name}, which the weights have")
        if name not in weights:
            raise CheckpointError(f"detectron2's network has an entry {name}, which the weights don't have")
        if not torch.equal(entries[name].cpu(), weights[name]):
            raise CheckpointError(f"detectron2's network has other numbers in {name} than the weights")
