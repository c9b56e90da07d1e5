"""A backbone that was trained on ImageNet, from torchvision's names to those of our network."""

import re
from collections.abc import Mapping

from tensormask_server.config import TensorMaskConfig
from tensormask_server.detectron2_yaml import ConfigError
from tensormask_server.network.resnet import ResNetConfig
from torch import Tensor

# what these networks were trained with, for 0 … 255 instead of torchvision's 0 … 1
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
_NAMES = (
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


def is_torchvision_resnet(weights: Mapping[str, Tensor]) -> bool:
    """Whether the entries are named as those of torchvision's ResNets and ResNeXts, and of timm's."""
    return "layer1.0.conv1.weight" in weights


def backbone_entries(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's entries under our names, without its classifier's."""
    entries = {}
    for name, tensor in weights.items():
        if not name.startswith("fc."):
            renamed = name
            for pattern, replacement in _NAMES:
                renamed = re.sub(pattern, replacement, renamed)
            entries[f"backbone.bottom_up.{renamed}"] = tensor
    return entries


def check_suits_torchvision(config: TensorMaskConfig) -> None:
    """
    Raises:
        ConfigError: the network would see other images, or stride elsewhere, than those that torchvision trained; or
            the configuration's backbone isn't a ResNet.
    """
    backbone = config.backbone
    if not isinstance(backbone, ResNetConfig):
        raise ConfigError(
            f"the weights are those of a ResNet and the configuration's backbone is {backbone.label}; expected "
            "MODEL.BACKBONE.NAME build_retinanet_resnet_fpn_backbone, or other weights"
        )
    settings: list[tuple[str, object, object]] = [
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
        raise ConfigError(
            f"torchvision's networks have learnt with other settings than these; set {', '.join(changes)}"
        )
