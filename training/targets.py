"""What each location should answer: which window learns which instance, and which box and mask it should give."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from tensormask_server.network.transfers import to_device
from torch import Tensor

from training.batch import TrainingInstances

MOST_TIMES_LONGER = 2  # than an instance is the window that learns it
# cells at most one stride from a point, counted along an axis from the one before it; with one more for rounding
NEAR = torch.arange(-1, 3)


@dataclass(frozen=True)
class Positives:
    """Locations of one level that an instance is assigned to, over the images of a batch; int64 (P,), on the host."""

    images: Tensor
    anchors: Tensor  # 0 … A-1
    y: Tensor
    x: Tensor
    instances: Tensor  # counted over all images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: Tensor) -> "Positives":
        return Positives(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def assign(
    instances: Sequence[TrainingInstances], cell_anchors: Tensor, stride: int, smallest: Tensor, height: int, width: int
) -> tuple[Positives, Tensor]:
    """Decides for each window of one level which instance it learns. It runs on the host, whatever the batch's device.

    A window learns the only instance that `takes` finds for it. One for which there are several is ignored: the class
    loss counts it neither as foreground nor as background.

    Args:
        instances: of each image.
        cell_anchors: float32 (A, 4), x0 y0 x1 y1 around the cell's place (x·stride, y·stride), in pixels.
        smallest: as `takes`.
        height, width: of the level, in cells.

    Returns:
        The windows that learn an instance, in the order image, y, x, anchor. Those that are ignored, int64 (I, 4),
        image, anchor, y and x.
    """
    boxes = torch.cat([each.boxes for each in instances])  # (T, 4)
    of_image = torch.tensor([len(each.boxes) for each in instances])
    image = torch.arange(len(instances)).repeat_interleave(of_image)  # (T,)
    # no other window of the level is central to the box
    near = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).floor().long()[:, :, None] + NEAR  # (T, 2, 4), of x and of y
    x, y = near.unbind(1)
    corners = torch.stack((x[:, None].expand(-1, len(NEAR), -1), y[:, :, None].expand(-1, -1, len(NEAR))), dim=3)
    windows = (corners * float(stride)).repeat(1, 1, 1, 2)[..., None, :] + cell_anchors  # (T, 4, 4, A, 4)
    there = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    taken = takes(windows, boxes[:, None, None, None], stride, smallest) & there[..., None]
    instance, row, column, anchor = taken.nonzero().unbind(1)
    found = torch.stack((image[instance], y[instance, row], x[instance, column], anchor, instance))
    places, which, times = torch.unique(found[:4], dim=1, return_inverse=True, return_counts=True)
    images, ys, xs, anchors = places.unbind(0)
    matched = torch.empty_like(images).index_put_((which,), found[4])
    once = times == 1
    ignored = torch.stack((images, anchors, ys, xs), dim=1)[~once]
    return Positives(*(each[once] for each in (images, anchors, ys, xs, matched))), ignored


def takes(windows: Tensor, boxes: Tensor, stride: int, smallest: Tensor) -> Tensor:
    """Whether a window of a level may learn an instance, by three rules.

    - Containment: the window contains the instance's box.
    - Scale: the window's side less one stride, the distance at which windows are placed, is at most twice the longer
      side of the box. A box of less than half the smallest window counts as half of it, so that the smallest
      instances are learnt as well.
    - Centrality: the centres of window and box are at most one stride apart.

    Args:
        windows, boxes: float32 (…, 4), x0 y0 x1 y1 in pixels of the network's input; broadcast.
        stride: of the windows' level, in pixels.
        smallest: float32 scalar, `smallest_side` of the finest level.

    Returns:
        bool (…).

    Source: docs/NETWORK.md, section 11, and section 3 of the paper, "Training".
    """
    low, high = windows[..., :2], windows[..., 2:]
    contained = ((boxes[..., :2] >= low) & (boxes[..., 2:] <= high)).all(dim=-1)
    side = (high - low).amax(dim=-1)
    doubled = MOST_TIMES_LONGER * (boxes[..., 2:] - boxes[..., :2]).amax(dim=-1)
    near_in_scale = side - stride <= doubled.maximum(smallest)
    central = ((boxes[..., :2] + boxes[..., 2:] - low - high) / 2).square().sum(dim=-1) <= stride**2
    return contained & near_in_scale & central


def smallest_side(cell_anchors: Tensor) -> Tensor:
    """The side of a level's smallest window, float32 scalar in pixels; of other shapes than squares the longer side."""
    return (cell_anchors[:, 2:] - cell_anchors[:, :2]).amax(dim=1).amin()


