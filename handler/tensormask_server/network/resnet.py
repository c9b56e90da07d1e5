"""The ResNet and ResNeXt backbone, with detectron2's names (specification, section 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tensormask_server.config import ResNetConfig

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGES = ("res2", "res3", "res4", "res5")


class ResNet(nn.Module):
    """Images to the feature maps of the four stages."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.stem = Stem(config.stem_out_channels)
        self.out_channels: dict[str, int] = {}
        in_channels, out_channels = config.stem_out_channels, config.res2_out_channels
        bottleneck_channels = config.num_groups * config.width_per_group
        for stage, num_blocks in zip(STAGES, BLOCKS_PER_STAGE[config.depth], strict=True):
            dilation = config.res5_dilation if stage == "res5" else 1
            stride = 1 if stage == "res2" or dilation > 1 else 2
            blocks: list[nn.Module] = []
            for _ in range(num_blocks):
                if config.depth < 50:
                    blocks.append(BasicBlock(in_channels, out_channels, stride))
                else:
                    blocks.append(
                        Bottleneck(
                            in_channels,
                            out_channels,
                            bottleneck_channels,
                            stride,
                            num_groups=config.num_groups,
                            stride_in_1x1=config.stride_in_1x1,
                            dilation=dilation,
                        )
                    )
                in_channels, stride = out_channels, 1
            self.add_module(stage, nn.Sequential(*blocks))
            self.out_channels[stage] = out_channels
            out_channels, bottleneck_channels = 2 * out_channels, 2 * bottleneck_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (N, 3, H, W), normalised, H and W multiples of res5's stride.

        Returns:
            "res2" … "res5": (N, C, H/S, W/S) with S = 4, 8, 16, 32 (16 for a dilated res5).
        """
        features = {}
        x = self.stem(images)
        for stage in STAGES:
            x = self.get_submodule(stage)(x)
            features[stage] = x
        return features


class FrozenBatchNorm(nn.Module):
    """y = (x − running_mean) / sqrt(running_var + eps) · weight + bias, with all four fixed."""

    eps = 1e-5

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = _scale_and_shift(self)
        return x * scale[:, None, None] + shift[:, None, None]


class NormedConv2d(nn.Conv2d):
    """A convolution without bias, then its norm (until `fold_norms` makes one convolution of the two)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, groups: int, dilation: int):
        padding = dilation * (kernel_size // 2)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False)
        self.norm: nn.Module = FrozenBatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(super().forward(x))
        return y

    @torch.no_grad()
    def fold_norm(self) -> None:
        """Moves the norm, also one that learnt, into the convolution's weight and bias; computed in float64."""
        if isinstance(self.norm, FrozenBatchNorm | nn.BatchNorm2d | nn.SyncBatchNorm):
            scale, shift = _scale_and_shift(self.norm.double())
            dtype = self.weight.dtype
            self.weight.copy_((self.weight.double() * scale[:, None, None, None]).to(dtype))
            self.bias = nn.Parameter(shift.to(dtype), requires_grad=False)
            self.norm = nn.Identity()


def _scale_and_shift(norm: FrozenBatchNorm | nn.BatchNorm2d | nn.SyncBatchNorm) -> tuple[Tensor, Tensor]:
    """The same map at inference as x · scale + shift, both (C,)."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def fold_norms(network: nn.Module) -> None:
    """Folds the norm of every `NormedConv2d` in the network, for inference."""
    for module in network.modules():
        if isinstance(module, NormedConv2d):
            module.fold_norm()


class Stem(nn.Module):
    """7×7 stride 2, norm, ReLU, 3×3 max pool stride 2."""

    def __init__(self, out_channels: int):
        super().__init__()
        self.conv1 = NormedConv2d(3, out_channels, 7, stride=2, groups=1, dilation=1)

    def forward(self, images: Tensor) -> Tensor:
        return F.max_pool2d(F.relu_(self.conv1(images)), kernel_size=3, stride=2, padding=1)


class BasicBlock(nn.Module):
    """3×3, 3×3: the blocks of depth 18 and 34."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = NormedConv2d(in_channels, out_channels, 3, stride, groups=1, dilation=1)
        self.conv2 = NormedConv2d(out_channels, out_channels, 3, 1, groups=1, dilation=1)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu_(self.conv1(x)))
        y += self.shortcut(x)
        return F.relu_(y)


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
    ):
        super().__init__()
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = NormedConv2d(in_channels, bottleneck_channels, 1, stride_1x1, groups=1, dilation=1)
        self.conv2 = NormedConv2d(bottleneck_channels, bottleneck_channels, 3, stride_3x3, num_groups, dilation)
        self.conv3 = NormedConv2d(bottleneck_channels, out_channels, 1, 1, groups=1, dilation=1)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.conv1(x))
        y = F.relu_(self.conv2(y))
        y = self.conv3(y)
        y += self.shortcut(x)
        return F.relu_(y)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A 1×1 where a block changes the channels; detectron2 decides by the channels alone."""
    if in_channels == out_channels:
        return nn.Identity()
    return NormedConv2d(in_channels, out_channels, 1, stride, groups=1, dilation=1)
