"""The paper's losses: focal for the classes, L1 for the boxes, cross entropy for the masks."""

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from tensormask_server.network.anchors import anchors_at
from tensormask_server.network.tensormask import TensorMask
from torch import Tensor, distributed, nn

from training.data import Batch, TrainingInstances
from training.settings import LossConfig
from training.targets import Positives, assign, box_targets, mask_integrals, mask_targets, smallest_side


class Losses(nn.Module):
    """A network with its losses in one module, as DistributedDataParallel wants it.

    Two more losses teach the classes, of which the paper's losses teach little in a short training. The semantic loss
    asks for the class of every pixel, by a 1×1 convolution of its own that inference doesn't have. The name loss is a
    cross entropy over all classes at each foreground location. The focal loss asks for each class by itself, and gives
    little weight to a class that is half right.
    """

    def __init__(self, network: TensorMask, config: LossConfig, semantic_weight: float = 0.0, name_weight: float = 0.0):
        """
        Args:
            semantic_weight: of the loss that sees every pixel; 0 leaves it out.
            name_weight: of the loss by which classes compete; 0 leaves it out.
        """
        super().__init__()
        self.network = network
        self.config = config
        self.name_weight = name_weight
        self.semantic_weight = semantic_weight
        if semantic_weight:
            num_classes = network.config.head.num_classes
            self.semantic = nn.Conv2d(network.config.fpn.out_channels, num_classes + 1, 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """
        Returns:
            "class", "box", with MASK_ON "mask", with their weights "name" and "semantic": float32 scalars, weighted,
            whose sum is to be minimised. Over several processes their mean is what one process would get for all
            images.
        """
        network = self.network
        features = network.features(batch.images)
        class_logits = network.head.class_logits(features)
        box_deltas = network.head.box_deltas(features)
        smallest = smallest_side(self._cell_anchors(0))
        assigned = [
            assign(batch.instances, self._cell_anchors(level), network.strides[level], smallest, *logits.shape[-2:])
            for level, logits in enumerate(class_logits)
        ]
        positives, ignored = [each for each, _ in assigned], [each for _, each in assigned]
        # each process divides by its share of all foreground, as the gradients are averaged over the processes
        foreground = _mean_over_processes(batch.images.new_tensor(float(sum(map(len, positives))))).clamp(min=1)
        losses = {
            "class": self._class_loss(class_logits, batch, positives, ignored) / foreground,
            "box": self._box_loss(box_deltas, batch, positives) / foreground,
        }
        if network.config.head.mask_on:
            losses["mask"] = self.config.mask_weight * self._mask_loss(features, batch, positives) / foreground
        if self.name_weight:
            losses["name"] = self.name_weight * self._name_loss(class_logits, batch, positives) / foreground
        if self.semantic_weight:
            losses["semantic"] = self.semantic_weight * self._semantic_loss(features, batch)
        return losses

    def _class_loss(
        self, class_logits: list[Tensor], batch: Batch, positives: list[Positives], ignored: list[Tensor]
    ) -> Tensor:
        num_classes = self.network.config.head.num_classes
        gamma, alpha = self.config.focal_gamma, self.config.focal_alpha
        loss = class_logits[0].new_zeros((), dtype=torch.float32)
        for level_logits, located, left_out in zip(class_logits, positives, ignored, strict=True):
            shape = len(level_logits), -1, num_classes, *level_logits.shape[2:]
            logits = level_logits.float().reshape(shape)  # (N, A, K, H, W)
            targets = torch.zeros_like(logits)
            classes = _of_instances([each.classes for each in batch.instances], located)
            targets[located.images, located.anchors, classes, located.y, located.x] = 1
            loss = loss + focal_loss(logits, targets, gamma, alpha, counted=~left_out[:, :, None])
        return loss

    def _name_loss(self, class_logits: list[Tensor], batch: Batch, positives: list[Positives]) -> Tensor:
        """Cross entropy over the classes at the foreground's locations, summed."""
        loss = class_logits[0].new_zeros((), dtype=torch.float32)
        num_classes = self.network.config.head.num_classes
        for logits, located in zip(class_logits, positives, strict=True):
            names = _of_instances([each.classes for each in batch.instances], located)
            loss = loss + F.cross_entropy(_at(logits, num_classes, located), names, reduction="sum")
        return loss

    def _box_loss(self, box_deltas: list[Tensor], batch: Batch, positives: list[Positives]) -> Tensor:
        loss = box_deltas[0].new_zeros((), dtype=torch.float32)
        weights = self.network.config.detection.bbox_reg_weights
        for level, (deltas, located) in enumerate(zip(box_deltas, positives, strict=True)):
            predicted = _at(deltas, 4, located)
            boxes = _of_instances([each.boxes for each in batch.instances], located)
            targets = box_targets(self._anchors(located, level), boxes, weights)
            loss = loss + F.l1_loss(predicted, targets, reduction="sum")
        return loss

    def _mask_loss(self, features: list[Tensor], batch: Batch, positives: list[Positives]) -> Tensor:
        # an anchor size without a positive still takes part, as DistributedDataParallel wants of every parameter
        head = self.network.head
        mask_branch = (tensor for name, tensor in head.named_parameters() if name.startswith("mask_"))
        loss = torch.stack([tensor.float().sum() * 0 for tensor in mask_branch]).sum()
        integrals = [mask_integrals(each.masks) for each in batch.instances]
        levels = [level for level, located in enumerate(positives) if len(located)]
        with_finest = {0, *levels} if levels and head.config.bipyramid_on else levels
        towers = {level: torch.split(head.mask_tower(features[level]), 1) for level in with_finest}
        shapes = [(feature.shape[2], feature.shape[3]) for feature in features]
        for level in levels:
            for image, of_image in enumerate(integrals):
                located = positives[level][positives[level].images == image]
                own_towers = {of_level: images[image] for of_level, images in towers.items()}
                for chosen, logits in self._mask_logits(own_towers, located, level, shapes):
                    targets = mask_targets(of_image, chosen.instances, self._anchors(chosen, level), logits.shape[-1])
                    weights = 1 + (self.config.positive_weight - 1) * targets
                    entries = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="none")
                    loss = loss + entries.flatten(1).mean(dim=1).sum()
        return loss

    def _mask_logits(
        self, towers: Mapping[int, Tensor], positives: Positives, level: int, shapes: list[tuple[int, int]]
    ) -> Iterator[tuple[Positives, Tensor]]:
        """One image's positives of a level, by regions and anchor sizes, with their logits, float32 (P, M, M)."""
        network = self.network
        sizes = positives.anchors // len(network.config.anchors.aspect_ratios[0])
        for region, group in network.head.mask_regions(level, sizes, positives.y, positives.x, shapes):
            features = network.head.mask_features(towers, level, region)[0]
            for size in sorted(set(sizes[group].tolist())):
                chosen = positives[group[sizes[group] == size]]
                # in float32 whatever the precision of the convolutions, as at inference
                with torch.autocast(features.device.type, enabled=False):
                    corner = region.top, region.left
                    yield chosen, network.head.mask_logits(features, level, size, chosen.y, chosen.x, corner)

    def _semantic_loss(self, features: list[Tensor], batch: Batch) -> Tensor:
        """Cross entropy at each cell, the mean over the cells and the levels."""
        labels = torch.stack([self._labels(each) for each in batch.instances])  # (N, H, W)
        losses = []
        for feature, stride in zip(features, self.network.strides, strict=True):
            if min(labels.shape[-2:]) >= stride:
                targets = labels[:, stride // 2 :: stride, stride // 2 :: stride]  # at the cells' centres
                logits = self.semantic(feature)[..., : targets.shape[1], : targets.shape[2]]
                losses.append(F.cross_entropy(logits.float(), targets))
        return torch.stack(losses).mean()

    def _labels(self, instances: TrainingInstances) -> Tensor:
        """The class of each pixel, int64 (H, W), NUM_CLASSES where there is nothing."""
        labels = torch.full(
            instances.masks.shape[1:], self.network.config.head.num_classes, device=instances.classes.device
        )
        for name, mask in zip(instances.classes, instances.masks, strict=True):
            labels = torch.where(mask.bool(), name, labels)
        return labels

    def _cell_anchors(self, level: int) -> Tensor:
        return self.network.get_buffer(f"cell_anchors_{level}")

    def _anchors(self, positives: Positives, level: int) -> Tensor:
        """float32 (P, 4), x0 y0 x1 y1 in pixels of the network's input."""
        cell_anchors = self._cell_anchors(level)[positives.anchors]
        return anchors_at(cell_anchors, positives.y, positives.x, self.network.strides[level])


def focal_loss(logits: Tensor, targets: Tensor, gamma: float, alpha: float, counted: Tensor) -> Tensor:
    """−α·(1−p)^γ·log p, with 1−α and 1−p for what is off; summed over what is counted.

    Args:
        logits, targets: float32 of one shape; targets 0 or 1.
        counted: bool of a shape that broadcasts to theirs.
    """
    on = 2 * targets - 1
    wrong = torch.sigmoid(-logits * on)  # 1 − p of the right answer
    weights = counted * ((1 - alpha) + (2 * alpha - 1) * targets)
    return (weights * wrong.pow(gamma) * F.softplus(-logits * on)).sum()


def _at(predicted: Tensor, per_anchor: int, positives: Positives) -> Tensor:
    """What a level's layer, (N, A·J, H, W), predicts at the positives: float32 (P, J)."""
    by_anchor = predicted.reshape(len(predicted), -1, per_anchor, *predicted.shape[2:])  # (N, A, J, H, W)
    return by_anchor[positives.images, positives.anchors, :, positives.y, positives.x].float()


def _of_instances(values: list[Tensor], positives: Positives) -> Tensor:
    """The values, per image (M, …), of the instance of each positive: (P, …)."""
    starts = torch.tensor([0, *(len(each) for each in values)], device=values[0].device).cumsum(0)
    return torch.cat(values)[starts[positives.images] + positives.instances]


def _mean_over_processes(value: Tensor) -> Tensor:
    if distributed.is_initialized():
        distributed.all_reduce(value)
        value /= distributed.get_world_size()
    return value
