"""A network to be trained: of random weights or a file's, with norms that learn where the configuration says so."""

import math
from pathlib import Path

import torch
from tensormask_server.checkpoint import CheckpointError, load_checkpoint
from tensormask_server.detectron2_yaml import ConfigError
from tensormask_server.network.loading import load_weights
from tensormask_server.network.norms import FrozenBatchNorm, NormedConv2d
from tensormask_server.network.tensormask import TensorMask
from torch import Tensor, nn

from training.backbones import backbone_entries, check_suits_torchvision, is_torchvision_resnet
from training.settings import TrainingConfig

PRIOR = 0.01  # the score that an untrained network gives to each class everywhere, as of RetinaNet


def build_network(config: TrainingConfig, weights: Path | None = None) -> TensorMask:
    """A network in training mode.

    Args:
        weights: a .pkl, .pth or .safetensors file to start from: a TensorMask, or a ResNet or ResNeXt of torchvision's
            names, for the backbone. A class layer for other classes stays random.

    Raises:
        CheckpointError: the weights can't be read or don't fit.
        ConfigError: the configuration names weights to start from, and none are given; or it doesn't suit those given.
    """
    if weights is None and config.starting_weights:
        raise ConfigError(
            f"MODEL.WEIGHTS is {config.starting_weights!r}, which isn't read; name a trained TensorMask or one of "
            "torchvision's ResNets with --weights, "
            'or set it to "", and MODEL.RESNETS.NORM to "BN", so that the norms learn, for random weights'
        )
    network = TensorMask(config.network)
    initialise(network)
    if weights is not None:
        load_starting_weights(network, weights)
    if config.norm != "FrozenBN":
        learn_norms(network, nn.SyncBatchNorm if config.norm == "SyncBN" else nn.BatchNorm2d)
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


def load_starting_weights(network: TensorMask, path: Path) -> None:
    """Copies a file's weights into the network; those of the class layer only if they are for as many classes."""
    weights = load_checkpoint(path)
    own = network.state_dict()
    if is_torchvision_resnet(weights):
        check_suits_torchvision(network.config)
        others = {name: tensor for name, tensor in own.items() if not name.startswith("backbone.bottom_up.")}
        load_weights(network, others | backbone_entries(weights))
        return
    for name in ("head.cls_score.weight", "head.cls_score.bias"):
        if name not in weights:
            raise CheckpointError(
                f"{path} has no entry {name}; expected a TensorMask's, or one of torchvision's ResNets"
            )
        if weights[name].shape != own[name].shape:
            weights[name] = own[name]
    load_weights(network, weights)


def learn_norms(network: nn.Module, norm: type[nn.BatchNorm2d] | type[nn.SyncBatchNorm]) -> None:
    """Puts a norm that learns in the place of each frozen one, with its values and entry names."""
    for module in network.modules():
        if isinstance(module, NormedConv2d) and isinstance(module.norm, FrozenBatchNorm):
            frozen = module.norm
            learning = norm(module.out_channels, eps=frozen.eps).to(frozen.weight.device)
            learning.load_state_dict(frozen.state_dict(), strict=False)  # but for the number of batches seen
            module.norm = learning


def in_channels_last(network: nn.Module) -> None:
    """Lays the convolutions' weights out with the channels last: faster, the more so in bfloat16."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def named_weights(network: nn.Module) -> dict[str, Tensor]:
    """The entries that a detectron2 file holds, on the host."""
    entries = network.state_dict()
    return {name: entries[name].detach().cpu() for name in entries if not name.endswith("num_batches_tracked")}


def norm_parameters(network: nn.Module) -> set[nn.Parameter]:
    norms = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm))
    return {parameter for norm in norms for parameter in norm.parameters()}
