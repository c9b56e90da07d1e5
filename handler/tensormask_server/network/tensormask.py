"""The whole network: backbone, head, detections and their masks."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tensormask_server.config import TensorMaskConfig
from tensormask_server.network.anchors import cell_anchors
from tensormask_server.network.detection import Candidates, Selection, best_candidates, non_maximum_suppression
from tensormask_server.network.fpn import FPN
from tensormask_server.network.head import TensorMaskHead
from tensormask_server.network.masks import local_masks, natural_masks


@dataclass(frozen=True)
class NetworkOutput:
    """The detections of one picture and, with MASK_ON, their masks over their anchors."""

    candidates: Candidates
    masks: list[Tensor] | None  # per detection the logits, float32 (M, M), M by level and anchor size


class TensorMask(nn.Module):
    """TensorMask (Chen, Girshick, He, Dollár, ICCV 2019), with detectron2's entry names."""

    def __init__(self, config: TensorMaskConfig):
        super().__init__()
        self.config = config
        self.backbone = FPN(config.fpn, config.resnet)
        self.head = TensorMaskHead(config.head, config.anchors, config.fpn.out_channels)
        self.stride = 2**config.resnet.last_stage  # pictures come in multiples of it
        self.strides = [2 ** int(name[1:]) for name in config.head.in_features]
        for level, sizes_and_ratios in enumerate(zip(config.anchors.sizes, config.anchors.aspect_ratios, strict=True)):
            self.register_buffer(f"cell_anchors_{level}", cell_anchors(*sizes_and_ratios), persistent=False)

    def forward(self, pictures: Tensor, selections: Sequence[Selection]) -> list[NetworkOutput]:
        """
        Args:
            pictures: (N, 3, H, W), normalised, channels in the order of INPUT.FORMAT, H and W multiples of
                `stride`.
            selections: one per picture.

        Returns:
            For each picture its detections, best score first, in pixels of `pictures`.
        """
        features = self.features(pictures)
        class_logits = self.head.class_logits(features)
        box_deltas = self.head.box_deltas(features)
        candidates = [
            self._detect([logits[i] for logits in class_logits], [deltas[i] for deltas in box_deltas], selection)
            for i, selection in enumerate(selections)
        ]
        if not self.config.head.mask_on:
            return [NetworkOutput(each, None) for each in candidates]
        masks: list[list[Tensor]] = [[each.scores.new_empty(0)] * len(each) for each in candidates]
        levels = sorted({level for each in candidates for level in each.levels.tolist()})
        for level, mask_features in self.head.mask_features(features, levels):
            for i, each in enumerate(candidates):
                self._fill_masks(mask_features[i], each, level, masks[i])
        return [NetworkOutput(*pair) for pair in zip(candidates, masks, strict=True)]

    def features(self, pictures: Tensor) -> list[Tensor]:
        """The head's input, finest level first."""
        pyramid = self.backbone(pictures)
        return [pyramid[name] for name in self.config.head.in_features]

    def mask_logits(self, features: Tensor, level: int, size_index: int, y: Tensor, x: Tensor) -> Tensor:
        """The masks of some cells of a level, differentiable.

        Args:
            features: of one picture, (C, H, W), from the head's `mask_features` for this level.
            size_index: which of the anchor sizes.
            y, x: (N,) int64.

        Returns:
            float32 (N, M, M), M by level and anchor size.
        """
        mask_pred = self.head.mask_pred(size_index)
        if self.config.head.aligned_on:
            return natural_masks(features, *mask_pred, y, x, scale=self.head.mask_scale(level))
        return local_masks(features, *mask_pred, y, x)

    def _detect(self, class_logits: list[Tensor], box_deltas: list[Tensor], selection: Selection) -> Candidates:
        options = self.config.detection
        candidates = best_candidates(
            class_logits,
            box_deltas,
            [self.get_buffer(f"cell_anchors_{level}") for level in range(len(self.strides))],
            self.strides,
            selection,
            options.topk_candidates,
            options.bbox_reg_weights,
        )
        return non_maximum_suppression(candidates, selection.nms_threshold, selection.max_detections)

    def _fill_masks(self, features: Tensor, candidates: Candidates, level: int, masks: list[Tensor]) -> None:
        """Puts the mask logits of one level's candidates into their places in `masks`."""
        # the anchors of a cell are all ratios of the first size, then of the next
        size_indices = candidates.anchors // len(self.config.anchors.aspect_ratios[0])
        for size_index in range(len(self.head.mask_sizes)):
            chosen = ((candidates.levels == level) & (size_indices == size_index)).nonzero(as_tuple=True)[0]
            if len(chosen) == 0:
                continue
            logits = self.mask_logits(features, level, size_index, candidates.y[chosen], candidates.x[chosen])
            for index, mask in zip(chosen.tolist(), logits, strict=True):
                masks[index] = mask
