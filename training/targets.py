"""What each location should answer: the paper's assignment of masks to windows (section 3 of it, "Training")."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.data import Instances

SMALLEST_SHARE = 0.5  # of the window's side that the longer side of a mask's box has at least


@dataclass(frozen=True)
class Positives:
    """Locations of one level that a mask is assigned to, over the pictures of a batch; all int64 (P,)."""

    pictures: Tensor
    anchors: Tensor  # 0 … A-1
    y: Tensor
    x: Tensor
    instances: Tensor  # of the location's picture

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, chosen: Tensor) -> "Positives":
        return Positives(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def assign(instances: list[Instances], cell_anchors: Tensor, stride: int, height: int, width: int) -> Positives:
    """Assigns the masks to the windows of one level. A mask is assigned to a window, which is the anchor, where

    - containment: the window contains the mask, whose box's longer side is at least half of the window's;
    - centrality: the centres of the mask's box and of the window are at most one unit, the stride, apart;
    - uniqueness: no other mask meets the first two.

    Args:
        instances: of each picture.
        cell_anchors: float32 (A, 4), x0 y0 x1 y1 around the cell's place (x·stride, y·stride), in pixels.
        height, width: of the level, in cells.
    """
    found = [torch.nonzero(_assignable(each.boxes, cell_anchors, stride, height, width)) for each in instances]
    located = []
    for picture, locations in enumerate(found):  # (P, 4): y, x, a, instance
        # nonzero sorts by location: one mask alone there differs from the locations before and after
        place = locations[:, :3]
        alone = locations.new_ones(len(locations), dtype=torch.bool)
        same = (place[1:] == place[:-1]).all(dim=1)
        alone[1:] &= ~same
        alone[:-1] &= ~same
        located.append(torch.nn.functional.pad(locations[alone], (1, 0), value=picture))
    pictures, y, x, anchors, matched = torch.cat(located).unbind(dim=1)
    return Positives(pictures, anchors, y, x, matched)


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
    """The masks on their windows: how much of each entry a mask covers, zero outside of the picture.

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


def _assignable(boxes: Tensor, cell_anchors: Tensor, stride: int, height: int, width: int) -> Tensor:
    """Containment and centrality, bool (H, W, A, M)."""
    y, x = (torch.arange(length, device=boxes.device) * float(stride) for length in (height, width))
    cells = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=2)  # (H, W, 2)
    windows = cells.repeat(1, 1, 2)[:, :, None] + cell_anchors  # (H, W, A, 4)
    low, high = windows[..., None, :2], windows[..., None, 2:]  # (H, W, A, 1, 2)
    contained = ((boxes[:, :2] >= low) & (boxes[:, 2:] <= high)).all(dim=-1)
    longer_side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)  # (M,)
    window_side = (cell_anchors[:, 2:] - cell_anchors[:, :2]).amax(dim=1)  # (A,)
    large_enough = longer_side >= SMALLEST_SHARE * window_side[:, None]
    central = ((boxes[:, :2] + boxes[:, 2:] - low - high) / 2).square().sum(dim=-1) <= stride**2
    assignable: Tensor = contained & large_enough & central
    return assignable
