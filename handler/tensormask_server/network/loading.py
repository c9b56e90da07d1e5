"""Weights into a network. What doesn't fit is refused, with the key of the configuration that most likely disagrees."""

import re
from collections.abc import Mapping
from itertools import zip_longest

import torch
from torch import Tensor

from tensormask_server.model_files.checkpoint import CheckpointError
from tensormask_server.model_files.starting_weights import BOTTOM_UP
from tensormask_server.network.backbone import Hints
from tensormask_server.network.config import TensorMaskConfig
from tensormask_server.network.other_networks import other_network
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.printable import printable

# the keys for an entry that is missing, or has no place
_KEY_OF_MISSING: tuple[tuple[str, str], ...] = (
    (r"backbone\.fpn_\w+\.(norm\.|bias)", "MODEL.FPN.NORM"),
    (r"backbone\.fpn_", "MODEL.FPN.IN_FEATURES"),
    (r"head\.mask_subnet\.0\.", "MODEL.MASK_ON (unless the weights are a RetinaNet's)"),
    (r"head\..*_subnet\.", "MODEL.TENSOR_MASK.NUM_CONVS"),
    (r"head\.mask_pred_", "MODEL.ANCHOR_GENERATOR.SIZES"),
    (r"head\.mask_fuse\.", "MODEL.TENSOR_MASK.BIPYRAMID_ON"),
)
# the keys for an entry of another shape, by the first axis that differs: 0 is the outputs, 1 the inputs
_KEY_OF_AXIS: tuple[tuple[str, str], ...] = (
    (r"backbone\.(fpn|top_block)", "MODEL.FPN.OUT_CHANNELS"),
    (r"head\..*_subnet\.0\..* 1", "MODEL.FPN.OUT_CHANNELS"),
    (r"head\.cls_score\..* 0", "MODEL.TENSOR_MASK.NUM_CLASSES (or MODEL.ANCHOR_GENERATOR)"),
    (r"head\.bbox_pred\..* 0", "MODEL.ANCHOR_GENERATOR"),
    (r"head\.cls", "MODEL.TENSOR_MASK.CLS_CHANNELS"),
    (r"head\.bbox", "MODEL.TENSOR_MASK.BBOX_CHANNELS"),
    (r"head\.mask", "MODEL.TENSOR_MASK.MASK_CHANNELS"),
)
_BOTTOM_UP = re.escape(BOTTOM_UP)


def build_network(config: TensorMaskConfig, weights: Mapping[str, Tensor]) -> TensorMask:
    """Builds the network of a configuration with these weights, in training mode.

    Raises:
        CheckpointError: as `checked_weights`. The network takes no memory before the weights are known to fit.
    """
    fitting = checked_weights(config, weights)
    network = TensorMask(config)
    network.load_state_dict(fitting)
    return network


def checked_weights(config: TensorMaskConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Checks that weights fit a configuration, without memory for a network.

    Args:
        weights: from each entry's name to its tensor.

    Returns:
        The same tensors in the network's order, without those of the mask branch where MASK_ON is False.

    Raises:
        CheckpointError: an entry is missing, has no place in the network, or has another shape.
    """
    with torch.device("meta"):
        network = TensorMask(config)
    return _fitting(network, weights)


def load_weights(network: TensorMask, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into a network.

    Raises:
        CheckpointError: as `checked_weights`. Nothing is copied then.
    """
    network.load_state_dict(_fitting(network, weights))


def _fitting(network: TensorMask, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    hints = network.config.backbone.hints
    expected = network.state_dict()
    other = other_network(weights, expected)
    if other is not None:
        found = ", ".join(printable(name, 60) for name in [name for name in weights if name not in expected][:2])
        raise CheckpointError(
            f"the weights are those of {other}{f' (entries {found}, …)' if found else ''}; expected a trained "
            "TensorMask's"
        )
    names = list(expected)
    if not any(name.startswith("head.mask_") for name in weights):  # of all that is missing, this says the most
        names.sort(key=lambda name: not name.startswith("head.mask_"))
    for name in names:
        tensor = expected[name]
        if name not in weights:
            complaint = f"the weights have no entry {name}, expected with shape {_shape(tensor)}"
            raise CheckpointError(f"{complaint}; {_hint(hints, name, None, tensor)}")
        if weights[name].shape != tensor.shape:
            complaint = f"the weights' {name} has shape {_shape(weights[name])}, expected {_shape(tensor)}"
            raise CheckpointError(f"{complaint}; {_hint(hints, name, weights[name], tensor)}")
    unknown = [name for name in weights if name not in expected]
    if not network.config.head.mask_on:
        unknown = [name for name in unknown if not name.startswith("head.mask_")]
    if unknown:
        name = unknown[0]
        complaint = f"the weights' {printable(name)} has shape {_shape(weights[name])}, and no place in the network"
        raise CheckpointError(f"{complaint}; {_hint(hints, name, weights[name], None)}")
    return {name: weights[name] for name in expected}


def _hint(hints: Hints, name: str, found: Tensor | None, expected: Tensor | None) -> str:
    rules: list[tuple[str, str]]
    if found is None or expected is None:
        difference = name
        norm = [(_BOTTOM_UP + r".*\.norm\.running_", hints.norm)] if hints.norm else []
        rules = [*norm, (_BOTTOM_UP, hints.missing), *_KEY_OF_MISSING]
    else:
        lengths = zip_longest(found.shape, expected.shape)
        axis = next(axis for axis, (length, wanted) in enumerate(lengths) if length != wanted)
        difference = f"{name} {axis}"
        rules = [(_BOTTOM_UP + pattern, key) for pattern, key in hints.shapes]
        rules += [(r"backbone\.(fpn_lateral\d|top_block\.p6)\..* 1", hints.out_channels), *_KEY_OF_AXIS]
    keys = [key for pattern, key in rules if re.match(pattern, difference)]
    return f"most likely {keys[0] if keys else 'MODEL'} in the configuration disagrees with the weights"


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
