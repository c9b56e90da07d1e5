"""The whole network: backbone, head, detections and their masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from tensormask_server.network.anchors import cell_anchors
from tensormask_server.network.before_selection import ConvolutionMaps
from tensormask_server.network.config import TensorMaskConfig
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
from tensormask_server.network.strategies import OnlyWhereNeeded, Strategy, masks_from_towers


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
        self.strategy: Strategy = OnlyWhereNeeded()
        self.graph: Callable[[Tensor], ConvolutionMaps] | None = None
        self.backbone = build_backbone(config.backbone, config.fpn)
        self.head = TensorMaskHead(config.head, config.anchors, config.fpn.out_channels)
        self.stride = config.backbone.feature_maps[-1].stride  # the sides of images are multiples of it
        self.strides = [2 ** int(name[1:]) for name in config.head.in_features]  # per level
        for level, sizes_and_ratios in enumerate(zip(config.anchors.sizes, config.anchors.aspect_ratios, strict=True)):
            self.register_buffer(f"cell_anchors_{level}", cell_anchors(*sizes_and_ratios), persistent=False)  # (A, 4)

    def forward(self, images: Tensor, selections: Sequence[Selection]) -> list[NetworkOutput]:
        """
        Args:
            images: (N, 3, H, W), normalised, channels in the order of INPUT.FORMAT, H and W multiples of
                `stride`.
            selections: one per image.

        Returns:
            For each image its detections, best score first, in pixels of `images`.
        """
        if self.graph is not None:
            return [self._output_of_graph(images[i : i + 1], each) for i, each in enumerate(selections)]
        features = self.features(images)  # per level (N, C, H, W)
        class_logits = self.head.class_logits(features)  # per level (N, A·K, H, W)
        outputs: list[NetworkOutput] = []
        for batch in self.strategy.batches(len(selections)):
            of_batch = [each[batch] for each in features], [each[batch] for each in class_logits]
            outputs += self._outputs(*of_batch, selections[batch])
        return outputs

    def features(self, images: Tensor) -> list[Tensor]:
        """The head's input, per level (N, C, H, W), finest first."""
        pyramid = self.backbone(images)
        return [pyramid[name] for name in self.config.head.in_features]

    def use_graph(self, graph: Callable[[Tensor], ConvolutionMaps]) -> None:
        """Lets another program compute the convolutions, and frees the layers that it has.

        Args:
            graph: computes what `Convolutions` of this network does. An nn.Module is checked by `finite_layers`, too.
        """
        self.graph = graph
        del self.backbone
        for name in ("cls_subnet", "cls_score", "bbox_subnet", "bbox_pred", "mask_subnet"):
            if hasattr(self.head, name):  # without MASK_ON there is no mask_subnet
                delattr(self.head, name)

    def _output_of_graph(self, image: Tensor, selection: Selection) -> NetworkOutput:
        """The detections of one image, (1, 3, H, W), from the maps of `graph`."""
        assert self.graph is not None
        maps = self.graph(image)
        deltas_at = deltas_of([deltas[0] for deltas in maps.box_deltas])
        candidates = self._detect([logits[0] for logits in maps.class_logits], deltas_at, selection)
        masks = masks_from_towers(self.head, maps.mask_towers, candidates) if maps.mask_towers else None
        return NetworkOutput(candidates, masks)

    def _outputs(
        self, features: list[Tensor], class_logits: list[Tensor], selections: Sequence[Selection]
    ) -> list[NetworkOutput]:
        """The detections of some images."""
        box_deltas = self.strategy.box_deltas(self.head, features)
        candidates = [
            self._detect([logits[i] for logits in class_logits], deltas_at, selection)
            for i, (deltas_at, selection) in enumerate(zip(box_deltas, selections, strict=True))
        ]
        if not self.config.head.mask_on:
            return [NetworkOutput(each, None) for each in candidates]
        masks = self.strategy.mask_logits(self.head, features, candidates)
        return [NetworkOutput(*pair) for pair in zip(candidates, masks, strict=True)]

    def _detect(self, class_logits: list[Tensor], box_deltas: DeltasAt, selection: Selection) -> Candidates:
        """The detections of one image, from its class logits, per level (A·K, H, W)."""
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
