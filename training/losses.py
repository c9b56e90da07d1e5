"""The paper's losses: focal for the classes, L1 for the boxes, cross entropy for the masks."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from tensormask_server.network.anchors import cell_anchors
from tensormask_server.network.dense import flattened
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.network.transfers import to_device
from torch import Tensor, distributed, nn

from training.batch import Batch, TrainingInstances
from training.locations import Locations, Windows, locate
from training.mask_logits import way_for
from training.settings import LossConfig
from training.targets import class_labels, mask_integrals, mask_targets


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
        self._num_classes = network.config.head.num_classes
        anchors = network.config.anchors
        self._windows = Windows(
            [cell_anchors(*level) for level in zip(anchors.sizes, anchors.aspect_ratios, strict=True)],
            network.strides,
            network.config.detection.bbox_reg_weights,
        )
        if semantic_weight:
            self.semantic = nn.Conv2d(network.config.fpn.out_channels, self._num_classes + 1, 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """
        Returns:
            "class", "box", with MASK_ON "mask", with their weights "name" and "semantic": float32 scalars, weighted,
            whose sum is to be minimised. Over several processes their mean is what one process would get for all
            images.
        """
        network = self.network
        features = network.features(batch.images)
        class_logits = flattened(network.head.class_logits(features))  # (N, P, A·K)
        box_deltas = flattened(network.head.box_deltas(features))  # (N, P, A·4)
        shapes = [(feature.shape[2], feature.shape[3]) for feature in features]
        located = locate(batch.instances, self._windows, shapes, batch.images.device)
        by_class = class_logits.float().view(-1, self._num_classes)  # (L, K)
        # each process divides by its share of all foreground, as the gradients are averaged over the processes
        number = sum(map(len, located.positives))
        foreground = _mean_over_processes(torch.full((), float(number), device=batch.images.device)).clamp(min=1)
        masks = torch.cat([each.masks for each in batch.instances])  # (T, H, W)
        losses = {
            "class": self._class_loss(by_class, located) / foreground,
            "box": F.l1_loss(_rows(box_deltas, 4, located), located.box_deltas, reduction="sum") / foreground,
        }
        if network.config.head.mask_on:
            losses["mask"] = self.config.mask_weight * self._mask_loss(features, masks, located) / foreground
        if self.name_weight:
            names = by_class.index_select(0, located.rows)
            name_loss = F.cross_entropy(names, located.classes, reduction="sum")
            losses["name"] = self.name_weight * name_loss / foreground
        if self.semantic_weight:
            losses["semantic"] = self.semantic_weight * self._semantic_loss(features, masks, batch.instances)
        return losses

    def _class_loss(self, logits: Tensor, located: Locations) -> Tensor:
        """
        Args:
            logits: float32 (L, K), of all locations.
        """
        targets = torch.zeros_like(logits)
        targets.view(-1).index_fill_(0, located.rows * logits.shape[1] + located.classes, 1)
        counted = logits.new_ones(len(logits), 1).index_fill_(0, located.ignored, 0)
        return focal_loss(logits, targets, self.config.focal_gamma, self.config.focal_alpha, counted)

    def _mask_loss(self, features: list[Tensor], masks: Tensor, located: Locations) -> Tensor:
        head = self.network.head
        # an anchor size without a positive still takes part, as DistributedDataParallel wants of every parameter
        mask_branch = [tensor.flatten() for name, tensor in head.named_parameters() if name.startswith("mask_")]
        nothing = torch.cat(mask_branch).float().sum() * 0
        groups = list(way_for(masks.device)(head, features, located.positives))
        if not groups:
            return nothing
        on_host = [
            (each.positives.instances.numpy(), self._windows.anchors(each.positives, each.level).numpy())
            for each in groups
        ]
        there = iter(to_device(list(chain.from_iterable(on_host)), masks.device))
        integrals = mask_integrals(masks)
        targets = [mask_targets(integrals, next(there), next(there), each.logits.shape[-1]) for each in groups]
        logits = torch.cat([each.logits.flatten() for each in groups])
        entries = torch.cat([each.flatten() for each in targets])
        weights = 1 + (self.config.positive_weight - 1) * entries
        wrong = F.binary_cross_entropy_with_logits(logits, entries, weights, reduction="none")
        of_groups = torch.split(wrong, [each.logits.numel() for each in groups])
        means = [part.sum() / each.logits[0].numel() for part, each in zip(of_groups, groups, strict=True)]
        return torch.stack([nothing, *means]).sum()

    def _semantic_loss(self, features: list[Tensor], masks: Tensor, instances: Sequence[TrainingInstances]) -> Tensor:
        """Cross entropy at each cell, the mean over the cells and the levels."""
        levels = [pair for pair in zip(features, self.network.strides, strict=True) if min(masks.shape[1:]) >= pair[1]]
        at_cells = [masks[:, stride // 2 :: stride, stride // 2 :: stride] for _, stride in levels]  # at their centres
        labels = class_labels(torch.cat([each.flatten(1) for each in at_cells], dim=1), instances, self._num_classes)
        losses = []
        of_levels = torch.split(labels, [each.shape[1] * each.shape[2] for each in at_cells], dim=1)
        for (feature, _), of_level, shaped in zip(levels, of_levels, at_cells, strict=True):
            height, width = shaped.shape[1:]
            logits = self.semantic(feature)[..., :height, :width]
            losses.append(F.cross_entropy(logits.float(), of_level.view(-1, height, width)))
        return torch.stack(losses).mean()


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


def on_host(losses: Mapping[str, Tensor]) -> Callable[[], dict[str, float]]:
    """Begins to copy losses to the host in one copy, while their device goes on.

    Returns:
        A function that waits for the copy and gives the values by name.
    """
    there = torch.stack([each.detach() for each in losses.values()])
    values = there.to("cpu", non_blocking=True)
    copied = torch.cuda.current_stream(there.device).record_event() if there.device.type == "cuda" else None

    def wait() -> dict[str, float]:
        if copied is not None:
            copied.synchronize()
        return dict(zip(losses, values.tolist(), strict=True))

    return wait


def _rows(predicted: Tensor, per_anchor: int, located: Locations) -> Tensor:
    """What `flattened` maps, (N, P, A·J), predict at the foreground: float32 (P, J)."""
    return predicted.view(-1, per_anchor).index_select(0, located.rows).float()


def _mean_over_processes(value: Tensor) -> Tensor:
    if distributed.is_initialized():
        distributed.all_reduce(value)
        value /= distributed.get_world_size()
    return value
