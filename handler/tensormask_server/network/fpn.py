"""The feature pyramid over a ResNet, with P6 and P7 (specification, section 4)."""

import torch.nn.functional as F
from torch import Tensor, nn

from tensormask_server.config import FPNConfig, ResNetConfig
from tensormask_server.network.resnet import ResNet


class FPN(nn.Module):
    """Images to the feature maps of the pyramid; holds the ResNet as `bottom_up`, as detectron2 does."""

    def __init__(self, config: FPNConfig, resnet: ResNetConfig):
        super().__init__()
        self.bottom_up = ResNet(resnet)
        self.stages = tuple(int(name[3:]) for name in config.in_features)
        self.names = config.out_features
        self.fuse_type = config.fuse_type
        channels = config.out_channels
        for stage in self.stages:
            self.add_module(f"fpn_lateral{stage}", nn.Conv2d(self.bottom_up.out_channels[f"res{stage}"], channels, 1))
            self.add_module(f"fpn_output{stage}", nn.Conv2d(channels, channels, 3, padding=1))
        self.top_block = TopBlock(self.bottom_up.out_channels["res5"], channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (N, 3, H, W), normalised, H and W multiples of res5's stride.

        Returns:
            "p2" … "p7": (N, C, ⌈H/S⌉, ⌈W/S⌉) with stride S = 2^level.
        """
        stages = self.bottom_up(images)
        outputs: list[Tensor] = list(self.top_block(stages["res5"]))
        inner: Tensor | None = None
        for stage in reversed(self.stages):
            lateral = self.get_submodule(f"fpn_lateral{stage}")(stages[f"res{stage}"])
            if inner is not None:
                _add_upsampled(lateral, inner)
                if self.fuse_type == "avg":
                    lateral /= 2
            inner = lateral
            outputs.insert(0, self.get_submodule(f"fpn_output{stage}")(inner))
        return dict(zip(self.names, outputs, strict=True))


def _add_upsampled(fine: Tensor, coarse: Tensor) -> None:
    """Adds each cell of the coarse map, (N, C, H, W), to the 2×2 cells of the fine one that lie on it."""
    num, channels, height, width = coarse.shape
    cells = fine.view(num, channels, height, 2, width, 2)
    cells += coarse[:, :, :, None, :, None]


class TopBlock(nn.Module):
    """P6 from res5 and P7 from P6, each a 3×3 with stride 2."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)

    def forward(self, res5: Tensor) -> tuple[Tensor, Tensor]:
        p6 = self.p6(res5)
        return p6, self.p7(F.relu(p6))
