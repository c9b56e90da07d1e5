"""The towers, shared over the levels, and what they predict (docs/NETWORK.md, section 5)."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tensormask_server.network.align import first_tap
from tensormask_server.network.config import AnchorConfig, HeadConfig
from tensormask_server.network.convolutions import OnlyWeights, Tower
from tensormask_server.network.masks import local_masks, natural_masks
from tensormask_server.network.regions import Region, grouped, run_on_regions


class TensorMaskHead(nn.Module):
    """Class logits, box deltas and masks from the pyramid's feature maps."""

    def __init__(self, config: HeadConfig, anchors: AnchorConfig, in_channels: int):
        super().__init__()
        self.config = config
        self.box_reach = config.num_convs + 1  # how many cells away a box delta looks
        num_anchors = anchors.num_per_cell
        self.cls_subnet = _tower(in_channels, config.cls_channels, config.num_convs)
        self.cls_score = nn.Conv2d(config.cls_channels, num_anchors * config.num_classes, 3, padding=1)
        self.bbox_subnet = _tower(in_channels, config.bbox_channels, config.num_convs)
        self.bbox_pred = nn.Conv2d(config.bbox_channels, num_anchors * 4, 3, padding=1)
        self.mask_sizes = tuple(int(size // config.finest_stride) for size in anchors.sizes[0])  # V per anchor size
        self.num_ratios = len(anchors.aspect_ratios[0])
        if config.mask_on:
            self.mask_subnet = _tower(in_channels, config.mask_channels, config.num_convs)
            for size in self.mask_sizes:
                self.add_module(f"mask_pred_{size:02d}", OnlyWeights(config.mask_channels, size**2, 1))
            if config.bipyramid_on:
                channels = config.mask_channels
                self.mask_fuse = Tower(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())

    def class_logits(self, features: list[Tensor]) -> list[Tensor]:
        """From features, per level (N, C, H, W), to class logits, (N, A·K, H, W), channel a·K + k."""
        return [self.cls_score(self.cls_subnet(feature)) for feature in features]

    def box_deltas(self, features: list[Tensor], regions: list[list[Region]] | None = None) -> list[Tensor]:
        """From features, per level (N, C, H, W), to box deltas, (N, A·4, H, W), channel a·4 + j.

        Args:
            regions: per level those to compute; None: everywhere.

        Returns:
            Per level the deltas, with zeros outside the regions. A level without regions has a tensor without channels.
        """
        layers = nn.Sequential(self.bbox_subnet, self.bbox_pred)
        if regions is None:
            return [layers(feature) for feature in features]
        return [run_on_regions(layers, *pair, self.box_reach) for pair in zip(features, regions, strict=True)]

    def mask_tower(self, feature: Tensor, regions: list[Region] | None = None) -> Tensor:
        """From the features of one level, (N, C, H, W), to (N, MASK_CHANNELS, H, W), with zeros outside the regions.

        Args:
            regions: those to compute; None: everywhere.
        """
        if regions is None:
            tower: Tensor = self.mask_subnet(feature)
            return tower
        return run_on_regions(self.mask_subnet, feature, regions, self.config.num_convs)

    def mask_features(self, towers: Mapping[int, Tensor], level: int, region: Region) -> Tensor:
        """The input of `mask_pred`, for a region of a level's mask map.

        Args:
            towers: by level the output of `mask_tower`, of this level and, with BIPYRAMID_ON, of the finest. Each is
                computed at least where `needed_of_towers` says.
            region: of the mask map, whose size is `mask_map_shape`.

        Returns:
            (N, MASK_CHANNELS, h, w), with the region's size.
        """
        if not self.config.bipyramid_on:
            return region.of(towers[level])
        finest = towers[0]
        around = region.grown(1, *finest.shape[-2:])
        coarse = self._upsampled(towers[level], level, around)  # (N, MASK_CHANNELS, h + 2, w + 2)
        fused: Tensor = self.mask_fuse(coarse + around.of(finest))
        return region.inside(around).of(fused)

    def needed_of_towers(self, level: int, region: Region, shapes: Sequence[tuple[int, int]]) -> dict[int, Region]:
        """By level the part of its mask tower that `mask_features` reads for a region of one level's mask map.

        Args:
            shapes: per level (H, W).
        """
        if not self.config.bipyramid_on:
            return {level: region}
        around = region.grown(1, *shapes[0])
        needed = {level: _coarse_cells(around, 2**level, *shapes[level])}
        return needed if level == 0 else {0: around, **needed}

    def mask_map_shape(self, level: int, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """(H, W) of the map that a level's masks are made from: with BIPYRAMID_ON the finest level's.

        Args:
            shapes: per level (H, W).
        """
        return shapes[0 if self.config.bipyramid_on else level]

    def mask_regions(
        self, level: int, size_indices: Tensor, y: Tensor, x: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> list[tuple[Region, Tensor]]:
        """Groups masks of a level by the part of its mask map that they are made from.

        Args:
            size_indices, y, x: (N,) int64, the anchor sizes and the cells.
            shapes: per level (H, W).

        Returns:
            Regions of the mask map, each with the indices of its masks, int64, of the N.
        """
        map_shape = self.mask_map_shape(level, shapes)
        windows = self._windows(level, size_indices, y, x, *map_shape)
        return [(region, torch.from_numpy(group).to(y.device)) for region, group in grouped(windows, 1, *map_shape)]

    def mask_logits(
        self,
        features: Tensor,
        level: int,
        size_index: int,
        y: Tensor,
        x: Tensor,
        corner: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """The masks of some cells of a level, differentiable.

        Args:
            features: of one image, (C, H, W), from `mask_features` for this level.
            size_index: of the anchor size.
            y, x: (N,) int64, the cells.
            corner: the row and the column of the mask map where the features begin.

        Returns:
            float32 (N, M, M), M by level and anchor size.
        """
        mask_pred = self.mask_pred(size_index)
        if self.config.aligned_on:
            return natural_masks(features, *mask_pred, y, x, self.mask_scale(level), corner)
        return local_masks(features, *mask_pred, y, x, corner)

    def size_indices(self, anchors: Tensor) -> Tensor:
        """Of anchors of a cell, int64 (N,), the indices of their sizes: all ratios of the first size come first."""
        return anchors // self.num_ratios

    def mask_window(self, level: int, size_index: int) -> tuple[int, int]:
        """The rows of the mask map that the mask of cell 0 is made from: the first, and how many. Columns alike."""
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

    def _windows(self, level: int, size_indices: Tensor, y: Tensor, x: Tensor, height: int, width: int) -> np.ndarray:
        """The part of a level's mask map that each mask is made from, int64 (N, 4), top left bottom right."""
        of_size = [self.mask_window(level, index) for index in range(len(self.mask_sizes))]
        first, length = np.array(of_size)[size_indices.cpu().numpy()].T  # (N,) each
        corners = self.mask_scale(level) * torch.stack((y, x), dim=1).cpu().numpy() + first[:, None]  # (N, 2)
        windows = np.concatenate((corners, corners + length[:, None]), axis=1)  # (N, 4)
        return windows.clip(0, (height, width, height, width))

    @staticmethod
    def _upsampled(coarse: Tensor, level: int, region: Region) -> Tensor:
        """The region of a level's map, upsampled to the size of the finest level's."""
        if level == 0:
            return region.of(coarse)
        scale = 2**level
        cells = _coarse_cells(region, scale, *coarse.shape[-2:])
        upsampled = F.interpolate(cells.of(coarse), scale_factor=scale, mode="bilinear", align_corners=False)
        return region.inside(Region(*(scale * side for side in cells))).of(upsampled)


def _coarse_cells(region: Region, scale: int, height: int, width: int) -> Region:
    """The cells of a map, coarser by the scale, from which a region of the finest map is interpolated.

    Args:
        height, width: of the coarse map.
    """
    if scale == 1:
        return region
    cells = Region(region.top // scale, region.left // scale, -(-region.bottom // scale), -(-region.right // scale))
    return cells.grown(1, height, width)


def _tower(in_channels: int, channels: int, num_convs: int) -> Tower:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU()]
        in_channels = channels
    return Tower(*layers)
