"""The ResNet and ResNeXt backbone, with detectron2's names (docs/NETWORK.md, section 4)."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from tensormask_server.model_files.key_reader import ConfigError, KeyReader, is_list
from tensormask_server.network.backbone import FeatureMap, Hints
from tensormask_server.network.convolutions import activated
from tensormask_server.network.norms import NORMS, NormedConv2d, check_groups

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BASIC_DEPTHS = (18, 34)  # of basic blocks; the others have bottlenecks
STAGES = ("res2", "res3", "res4", "res5")
HINTS = Hints(
    missing="MODEL.RESNETS.DEPTH",
    out_channels="MODEL.RESNETS.DEPTH or RES2_OUT_CHANNELS",
    strides="MODEL.RESNETS.RES5_DILATION",
    shapes=(
        (r"stem\..* 0", "MODEL.RESNETS.STEM_OUT_CHANNELS"),
        (r"res.* [23]", "MODEL.RESNETS.DEPTH"),
        (r"res.*conv2\..* 1", "MODEL.RESNETS.NUM_GROUPS"),
        (r"res.*conv[12]\..* 0", "MODEL.RESNETS.WIDTH_PER_GROUP or DEPTH"),
        (r"res", "MODEL.RESNETS.RES2_OUT_CHANNELS or DEPTH"),
    ),
    norm="MODEL.RESNETS.NORM",
)


@dataclass(frozen=True)
class ResNetConfig:
    """MODEL.RESNETS: a `BackboneConfig`."""

    depth: int
    num_groups: int
    width_per_group: int
    stride_in_1x1: bool
    stem_out_channels: int
    res2_out_channels: int
    res5_dilation: int  # 2: res5 keeps res4's stride
    norm: str = "BN"  # at inference: "BN", with fixed statistics, or "GN"

    @property
    def label(self) -> str:
        return f"R{self.depth}"

    @property
    def feature_maps(self) -> tuple[FeatureMap, ...]:
        strides = (4, 8, 16, 32 if self.res5_dilation == 1 else 16)
        return tuple(
            FeatureMap(stage, self.res2_out_channels << i, stride)
            for i, (stage, stride) in enumerate(zip(STAGES, strides, strict=True))
        )

    @property
    def hints(self) -> Hints:
        return HINTS

    def build(self) -> "ResNet":
        return ResNet(self)


def parse_resnet(reader: KeyReader) -> ResNetConfig:
    """Reads MODEL.RESNETS. The defaults are detectron2's.

    Raises:
        ConfigError: a key isn't known, or has a value that isn't supported.
    """
    section = "MODEL.RESNETS"
    known = "DEPTH NUM_GROUPS WIDTH_PER_GROUP STRIDE_IN_1X1 STEM_OUT_CHANNELS RES2_OUT_CHANNELS RES5_DILATION NORM"
    ignored = "OUT_FEATURES DEFORM_ON_PER_STAGE DEFORM_MODULATED DEFORM_NUM_GROUPS"
    reader.known_keys(section, (*known.split(), *ignored.split()))
    reader.checked(
        f"{section}.DEFORM_ON_PER_STAGE",
        [False] * 4,
        "[False, False, False, False] (no deformable convolutions)",
        lambda v: is_list(v) and not any(v),
    )
    config = ResNetConfig(
        depth=reader.choice(f"{section}.DEPTH", 50, tuple(BLOCKS_PER_STAGE)),
        num_groups=reader.integer(f"{section}.NUM_GROUPS", 1),
        width_per_group=reader.integer(f"{section}.WIDTH_PER_GROUP", 64),
        stride_in_1x1=reader.boolean(f"{section}.STRIDE_IN_1X1", True),
        stem_out_channels=reader.integer(f"{section}.STEM_OUT_CHANNELS", 64),
        res2_out_channels=reader.integer(f"{section}.RES2_OUT_CHANNELS", 256),
        res5_dilation=reader.choice(f"{section}.RES5_DILATION", 1, (1, 2)),
        norm=NORMS[reader.choice(f"{section}.NORM", "FrozenBN", tuple(NORMS))],
    )
    channels = {f"{section}.STEM_OUT_CHANNELS": config.stem_out_channels}
    if config.depth not in BASIC_DEPTHS:
        width = config.num_groups * config.width_per_group
        channels |= {f"{section}.NUM_GROUPS * WIDTH_PER_GROUP": width}
    check_groups(config.norm, channels | {f"{section}.RES2_OUT_CHANNELS": config.res2_out_channels})
    if config.depth in BASIC_DEPTHS:
        for key, value, only in (
            ("RES2_OUT_CHANNELS", config.res2_out_channels, 64),
            ("NUM_GROUPS", config.num_groups, 1),
            ("RES5_DILATION", config.res5_dilation, 1),
        ):
            if value != only:
                raise ConfigError(f"{section}.{key} is {value}; supported with {section}.DEPTH {config.depth}: {only}")
    return config


class ResNet(nn.Module):
    """Images to the feature maps of the four stages."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.stem = Stem(config.stem_out_channels, config.norm)
        in_channels, previous_stride = config.stem_out_channels, 4
        bottleneck_channels = config.num_groups * config.width_per_group
        for feature_map, num_blocks in zip(config.feature_maps, BLOCKS_PER_STAGE[config.depth], strict=True):
            stage, out_channels, stage_stride = feature_map
            stride = stage_stride // previous_stride  # of the stage's first block
            blocks: list[nn.Module] = []
            for _ in range(num_blocks):
                if config.depth in BASIC_DEPTHS:
                    blocks.append(BasicBlock(in_channels, out_channels, stride, config.norm))
                else:
                    blocks.append(
                        Bottleneck(
                            in_channels,
                            out_channels,
                            bottleneck_channels,
                            stride,
                            num_groups=config.num_groups,
                            stride_in_1x1=config.stride_in_1x1,
                            dilation=config.res5_dilation if stage == "res5" else 1,
                            norm=config.norm,
                        )
                    )
                in_channels, stride = out_channels, 1
            self.add_module(stage, nn.Sequential(*blocks))
            previous_stride, bottleneck_channels = stage_stride, 2 * bottleneck_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (N, 3, H, W), normalised, H and W multiples of res5's stride.

        Returns:
            "res2" … "res5": (N, C, H/S, W/S) with S = 4, 8, 16, 32 (16 for a dilated res5).
        """
        features = {}
        x = self.stem(images)  # (N, 64, H/4, W/4)
        for stage in STAGES:
            x = self.get_submodule(stage)(x)  # (N, C, H/S, W/S)
            features[stage] = x
        return features


class Stem(nn.Module):
    """7×7 stride 2, norm, ReLU, 3×3 max pool stride 2."""

    def __init__(self, out_channels: int, norm: str):
        super().__init__()
        self.conv1 = NormedConv2d(3, out_channels, 7, stride=2, norm=norm)

    def forward(self, images: Tensor) -> Tensor:
        x = activated(self.conv1, images)  # (N, C, H/2, W/2)
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)  # (N, C, H/4, W/4)


class BasicBlock(nn.Module):
    """3×3, 3×3: the blocks of depth 18 and 34."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: str):
        super().__init__()
        self.conv1 = NormedConv2d(in_channels, out_channels, 3, stride, norm=norm)
        self.conv2 = NormedConv2d(out_channels, out_channels, 3, norm=norm)
        self.shortcut = _shortcut(in_channels, out_channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        return activated(self.conv2, activated(self.conv1, x), added=self.shortcut(x))


class Bottleneck(nn.Module):
    """1×1, 3×3 (grouped in a ResNeXt), 1×1: the blocks of depth 50 and more."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bottleneck_channels: int,
        stride: int,
        num_groups: int,
        stride_in_1x1: bool,
        dilation: int,
        norm: str,
    ):
        super().__init__()
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = NormedConv2d(in_channels, bottleneck_channels, 1, stride_1x1, norm=norm)
        self.conv2 = NormedConv2d(bottleneck_channels, bottleneck_channels, 3, stride_3x3, num_groups, dilation, norm)
        self.conv3 = NormedConv2d(bottleneck_channels, out_channels, 1, norm=norm)
        self.shortcut = _shortcut(in_channels, out_channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = activated(self.conv2, activated(self.conv1, x))
        return activated(self.conv3, y, added=self.shortcut(x))


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: str) -> nn.Module:
    """A 1×1 where a block changes the number of channels. As in detectron2, a stride alone doesn't need one."""
    if in_channels == out_channels:
        return nn.Identity()
    return NormedConv2d(in_channels, out_channels, 1, stride, norm=norm)