def box_targets(anchors: Tensor, boxes: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """The inverse of `apply_deltas`.

    Args:
        anchors, boxes: float32 (P, 4), x0 y0 x1 y1.

    Returns:
        float32 (P, 4), dx dy dw dh.
    """
    size = anchors[:, 2:] - anchors[:, :2]
    box_size = boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    return torch.cat((shift / size, (box_size / size).log()), dim=1) * anchors.new_tensor(weights)


def mask_targets(integrals: Tensor, instances: Tensor, anchors: Tensor, mask_size: int) -> Tensor:
    """The masks on their windows: how much of each entry a mask covers, zero outside of the image.

    Coverage instead of on or off keeps where within an entry, which is several pixels wide, the outline runs.

    Args:
        integrals: float32 (M, H+1, W+1), of `mask_integrals`.
        instances: int64 (P,), rows of them.
        anchors: float32 (P, 4), x0 y0 x1 y1 in pixels; the edges of entries are rounded to pixels.
        mask_size: λV.

    Returns:
        float32 (P, λV, λV), 0 … 1.
    """
    steps = torch.linspace(0, 1, mask_size + 1, device=anchors.device)
    edges = torch.lerp(anchors[:, :2, None], anchors[:, 2:, None], steps).round().long()  # (P, 2, λV+1)
    columns, rows = edges.unbind(dim=1)
    areas = rows.diff(dim=1)[:, :, None] * columns.diff(dim=1)[:, None, :]
    height, width = integrals.shape[1:]
    at = (instances[:, None, None], rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :])
    return integrals[at].diff(dim=1).diff(dim=2) / areas


def mask_integrals(masks: Tensor) -> Tensor:
    """Sums over all pixels above and left: uint8 (M, H, W) to float32 (M, H+1, W+1)."""
    sums = masks.to(torch.int32).cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
    return F.pad(sums, (1, 0, 1, 0)).float()


def class_labels(masks: Tensor, instances: Sequence[TrainingInstances], nothing: int) -> Tensor:
    """The class of each pixel; where masks overlap, that of the last one.

    Args:
        masks: uint8 (T, P), of the instances of all N images at P places of their image.
        instances: of each image.
        nothing: the label of a place that no mask covers.

    Returns:
        int64 (N, P).
    """
    counts = [len(each.classes) for each in instances]
    starts = np.cumsum([0, *counts])
    most = max(1, *counts)
    members = np.full((len(counts), most), len(masks))  # rows of the masks, and of one without a pixel behind them
    labels = np.full((len(counts), most + 1), nothing)  # by the number of the last mask of the image, from 1 on
    for image, (start, each) in enumerate(zip(starts, instances, strict=False)):
        members[image, : counts[image]] = start + np.arange(counts[image])
        labels[image, 1 : counts[image] + 1] = each.classes.numpy()
    rows, names = to_device([members.astype(np.int64), labels.astype(np.int64)], masks.device)
    of_images = F.pad(masks, (0, 0, 0, 1)).index_select(0, rows.flatten()).view(*members.shape, -1)  # (N, M, P)
    numbers = torch.arange(1, most + 1, dtype=torch.int16, device=masks.device)
    last = (of_images * numbers[:, None]).amax(dim=1)  # (N, P)
    return names.gather(1, last.long())
