"""A network to be trained: of random weights or a file's, with norms that learn where the configuration says so."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.model_files.starting_weights import BOTTOM_UP
from tensormask_server.network.norms import FrozenBatchNorm, NormedConv2d
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.printable import quoted
from torch import Tensor, nn

from training.backbones import start_from
from training.settings import TrainingConfig

PRIOR = 0.01  # the score that an untrained network gives to each class everywhere, as of RetinaNet


def network_to_train(
    config: TrainingConfig, weights: Path | None = None, say: Callable[[str], object] = lambda _: None
) -> TensorMask:
    """Builds a network to train.

    Args:
        config: of the network.
        weights: a file to start from, as `start_from` takes it; None: random weights.
        say: gets the lines that say which weights were taken.

    Returns:
        The network, in training mode.

    Raises:
        CheckpointError: the weights can't be read or don't fit.
        ConfigError: the configuration names weights to start from, and none are given; or it doesn't suit those given.
    """
    if weights is None and config.starting_weights:
        raise ConfigError(
            f"MODEL.WEIGHTS is {quoted(config.starting_weights)}, which a training doesn't fetch; give the file with "
            '--weights, or set MODEL.WEIGHTS to "" for random weights, and MODEL.RESNETS.NORM to "BN" so that the '
            "norms learn"
        )
    network = TensorMask(config.network)
    initialise(network)
    if weights is not None:
        say(start_from(network, weights))
    learn_norms(network, config.norm, config.pyramid_norm)
    return network.train()


def initialise(network: TensorMask) -> None:
    """Random weights that keep the size of the signal from layer to layer (He et al.), small ones for what predicts."""
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if name.startswith(("head.cls_score", "head.bbox_pred", "head.mask_pred")):
            nn.init.normal_(module.weight, std=0.01)
        elif name.startswith(("backbone.fpn", "backbone.top_block")):  # no ReLU follows
            nn.init.kaiming_uniform_(module.weight, a=1)
        else:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    assert network.head.cls_score.bias is not None
    nn.init.constant_(network.head.cls_score.bias, -math.log((1 - PRIOR) / PRIOR))


def learn_norms(network: nn.Module, norm: str, pyramid_norm: str) -> None:
    """Puts a norm that learns in the place of each frozen one, with its values and entry names.

    Args:
        network: with frozen norms.
        norm: of the backbone, as in `TrainingConfig`. "FrozenBN" and "GN" stay as they are.
        pyramid_norm: of the layers behind it, likewise.
    """
    norms: dict[str, type[nn.BatchNorm2d] | type[nn.SyncBatchNorm]] = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}
    for name, module in network.named_modules():
        kind = norms.get(norm if name.startswith(BOTTOM_UP) else pyramid_norm)
        if kind is not None and isinstance(module, NormedConv2d) and isinstance(module.norm, FrozenBatchNorm):
            frozen = module.norm
            learning = kind(module.out_channels, eps=frozen.eps).to(frozen.weight.device)
            learning.load_state_dict(frozen.state_dict(), strict=False)  # but for the number of batches seen
            module.norm = learning


def in_channels_last(network: nn.Module) -> None:
    """Lays the convolutions' weights out with the channels last: faster, the more so in bfloat16."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def lay_out_gradients(network: nn.Module) -> None:
    """Gives each gradient the strides of its weights, as fused optimizers want. They differ along axes of length 1."""
    for parameter in network.parameters():
        gradient = parameter.grad
        if gradient is not None and gradient.stride() != parameter.stride():
            sides = [axis for axis, length in enumerate(parameter.shape) if length > 1]
            if all(gradient.stride(axis) == parameter.stride(axis) for axis in sides):
                parameter.grad = gradient.as_strided(parameter.shape, parameter.stride())
            else:
                parameter.grad = torch.empty_like(parameter).copy_(gradient)


def named_weights(network: nn.Module) -> dict[str, Tensor]:
    """The entries that a detectron2 file holds, on the host."""
    entries = network.state_dict()
    return {name: entries[name].detach().cpu() for name in entries if not name.endswith("num_batches_tracked")}


def norm_parameters(network: nn.Module) -> set[nn.Parameter]:
    """The weights and biases of the norms that learn."""
    norms = (
        module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm | nn.GroupNorm)
    )
    return {parameter for norm in norms for parameter in norm.parameters()}
