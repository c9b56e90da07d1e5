"""The feature pyramid over a backbone, with P6 and P7 (docs/NETWORK.md, section 4)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tensormask_server.network.backbone import BackboneConfig, FeatureMap
from tensormask_server.network.config import FPNConfig
from tensormask_server.network.norms import NormedConv2d


def build_backbone(backbone: BackboneConfig, fpn: FPNConfig) -> "FPN":
    """The backbone of any kind with its pyramid, with random weights."""
    return FPN(fpn, backbone.build(), backbone.feature_maps)


class FPN(nn.Module):
    """Images to the feature maps of the pyramid. As in detectron2, the backbone is its `bottom_up`."""

    def __init__(self, config: FPNConfig, bottom_up: nn.Module, feature_maps: Sequence[FeatureMap]):
        """
        Args:
            bottom_up: maps images, (N, 3, H, W), to a dict of the feature maps.
            feature_maps: what `bottom_up` gives, finest first.
        """
        super().__init__()
        self.bottom_up = bottom_up
        self.in_levels = tuple(enumerate(config.in_features, start=config.finest_level))
        self.last_feature = feature_maps[-1].name
        self.names = config.out_features
        self.fuse_type = config.fuse_type
        in_channels = {each.name: each.channels for each in feature_maps}
        for level, name in self.in_levels:
            self.add_module(f"fpn_lateral{level}", _convolution(in_channels[name], config.out_channels, 1, config.norm))
            self.add_module(
                f"fpn_output{level}", _convolution(config.out_channels, config.out_channels, 3, config.norm)
            )
        self.top_block = TopBlock(in_channels[self.last_feature], config.out_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (N, 3, H, W), normalised, H and W multiples of the backbone's last stride.

        Returns:
            "p2" … "p7": (N, C, ⌈H/S⌉, ⌈W/S⌉) with stride S = 2^level.
        """
        bottom_up: dict[str, Tensor] = self.bottom_up(images)
        outputs: list[Tensor] = list(self.top_block(bottom_up[self.last_feature]))
        inner: Tensor | None = None
        for level, name in reversed(self.in_levels):
            lateral = self.get_submodule(f"fpn_lateral{level}")(bottom_up[name])  # (N, C, H/S, W/S)
            if inner is not None:
                _add_upsampled(lateral, inner)
                if self.fuse_type == "avg":
                    lateral /= 2
            inner = lateral
            outputs.insert(0, self.get_submodule(f"fpn_output{level}")(inner))  # (N, C, H/S, W/S)
        return dict(zip(self.names, outputs, strict=True))


def _convolution(in_channels: int, out_channels: int, kernel_size: int, norm: str) -> nn.Conv2d:
    """A convolution with a bias or, as in detectron2, with a norm in place of it."""
    if norm:
        return NormedConv2d(in_channels, out_channels, kernel_size, norm=norm)
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


def _add_upsampled(fine: Tensor, coarse: Tensor) -> None:
    """Adds each cell of the coarse map, (N, C, H, W), to the 2×2 cells of the fine one that lie on it."""
    num, channels, height, width = coarse.shape
    cells = fine.view(num, channels, height, 2, width, 2)
    cells += coarse[:, :, :, None, :, None]  # (N, C, H, 1, W, 1)


class TopBlock(nn.Module):
    """P6 from the backbone's last feature map and P7 from P6, each a 3×3 with stride 2."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)

    def forward(self, last_feature: Tensor) -> tuple[Tensor, Tensor]:
        p6 = self.p6(last_feature)  # (N, C, ⌈H/64⌉, ⌈W/64⌉)
        return p6, self.p7(F.relu(p6))  # (N, C, ⌈H/128⌉, ⌈W/128⌉)
