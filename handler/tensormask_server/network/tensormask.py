"""The whole network: backbone, head, detections and their masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from tensormask_server.config import TensorMaskConfig
from tensormask_server.network.anchors import cell_anchors
from tensormask_server.network.detection import (
    Candidates,
    DeltasAt,
    Selection,
    best_locations,
    candidates_at,
    deltas_of,
    detect,
)
from tensormask_server.network.fpn import build_backbone
from tensormask_server.network.head import TensorMaskHead
from tensormask_server.network.masks import local_masks, natural_masks
from tensormask_server.network.regions import Region, grouped, merged


@dataclass(frozen=True)
class NetworkOutput:
    """The detections of one image and, with MASK_ON, their masks over their anchors."""

    candidates: Candidates
    masks: list[Tensor] | None  # per detection the logits, float32 (M, M), M by level and anchor size


class TensorMask(nn.Module):
    """TensorMask (Chen, Girshick, He, Dollár, ICCV 2019), with detectron2's entry names."""

    def __init__(self, config: TensorMaskConfig):
        super().__init__()
        self.config = config
        # boxes and masks only around what the class tower found: fewer operations, in more and smaller pieces
        self.only_where_needed = True
        self.backbone = build_backbone(config.backbone, config.fpn)
        self.head = TensorMaskHead(config.head, config.anchors, config.fpn.out_channels)
        self.stride = config.backbone.feature_maps[-1].stride  # images come in multiples of it
        self.strides = [2 ** int(name[1:]) for name in config.head.in_features]
        for level, sizes_and_ratios in enumerate(zip(config.anchors.sizes, config.anchors.aspect_ratios, strict=True)):
            self.register_buffer(f"cell_anchors_{level}", cell_anchors(*sizes_and_ratios), persistent=False)

    def forward(self, images: Tensor, selections: Sequence[Selection]) -> list[NetworkOutput]:
        """
        Args:
            images: (N, 3, H, W), normalised, channels in the order of INPUT.FORMAT, H and W multiples of
                `stride`.
            selections: one per image.

        Returns:
            For each image its detections, best score first, in pixels of `images`.
        """
        features = self.features(images)
        class_logits = self.head.class_logits(features)
        if not self.only_where_needed:
            return self._outputs(features, class_logits, selections)
        # one image after the other, as each has places of its own where boxes and masks are needed
        outputs: list[NetworkOutput] = []
        for i, selection in enumerate(selections):
            of_image = [each[i : i + 1] for each in features], [each[i : i + 1] for each in class_logits]
            outputs += self._outputs(*of_image, [selection])
        return outputs

    def features(self, images: Tensor) -> list[Tensor]:
        """The head's input, finest level first."""
        pyramid = self.backbone(images)
        return [pyramid[name] for name in self.config.head.in_features]

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
            features: of one image, (C, H, W), from the head's `mask_features` for this level.
            size_index: which of the anchor sizes.
            y, x: (N,) int64.
            corner: the row and the column of the mask map where the features begin.

        Returns:
            float32 (N, M, M), M by level and anchor size.
        """
        mask_pred = self.head.mask_pred(size_index)
        if self.config.head.aligned_on:
            return natural_masks(features, *mask_pred, y, x, self.head.mask_scale(level), corner)
        return local_masks(features, *mask_pred, y, x, corner)

    def mask_regions(
        self, level: int, size_indices: Tensor, y: Tensor, x: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> list[tuple[Region, Tensor]]:
        """Where the masks of some cells of a level look at its mask map.

        Args:
            size_indices, y, x: (N,) int64, the anchor sizes and the cells.
            shapes: per level (H, W).

        Returns:
            Regions of the mask map, and which of the N masks are made of each.
        """
        map_shape = shapes[0 if self.head.config.bipyramid_on else level]
        windows = self._windows(level, size_indices, y, x, *map_shape)
        return [(region, torch.from_numpy(group).to(y.device)) for region, group in grouped(windows, 1, *map_shape)]

    def _outputs(
        self, features: list[Tensor], class_logits: list[Tensor], selections: Sequence[Selection]
    ) -> list[NetworkOutput]:
        """What is found in each image of a batch."""
        box_deltas: list[DeltasAt]
        if self.only_where_needed:
            box_deltas = [partial(self._deltas_where_needed, features)]
        else:
            everywhere = self.head.box_deltas(features)
            box_deltas = [deltas_of([deltas[i] for deltas in everywhere]) for i in range(len(selections))]
        candidates = [
            self._detect([logits[i] for logits in class_logits], deltas_at, selection)
            for i, (deltas_at, selection) in enumerate(zip(box_deltas, selections, strict=True))
        ]
        if not self.config.head.mask_on:
            return [NetworkOutput(each, None) for each in candidates]
        return [NetworkOutput(*pair) for pair in zip(candidates, self._masks(features, candidates), strict=True)]

    def _detect(self, class_logits: list[Tensor], box_deltas: DeltasAt, selection: Selection) -> Candidates:
        options = self.config.detection
        anchors = [self.get_buffer(f"cell_anchors_{level}") for level in range(len(self.strides))]
        with_boxes = partial(
            candidates_at,
            box_deltas=box_deltas,
            cell_anchors=anchors,
            strides=self.strides,
            bbox_reg_weights=options.bbox_reg_weights,
        )
        locations = best_locations(class_logits, len(anchors[0]), selection, options.topk_candidates)
        return detect(locations, with_boxes, selection)

    def _deltas_where_needed(
        self, features: list[Tensor], levels: Tensor, y: Tensor, x: Tensor, anchors: Tensor
    ) -> Tensor:
        """The box deltas of some locations of one image, computed around these alone."""
        cells = torch.stack((y, x, y + 1, x + 1), dim=1)
        regions = [
            merged(cells[levels == level].cpu().numpy(), self.head.box_reach, *feature.shape[-2:])
            for level, feature in enumerate(features)
        ]
        return deltas_of([deltas[0] for deltas in self.head.box_deltas(features, regions)])(levels, y, x, anchors)

    def _masks(self, features: list[Tensor], candidates: list[Candidates]) -> list[list[Tensor]]:
        """Of each image the mask logits of its candidates."""
        masks: list[list[Tensor]] = [[each.scores.new_empty(0)] * len(each) for each in candidates]
        shapes = [(feature.shape[2], feature.shape[3]) for feature in features]
        areas = self._mask_areas(candidates, shapes)
        needed: dict[int, list[Region]] = {}
        for level, region, _ in areas:
            for tower, part in self.head.needed_of_towers(level, region, shapes).items():
                needed.setdefault(tower, []).append(part)
        towers = {
            level: self.head.mask_tower(
                features[level], merged(np.array(regions), self.head.config.num_convs, *shapes[level])
            )
            for level, regions in needed.items()
        }
        for level, region, chosen in areas:
            mask_features = self.head.mask_features(towers, level, region)
            for i, indices in enumerate(chosen):
                self._fill_masks(mask_features[i], candidates[i], level, indices, region, masks[i])
        return masks

    def _mask_areas(
        self, candidates: list[Candidates], shapes: list[tuple[int, int]]
    ) -> list[tuple[int, Region, list[Tensor]]]:
        """Where masks are made: levels, regions of their mask maps, and of each image the candidates made there."""
        areas = []
        for level in sorted({level for each in candidates for level in each.levels.tolist()}):
            here = [(each.levels == level).nonzero(as_tuple=True)[0] for each in candidates]
            if self.only_where_needed:
                (only,), (indices,) = candidates, here
                cells = self._size_indices(only)[indices], only.y[indices], only.x[indices]
                areas += [
                    (level, region, [indices[group]]) for region, group in self.mask_regions(level, *cells, shapes)
                ]
            else:
                map_shape = shapes[0 if self.config.head.bipyramid_on else level]
                areas.append((level, Region(0, 0, *map_shape), here))
        return areas

    def _windows(self, level: int, size_indices: Tensor, y: Tensor, x: Tensor, height: int, width: int) -> np.ndarray:
        """The part of a level's mask map that each mask is made of, int64 (N, 4), top left bottom right."""
        of_size = [self.head.mask_window(level, index) for index in range(len(self.head.mask_sizes))]
        first, length = np.array(of_size)[size_indices.cpu().numpy()].T
        corners = self.head.mask_scale(level) * torch.stack((y, x), dim=1).cpu().numpy() + first[:, None]
        windows = np.concatenate((corners, corners + length[:, None]), axis=1)
        return windows.clip(0, (height, width, height, width))

    def _fill_masks(
        self,
        features: Tensor,
        candidates: Candidates,
        level: int,
        indices: Tensor,
        region: Region,
        masks: list[Tensor],
    ) -> None:
        """Puts the mask logits of some of a level's candidates into their places in `masks`."""
        size_indices = self._size_indices(candidates)[indices]
        for size_index in range(len(self.head.mask_sizes)):
            chosen = indices[size_indices == size_index]
            if len(chosen) == 0:
                continue
            y, x = candidates.y[chosen], candidates.x[chosen]
            logits = self.mask_logits(features, level, size_index, y, x, (region.top, region.left))
            for index, mask in zip(chosen.tolist(), logits, strict=True):
                masks[index] = mask

    def _size_indices(self, candidates: Candidates) -> Tensor:
        # the anchors of a cell are all ratios of the first size, then of the next
        return candidates.anchors // len(self.config.anchors.aspect_ratios[0])
