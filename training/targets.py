"""What each location should answer: which window learns which instance, and which box and mask it should give."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.data import TrainingInstances

MOST_TIMES_LONGER = 2  # than an instance is the window that learns it


@dataclass(frozen=True)
class Positives:
    """Locations of one level that a mask is assigned to, over the images of a batch; all int64 (P,)."""

    images: Tensor
    anchors: Tensor  # 0 … A-1
    y: Tensor
    x: Tensor
    instances: Tensor  # of the location's image

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: Tensor) -> "Positives":
        return Positives(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def assign(
    instances: list[TrainingInstances], cell_anchors: Tensor, stride: int, smallest: Tensor, height: int, width: int
) -> tuple[Positives, Tensor]:
    """Decides for each window of one level which instance it learns.

    A window learns the only instance that `takes` finds for it. One for which there are several is ignored: the class
    loss counts it neither as foreground nor as background.

    Args:
        instances: of each image.
        cell_anchors: float32 (A, 4), x0 y0 x1 y1 around the cell's place (x·stride, y·stride), in pixels.
        smallest: as `takes`.
        height, width: of the level, in cells.

    Returns:
        The windows that learn an instance, and those that are ignored, bool (N, A, H, W).
    """
    windows = _windows(cell_anchors, stride, height, width)[..., None, :]  # (H, W, A, 1, 4)
    located, ignored = [], []
    for image, each in enumerate(instances):
        taken = takes(windows, each.boxes, stride, smallest)  # (H, W, A, M)
        number = taken.sum(dim=-1)
        locations = torch.nonzero(taken & (number == 1)[..., None])  # (P, 4): y, x, a, instance
        located.append(torch.nn.functional.pad(locations, (1, 0), value=image))
        ignored.append((number > 1).permute(2, 0, 1))
    images, y, x, anchors, matched = torch.cat(located).unbind(dim=1)
    return Positives(images, anchors, y, x, matched), torch.stack(ignored)


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
    return torch.nn.functional.pad(sums, (1, 0, 1, 0)).float()


def _windows(cell_anchors: Tensor, stride: int, height: int, width: int) -> Tensor:
    """A level's windows, float32 (H, W, A, 4), x0 y0 x1 y1 in pixels."""
    y, x = (torch.arange(length, device=cell_anchors.device) * float(stride) for length in (height, width))
    cells = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=2)  # (H, W, 2)
    return cells.repeat(1, 1, 2)[:, :, None] + cell_anchors
