"""The towers, shared over the levels, and what they predict (specification, section 5)."""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from tensormask_server.config import AnchorConfig, HeadConfig


class TensorMaskHead(nn.Module):
    """Class logits and box deltas at every location; mask features, from which `masks` makes masks where asked."""

    def __init__(self, config: HeadConfig, anchors: AnchorConfig, in_channels: int):
        super().__init__()
        self.config = config
        num_anchors = anchors.num_per_cell
        self.cls_subnet = _tower(in_channels, config.cls_channels, config.num_convs)
        self.cls_score = nn.Conv2d(config.cls_channels, num_anchors * config.num_classes, 3, padding=1)
        self.bbox_subnet = _tower(in_channels, config.bbox_channels, config.num_convs)
        self.bbox_pred = nn.Conv2d(config.bbox_channels, num_anchors * 4, 3, padding=1)
        self.mask_sizes = tuple(int(size // config.finest_stride) for size in anchors.sizes[0])
        if config.mask_on:
            self.mask_subnet = _tower(in_channels, config.mask_channels, config.num_convs)
            for size in self.mask_sizes:
                self.add_module(f"mask_pred_{size:02d}", nn.Conv2d(config.mask_channels, size**2, 1))
            if config.bipyramid_on:
                channels = config.mask_channels
                self.mask_fuse = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())

    def class_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Per level (N, C, H, W) to (N, A·K, H, W), channel a·K + k."""
        return [self.cls_score(self.cls_subnet(feature)) for feature in features]

    def box_deltas(self, features: list[Tensor]) -> list[Tensor]:
        """Per level (N, C, H, W) to (N, A·4, H, W), channel a·4 + j."""
        return [self.bbox_pred(self.bbox_subnet(feature)) for feature in features]

    def mask_features(self, features: list[Tensor], levels: list[int]) -> Iterator[tuple[int, Tensor]]:
        """What `mask_pred` is applied to; one level at a time, so that only one is in memory.

        Args:
            features: per level (N, C, H, W), finest first.
            levels: those to make.

        Yields:
            The level and its (N, MASK_CHANNELS, H, W): of the level's own size, with BIPYRAMID_ON of the finest's.
        """
        if not self.config.bipyramid_on:
            for level in levels:
                yield level, self.mask_subnet(features[level])
        elif levels:
            finest = self.mask_subnet(features[0])
            for level in levels:
                yield level, self._fuse(finest, finest if level == 0 else self.mask_subnet(features[level]), level)

    def mask_scale(self, level: int) -> int:
        """λ of a level: how many times larger its masks are than V×V."""
        return 2**level if self.config.bipyramid_on else 1

    def mask_pred(self, size_index: int) -> tuple[Tensor, Tensor]:
        """The 1×1 that predicts the masks of the size_index-th anchor size: weight (V·V, C, 1, 1) and bias (V·V,)."""
        name = f"mask_pred_{self.mask_sizes[size_index]:02d}"
        return self.get_parameter(f"{name}.weight"), self.get_parameter(f"{name}.bias")

    def _fuse(self, finest: Tensor, coarse: Tensor, level: int) -> Tensor:
        height, width = finest.shape[-2:]
        if level > 0:
            coarse = F.interpolate(coarse, scale_factor=2**level, mode="bilinear", align_corners=False)
        fused: Tensor = self.mask_fuse(coarse[..., :height, :width] + finest)
        return fused


def _tower(in_channels: int, channels: int, num_convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers)
