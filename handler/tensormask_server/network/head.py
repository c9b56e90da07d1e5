"""The towers, shared over the levels, and what they predict (specification, section 5)."""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tensormask_server.config import AnchorConfig, HeadConfig
from tensormask_server.network.align import first_tap
from tensormask_server.network.regions import Region, run_on_regions


class TensorMaskHead(nn.Module):
    """Class logits and box deltas at every location; mask features, from which `masks` makes masks where asked."""

    def __init__(self, config: HeadConfig, anchors: AnchorConfig, in_channels: int):
        super().__init__()
        self.config = config
        self.box_reach = config.num_convs + 1  # how many cells away a box delta looks
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
                self.mask_fuse = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True))

    def class_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Per level (N, C, H, W) to (N, A·K, H, W), channel a·K + k."""
        return [self.cls_score(self.cls_subnet(feature)) for feature in features]

    def box_deltas(self, features: list[Tensor], regions: list[list[Region]] | None = None) -> list[Tensor]:
        """Per level (N, C, H, W) to (N, A·4, H, W), channel a·4 + j; everywhere, or zeros outside the level's regions.

        A level with no regions gives a tensor of no channels.
        """
        layers = nn.Sequential(self.bbox_subnet, self.bbox_pred)
        if regions is None:
            return [layers(feature) for feature in features]
        return [run_on_regions(layers, *pair, self.box_reach) for pair in zip(features, regions, strict=True)]

    def mask_tower(self, feature: Tensor, regions: list[Region] | None = None) -> Tensor:
        """Of one level (N, C, H, W) to (N, MASK_CHANNELS, H, W), everywhere, or zeros outside the regions."""
        if regions is None:
            tower: Tensor = self.mask_subnet(feature)
            return tower
        return run_on_regions(self.mask_subnet, feature, regions, self.config.num_convs)

    def mask_features(self, towers: Mapping[int, Tensor], level: int, region: Region) -> Tensor:
        """What `mask_pred` is applied to.

        Args:
            towers: by level what `mask_tower` gives; of this level and, with BIPYRAMID_ON, of the finest.
            region: of the level's mask map, which is of the level's own size, with BIPYRAMID_ON of the finest's. The
                towers hold what `needed_of_towers` says.

        Returns:
            (N, MASK_CHANNELS, h, w), of the region.
        """
        if not self.config.bipyramid_on:
            return region.of(towers[level])
        finest = towers[0]
        around = region.grown(1, *finest.shape[-2:])
        coarse = self._upsampled(towers[level], level, around)
        fused: Tensor = self.mask_fuse(coarse + around.of(finest))
        return region.inside(around).of(fused)

    def needed_of_towers(self, level: int, region: Region, shapes: Sequence[tuple[int, int]]) -> dict[int, Region]:
        """The part of each level's mask tower that `mask_features` reads for a region of a level's mask map.

        Args:
            shapes: per level (H, W).
        """
        if not self.config.bipyramid_on:
            return {level: region}
        around = region.grown(1, *shapes[0])
        needed = {level: _coarse_cells(around, 2**level, *shapes[level])}
        return needed if level == 0 else {0: around, **needed}

    def mask_window(self, level: int, size_index: int) -> tuple[int, int]:
        """Which rows, and columns, of the mask map the mask of cell 0 is made of: the first, and how many."""
        if not self.config.aligned_on:
            return 0, 1
        scale, mask_size = self.mask_scale(level), self.mask_sizes[size_index]
        return first_tap(scale, mask_size)[0], scale * mask_size + 1  # and the last one's upper neighbour

    def mask_scale(self, level: int) -> int:
        """λ of a level: how many times larger its masks are than V×V."""
        return 2**level if self.config.bipyramid_on else 1

    def mask_pred(self, size_index: int) -> tuple[Tensor, Tensor]:
        """The 1×1 that predicts the masks of the size_index-th anchor size: weight (V·V, C, 1, 1) and bias (V·V,)."""
        name = f"mask_pred_{self.mask_sizes[size_index]:02d}"
        return self.get_parameter(f"{name}.weight"), self.get_parameter(f"{name}.bias")

    @staticmethod
    def _upsampled(coarse: Tensor, level: int, region: Region) -> Tensor:
        """A level's map as large as the finest, of which the region alone is made."""
        if level == 0:
            return region.of(coarse)
        scale = 2**level
        cells = _coarse_cells(region, scale, *coarse.shape[-2:])
        upsampled = F.interpolate(cells.of(coarse), scale_factor=scale, mode="bilinear", align_corners=False)
        return region.inside(Region(*(scale * side for side in cells))).of(upsampled)


def _coarse_cells(region: Region, scale: int, height: int, width: int) -> Region:
    """The cells of a map of this size, coarser by the scale, between which a region of the finest is interpolated."""
    if scale == 1:
        return region
    cells = Region(region.top // scale, region.left // scale, -(-region.bottom // scale), -(-region.right // scale))
    return cells.grown(1, height, width)


def _tower(in_channels: int, channels: int, num_convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers)
