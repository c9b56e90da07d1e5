"""Builds detectron2's own TensorMask with detectron2's functions, if it is installed.

This file is written from detectron2's public documentation. It hasn't been run with an installed detectron2 yet. The
parts that don't need it are tested: the errors, and the comparison of weights with a network.
"""

import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tensormask_server.model_files.checkpoint import CheckpointError, load_checkpoint
from tensormask_server.model_files.entries import is_ignored
from tensormask_server.network.config import TensorMaskConfig, load_config
from tensormask_server.network.loading import checked_weights

Resize = Any  # detectron2's ResizeShortestEdge
REPOSITORY = "https://github.com/facebookresearch/detectron2.git"
# no build isolation: both packages are compiled for the torch that is installed
PIP_INSTALL = f"{sys.executable} -m pip install --no-build-isolation"
INSTALL = (
    f"{PIP_INSTALL} 'git+{REPOSITORY}' && git clone {REPOSITORY} && {PIP_INSTALL} -e detectron2/projects/TensorMask"
)
MODULES = (
    "detectron2.checkpoint",
    "detectron2.config",
    "detectron2.data.transforms",
    "detectron2.modeling",
    "tensormask",  # detectron2's TensorMask project
)


class EngineError(ValueError):
    """An engine can't be used here. The message is one line and says what to do."""


def check_detectron2() -> None:
    """Checks that detectron2 can be imported.

    Raises:
        EngineError: detectron2 or its TensorMask project can't be imported.
    """
    try:
        for name in MODULES:
            import_module(name)
    except Exception as error:  # a package that was compiled for another torch can raise anything
        raise EngineError(
            f"the engine detectron2 can't be used: {error}. It needs detectron2 and its TensorMask project, compiled "
            f"on this machine for torch {torch.__version__}, with CUDA for aligned masks: {INSTALL}. The engine native "
            "needs none of this and gives the same numbers"
        ) from error


def build_detectron2(config: Path, weights: Path, device: torch.device, min_score: float) -> tuple[nn.Module, Resize]:
    """Builds detectron2's network of a configuration and loads its weights, with detectron2's own functions.

    `load_checkpoint` reads the weights, so that nothing in the file is executed. DetectionCheckpointer would unpickle a
    .pkl, and it can't read .safetensors. So it gets a .pth file that holds only tensors. It only logs entries that it
    doesn't find, so each entry is compared afterwards. detectron2 reads the configuration after `load_config` has
    accepted it.

    Args:
        config: a .yaml file.
        weights: a file that `load_checkpoint` reads.
        device: must be CUDA for aligned masks, which the published configurations have.
        min_score: replaces the configuration's SCORE_THRESH_TEST.

    Returns:
        The network, in evaluation mode on the device, and the transform that resizes images for it.

    Raises:
        EngineError: detectron2 isn't installed, can't make these masks on this device, or rejects the configuration.
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
    except Exception as error:  # yacs raises KeyError, ValueError or AssertionError
        raise EngineError(
            f"detectron2 rejects the configuration {config}: {error}. Correct it, or use the engine native"
        ) from error
    cfg.MODEL.DEVICE = str(device)
    cfg.MODEL.TENSOR_MASK.SCORE_THRESH_TEST = min_score
    cfg.freeze()
    model: nn.Module = build_model(cfg)
    with tempfile.TemporaryDirectory(prefix="tensormask-detectron2-") as folder:
        path = Path(folder) / "weights.pth"
        torch.save({"model": tensors}, path)
        DetectionCheckpointer(model).load(str(path))
    check_loaded(model.state_dict(), tensors)
    sides = [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MIN_SIZE_TEST]
    return model.eval(), ResizeShortestEdge(sides, cfg.INPUT.MAX_SIZE_TEST)


def check_device(config: TensorMaskConfig, device: torch.device) -> None:
    """Checks that detectron2 can make the configuration's masks on a device.

    Raises:
        EngineError: the masks are aligned, and the device isn't CUDA.
    """
    if device.type != "cuda" and config.head.mask_on and config.head.aligned_on:
        raise EngineError(
            f"the device is {device.type}, and the engine detectron2 makes aligned masks "
            "(MODEL.TENSOR_MASK.ALIGNED_ON) only on CUDA; expected a GPU that torch can use, or the engine native"
        )


def check_loaded(state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Checks that detectron2's network holds these weights and no others.

    Args:
        state: the network's state_dict, on any device.
        weights: on the CPU.

    Raises:
        CheckpointError: an entry is missing on one side, or its values differ.
    """
    entries = {name: tensor for name, tensor in state.items() if not is_ignored(name)}
    for name in sorted(entries.keys() | weights.keys()):
        if name not in entries:
            raise CheckpointError(f"the weights have an entry {name}, which detectron2's network doesn't have")
        if name not in weights:
            raise CheckpointError(f"detectron2's network has an entry {name}, which the weights don't have")
        if not torch.equal(entries[name].cpu(), weights[name]):
            raise CheckpointError(f"the values of {name} in detectron2's network differ from the weights")
