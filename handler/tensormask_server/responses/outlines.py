"""The outlines of masks: simplified, and with their holes joined to one ring."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

LOSS_PER_PIXEL = 0.02  # of a piece's pixels, for each pixel of tolerance: 1 % at the default of 0.5
LEAST_TOLERANCE = 0.1  # pixels; below it only points on a straight line would go


@dataclass(frozen=True)
class Outline:
    """The outline of one connected piece of a mask, where pixel centres have whole numbers as coordinates."""

    rings: Sequence[np.ndarray]  # the outer one first; each float64 (n, 2): x, y, with no point twice

    def one_ring(self) -> np.ndarray:
        """float64 (n, 2): the outer ring, with a detour over each hole. Its way there is also its way back."""
        joined: np.ndarray = self.rings[0]
        for hole in self.rings[1:]:
            start = hole[0]
            nearest = int(np.square(joined - start).sum(axis=1).argmin())
            detour = [hole, hole[:1], joined[nearest : nearest + 1]]
            joined = np.concatenate([joined[: nearest + 1], *detour, joined[nearest + 1 :]])
        return joined


def simplified(outline: Outline, tolerance: float) -> Outline:
    """Leaves out points of an outline.

    The pixels that the outline loses and gains are at most 2 % of its pixels for each pixel of tolerance. Where they
    would be more, as on small pieces and small holes, a smaller tolerance applies. So the IoU of the piece with the
    exact one is at least 1 - tolerance/50.

    Args:
        outline: an exact one, between the centres of pixels.
        tolerance: how far the result may be from it, in pixels. 0: only the points on straight lines go.

    Returns:
        An outline with as many rings. No ring crosses itself or another one.

    Source: D. Douglas, T. Peucker, Algorithms for the Reduction of the Number of Points, 1973, as GEOS has it.
    """
    exact = [_corners(ring) for ring in outline.rings]
    loss, applied = LOSS_PER_PIXEL * tolerance, tolerance
    while applied >= LEAST_TOLERANCE:
        rings = [_simplified_ring(ring, applied, loss) for ring in exact]
        if len(rings) == 1 or (shapely.Polygon(rings[0], rings[1:]).is_valid and _is_near(rings, exact, loss)):
            return Outline(rings)
        applied /= 2
    return Outline(exact)


def _simplified_ring(ring: np.ndarray, tolerance: float, loss: float) -> np.ndarray:
    """The ring with the largest tolerance, of this one and its halves, that loses and gains few enough pixels."""
    polygon = shapely.Polygon(ring)
    while tolerance >= LEAST_TOLERANCE:
        coarse = polygon.simplify(tolerance, preserve_topology=False)
        # GEOS mends a ring that crosses itself: the result may have fallen into pieces, or to nothing
        if isinstance(coarse, shapely.Polygon) and not coarse.is_empty and not coarse.interiors:
            points: np.ndarray = shapely.get_coordinates(coarse)[:-1]
            if _is_near([points], [ring], loss):
                return points
        tolerance /= 2
    return ring


def _is_near(rings: Sequence[np.ndarray], exact: Sequence[np.ndarray], loss: float) -> bool:
    """Whether the pixels inside of only one of two outlines are at most a share, `loss`, of those of the exact one."""
    crossings = _crossings(exact)
    differing = np.concatenate([crossings, _crossings(rings)])
    differing.sort()
    return _size(differing) <= loss * _size(crossings)


def _corners(ring: np.ndarray) -> np.ndarray:
    """The points (n, 2) of a ring at which it turns."""
    into = ring - np.roll(ring, 1, axis=0)
    out = np.roll(into, -1, axis=0)
    corners: np.ndarray = ring[into[:, 0] * out[:, 1] != into[:, 1] * out[:, 0]]
    return corners


def _crossings(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Where the rows of pixel centres cross the rings of an outline.

    Returns:
        int64 (n,), sorted: row · 2³² + column of the first pixel whose centre isn't left of a crossing. The pixels from
        each entry of even index to the next entry are inside.
    """
    x0, y0 = np.concatenate(rings).T
    x1, y1 = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings]).T
    first = np.ceil(np.minimum(y0, y1)).astype(np.int64)
    counts = np.ceil(np.maximum(y0, y1)).astype(np.int64) - first  # of the rows that each edge crosses
    edge = np.repeat(np.arange(len(counts)), counts)
    row = first[edge] + np.arange(len(edge)) - np.repeat(counts.cumsum() - counts, counts)
    x = x0[edge] + (row - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    crossings: np.ndarray = (row << 32) + np.ceil(x).astype(np.int64)
    crossings.sort()
    return crossings


def _size(crossings: np.ndarray) -> int:
    """The number of pixels inside."""
    return int((crossings[1::2] - crossings[::2]).sum())
