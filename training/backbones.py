"""Weights to start a training from: what is taken of a file, and what starts from random values."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.model_files.starting_weights import (
    BOTTOM_UP,
    StartingWeights,
    WeightsOf,
    load_starting_weights,
)
from tensormask_server.network.config import TensorMaskConfig
from tensormask_server.network.loading import load_weights
from tensormask_server.network.resnet import ResNetConfig
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.printable import printable

from training.first_few import first_few

# what torchvision's networks were trained with, for 0 … 255 instead of its 0 … 1
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
CLASS_LAYER = "head.cls_score."
MOST_UNUSED = 5  # entries of the file that are named


def start_from(network: TensorMask, path: Path) -> str:
    """Copies a file's weights into a network, which keeps its random values where the file has none.

    A TensorMask has to fit, except for its class layer, which stays random for other classes. Of another file the
    backbone has to fit, and of the rest the entries of the same names and shapes are taken.

    Args:
        network: with random weights.
        path: weights as `load_starting_weights` reads them.

    Returns:
        Lines of text that say which entries were taken, which start from random values, and which aren't used.

    Raises:
        CheckpointError: the file can't be read, or doesn't fit.
        ConfigError: the backbone has learnt with other settings than the configuration's.
    """
    weights = load_starting_weights(path)
    _check_suits(network.config, weights.origin)
    own = network.state_dict()
    is_tensormask = any(name.startswith("head.mask_") for name in weights.entries)
    taken = {}
    for name, tensor in weights.entries.items():
        fits = name in own and own[name].shape == tensor.shape
        must_fit = name.startswith(BOTTOM_UP) or (is_tensormask and not name.startswith(CLASS_LAYER))
        if fits or must_fit:
            taken[name] = tensor
    missing = own.keys() - taken.keys()
    if is_tensormask:
        random = {name for name in missing if name.startswith(CLASS_LAYER) and name in weights.entries}
    else:
        random = {name for name in missing if not name.startswith(BOTTOM_UP)}
    load_weights(network, {name: own[name] for name in random} | taken)
    return _report(path, weights, taken.keys() & own.keys(), [name for name in own if name in random])


def _check_suits(config: TensorMaskConfig, origin: WeightsOf) -> None:
    """Checks that a network sees the images, and strides, as the backbone has learnt it."""
    if origin not in (WeightsOf.TORCHVISION, WeightsOf.CAFFE2, WeightsOf.RESNET):
        return
    backbone = config.backbone
    if not isinstance(backbone, ResNetConfig):
        raise ConfigError(
            f"the weights are those of a ResNet and the configuration's backbone is {backbone.label}; expected "
            "MODEL.BACKBONE.NAME build_retinanet_resnet_fpn_backbone, or other weights"
        )
    settings: list[tuple[str, object, object]] = []
    if origin is WeightsOf.CAFFE2:
        settings = [("INPUT.FORMAT", config.input.format, "BGR")]
    elif origin is WeightsOf.TORCHVISION:
        settings = [
            ("INPUT.FORMAT", config.input.format, "RGB"),
            ("MODEL.PIXEL_MEAN", config.input.pixel_mean, PIXEL_MEAN),
            ("MODEL.PIXEL_STD", config.input.pixel_std, PIXEL_STD),
        ]
        if backbone.depth >= 50:
            settings.append(("MODEL.RESNETS.STRIDE_IN_1X1", backbone.stride_in_1x1, False))
    changes = [
        f"{key} {list(wanted) if isinstance(wanted, tuple) else wanted}"
        for key, found, wanted in settings
        if found != wanted
    ]
    if changes:
        maker = "Caffe2's" if origin is WeightsOf.CAFFE2 else "torchvision's"
        raise ConfigError(f"{maker} networks have learnt with other settings than these; set {', '.join(changes)}")


def _report(path: Path, weights: StartingWeights, taken: Iterable[str], random: Iterable[str]) -> str:
    unused = [*weights.left_out, *(name for name in weights.entries if name not in set(taken))]
    lines = [
        f"start weights: {printable(path)}, of {weights.origin.value}",
        f"  taken: {_groups(taken)}",
        f"  start from random values: {_groups(random) or 'none'}",
    ]
    if unused:
        named = first_few([printable(each, 60) for each in unused], MOST_UNUSED)
        lines.append(f"  in the file and not used: {named}")
    return "\n".join(lines)


def _groups(names: Iterable[str]) -> str:
    """The first two parts of names without their numbers, each with the number of entries."""
    groups = Counter(".".join(re.sub(r"\d+$", "", part) for part in name.split(".")[:2]) for name in names)
    return ", ".join(f"{group} ({number})" for group, number in sorted(groups.items()))
