"""What all locations of a batch should answer, decided on the host, and copied to the batch's device in one copy."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tensormask_server.network.anchors import anchors_at
from tensormask_server.network.transfers import to_device
from torch import Tensor

from training.batch import TrainingInstances
from training.targets import Positives, assign, box_targets, smallest_side


@dataclass(frozen=True)
class Windows:
    """The windows of a network, on the host."""

    cell_anchors: Sequence[Tensor]  # per level float32 (A, 4), as `anchors.cell_anchors`
    strides: Sequence[int]
    box_weights: tuple[float, float, float, float]  # BBOX_REG_WEIGHTS

    def anchors(self, positives: Positives, level: int) -> Tensor:
        """float32 (P, 4), x0 y0 x1 y1 in pixels of the network's input."""
        of_cells = self.cell_anchors[level][positives.anchors]
        return anchors_at(of_cells, positives.y, positives.x, self.strides[level])


@dataclass(frozen=True)
class Locations:
    """The foreground of a batch, and what is ignored. Rows count the locations in the order (image, level, y, x, a)."""

    positives: list[Positives]  # per level, on the host
    rows: Tensor  # int64 (P,), of all levels, on the device
    classes: Tensor  # int64 (P,), likewise
    box_deltas: Tensor  # float32 (P, 4), likewise
    ignored: Tensor  # int64 (I,), likewise


def locate(
    instances: Sequence[TrainingInstances], windows: Windows, shapes: Sequence[tuple[int, int]], device: torch.device
) -> Locations:
    """Decides what each location should answer.

    Args:
        instances: of each image.
        shapes: per level (H, W) in cells.
        device: of what the losses need there.
    """
    smallest = smallest_side(windows.cell_anchors[0])
    all_boxes, all_classes = (torch.cat([getattr(each, name) for each in instances]) for name in ("boxes", "classes"))
    cells = sum(height * width for height, width in shapes)
    before = 0  # cells of the levels before
    positives: list[Positives] = []
    rows: list[Tensor] = []
    ignored_rows: list[Tensor] = []
    deltas: list[Tensor] = []
    for level, (height, width) in enumerate(shapes):
        anchors = windows.cell_anchors[level]
        located, ignored = assign(instances, anchors, windows.strides[level], smallest, height, width)
        foreground = torch.stack((located.images, located.anchors, located.y, located.x), dim=1)
        for found, into in ((foreground, rows), (ignored, ignored_rows)):
            image, anchor, y, x = found.unbind(1)
            into.append((image * cells + before + y * width + x) * len(anchors) + anchor)
        deltas.append(box_targets(windows.anchors(located, level), all_boxes[located.instances], windows.box_weights))
        positives.append(located)
        before += height * width
    matched = torch.cat([each.instances for each in positives])
    flat = torch.cat(rows), all_classes[matched], torch.cat(deltas), torch.cat(ignored_rows)
    return Locations(positives, *to_device([each.numpy() for each in flat], device))
