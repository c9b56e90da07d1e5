"""What a backbone has to give: its feature maps, its module, and hints for weights that don't fit.

To add a backbone, write one file like `resnet.py`: a `BackboneConfig`, a function that parses it from a detectron2
YAML, and the module. Then add one entry to `backbones.py`.
"""

from typing import NamedTuple, Protocol

from torch import nn


class FeatureMap(NamedTuple):
    """One output of a backbone."""

    name: str  # as MODEL.FPN.IN_FEATURES names it
    channels: int
    stride: int  # pixels of the network's input per cell: a power of 2


class Hints(NamedTuple):
    """Which keys of the configuration most likely disagree with weights that don't fit, as error messages name them."""

    missing: str  # an entry of the backbone is missing, or has no place
    out_channels: str  # the pyramid expects another number of channels from the backbone
    strides: str  # the backbone's feature maps have other strides
    # Regular expressions for an entry of another shape, each with its key. They match the entry's name without
    # "backbone.bottom_up.", then a space, then the first axis that differs: 0 is the outputs, 1 the inputs, 2 and 3 the
    # kernel. The first one that matches counts.
    shapes: tuple[tuple[str, str], ...]
    norm: str = ""  # a norm's statistics are missing, or have no place


class BackboneConfig(Protocol):
    """The configuration of one backbone, which knows how to build it. Any frozen dataclass with these members fits."""

    @property
    def label(self) -> str:
        """A short name for people, such as "R50"."""

    @property
    def feature_maps(self) -> tuple[FeatureMap, ...]:
        """The outputs, finest first. Each has the stride of the one before, or twice that. P6 is made from the last."""

    @property
    def hints(self) -> Hints: ...

    def build(self) -> nn.Module:
        """The module, with random weights and detectron2's entry names.

        It maps images, (N, 3, H, W), normalised, to a dict from each feature map's name to (N, channels, H/S, W/S).
        Convolutions with a norm are `NormedConv2d`, or have a `fold_norm` of their own (see `norms.py`).
        """
