"""Weights to start a training from: a whole network's, or a backbone's under Caffe2's, torchvision's or detectron2's
names. All of them get the names of our network."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch
from torch import Tensor

from tensormask_server.model_files.checkpoint import CheckpointError, read_weights
from tensormask_server.printable import printable

BOTTOM_UP = "backbone.bottom_up."
EPS = 1e-5  # of the network's norms
# names of entries that only one kind of file has
_TORCHVISION_MARK = "layer1.0.conv1.weight"
_RESNET_MARK = "res2.0.conv1.weight"
_TORCHVISION = (
    (r"^conv1\.", "stem.conv1."),
    (r"^bn1\.", "stem.conv1.norm."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"^layer1\.", "res2."),
    (r"^layer2\.", "res3."),
    (r"^layer3\.", "res4."),
    (r"^layer4\.", "res5."),
)
_CAFFE2_CONVOLUTION = re.compile(r"(?:(?P<stem>conv1)|res(?P<stage>[2-5])_(?P<block>\d+)_branch(?P<branch>1|2[abc]))_w")
_CAFFE2_NORM = re.compile(
    r"(?:(?P<stem>res_conv1|conv1)|res(?P<stage>[2-5])_(?P<block>\d+)_branch(?P<branch>1|2[abc]))"
    r"_(?P<norm>bn|gn)_(?P<part>[sb])"
)
_BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}


class WeightsOf(Enum):
    """What weights are from, by their names. The value is what messages call them."""

    NETWORK = "a TensorMask, or another network with a head of its names"
    DETECTRON2 = "another network of detectron2, such as a Mask R-CNN"
    TORCHVISION = "a ResNet or ResNeXt of torchvision"
    RESNET = "a ResNet of detectron2's names"
    CAFFE2 = "a ResNet or ResNeXt of Caffe2"


@dataclass(frozen=True)
class StartingWeights:
    """A file's weights under the names of our network."""

    origin: WeightsOf
    entries: dict[str, Tensor]  # float32, finite; "backbone.bottom_up.…" and, if the file has them, the rest
    left_out: tuple[str, ...]  # the names in the file of those without a place, such as a classifier's


def load_starting_weights(path: str | Path) -> StartingWeights:
    """Reads a file of weights to start a training from. Nothing in the file is executed.

    A ResNet of Caffe2 has learnt with channels in the order BGR, and strides in the 1×1s; one of torchvision with RGB,
    and strides in the 3×3s. The kind says which it is; the shapes aren't checked.

    Raises:
        CheckpointError: the file can't be read, isn't weights, or holds no entry of a backbone.

    Source: docs/NETWORK.md, section 2.
    """
    file = read_weights(path)
    if file.is_caffe2:
        origin, renamed = WeightsOf.CAFFE2, {name: _of_caffe2(name) for name in file.entries}
    elif _TORCHVISION_MARK in file.entries:
        origin, renamed = WeightsOf.TORCHVISION, {name: _of_torchvision(name) for name in file.entries}
    elif _RESNET_MARK in file.entries:
        origin = WeightsOf.TORCHVISION if file.author == "torchvision" else WeightsOf.RESNET
        renamed = {name: _of_resnet(name) for name in file.entries}
    elif any(name.startswith("head.") for name in file.entries):
        origin, renamed = WeightsOf.NETWORK, {name: name for name in file.entries}
    else:
        origin, renamed = WeightsOf.DETECTRON2, {name: _of_detectron2(name) for name in file.entries}
    taken = {new: file.entries[name] for name, new in renamed.items() if new is not None}
    if not any(name.startswith(BOTTOM_UP) for name in taken):
        raise CheckpointError(
            f"{printable(path)} has no entries of a backbone: its names begin with {_first(file.entries)}; expected "
            f"those of a TensorMask or another network of detectron2 ({BOTTOM_UP}…), of torchvision's ResNets "
            f"({_TORCHVISION_MARK}) or of Caffe2's (res2_0_branch2a_w)"
        )
    if origin is WeightsOf.CAFFE2:
        taken |= _fixed_statistics(taken, file.entries)
    return StartingWeights(origin, taken, tuple(name for name, new in renamed.items() if new is None))


def _of_torchvision(name: str) -> str | None:
    if not name.startswith(("conv1.", "bn1.", "layer")):
        return None
    for pattern, replacement in _TORCHVISION:
        name = re.sub(pattern, replacement, name)
    return BOTTOM_UP + name


def _of_resnet(name: str) -> str | None:
    known = name.startswith(("stem.", "res2.", "res3.", "res4.", "res5.")) and not name.startswith("stem.fc.")
    return BOTTOM_UP + name if known else None


def _of_detectron2(name: str) -> str | None:
    """The whole backbone with its pyramid, which a Mask R-CNN has as well."""
    return name if name.startswith("backbone.") else None


def _of_caffe2(name: str) -> str | None:
    convolution, norm = _CAFFE2_CONVOLUTION.fullmatch(name), _CAFFE2_NORM.fullmatch(name)
    if convolution is not None:
        return f"{BOTTOM_UP}{_caffe2_place(convolution)}.weight"
    if norm is not None:
        return f"{BOTTOM_UP}{_caffe2_place(norm)}.norm.{'weight' if norm['part'] == 's' else 'bias'}"
    return None


def _caffe2_place(match: re.Match[str]) -> str:
    return "stem.conv1" if match["stem"] else f"res{match['stage']}.{int(match['block'])}.{_BRANCHES[match['branch']]}"


def _fixed_statistics(entries: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Mean 0 and variance 1 − eps for norms that are affine alone, so that they only scale and shift."""
    if any("_gn_" in name for name in names):  # GroupNorm has no statistics of its own
        return {}
    weights = {name: tensor for name, tensor in entries.items() if name.endswith(".norm.weight")}
    return {
        f"{name.removesuffix('weight')}{statistic}": torch.full_like(weight, value)
        for name, weight in weights.items()
        for statistic, value in (("running_mean", 0.0), ("running_var", 1 - EPS))
    }


def _first(names: Iterable[str]) -> str:
    return ", ".join(printable(name, 60) for name in list(names)[:3])
