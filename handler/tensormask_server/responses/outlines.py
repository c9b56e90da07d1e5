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


def simplified(outlines: Sequence[Outline], tolerance: float) -> list[Outline]:
    """Leaves out points of outlines.

    The pixels that an outline loses and gains are at most 2 % of its pixels for each pixel of tolerance. Where they
    would be more, as on small pieces, a smaller tolerance applies. So the IoU with the exact mask is at least
    1 - tolerance/50.

    Args:
        outlines: exact ones, between the centres of pixels.
        tolerance: how far an outline may be from the exact one, in pixels. 0: only the points on straight lines go.

    Returns:
        Outlines in the same order, with as many rings each. No ring crosses itself or another of its outline.

    Source: D. Douglas, T. Peucker, Algorithms for the Reduction of the Number of Points, 1973, as GEOS has it.
    """
    corners = [Outline([_corners(ring) for ring in outline.rings]) for outline in outlines]
    exact = [_crossings(outline) for outline in corners]
    results = list(corners)
    remaining = list(range(len(outlines)))
    polygons = np.array([shapely.Polygon(each.rings[0], each.rings[1:]) for each in corners], object)
    loss, applied = LOSS_PER_PIXEL * tolerance, tolerance
    while remaining and applied >= LEAST_TOLERANCE:
        coarse = shapely.simplify(polygons[remaining], applied, preserve_topology=False)
        failed = []
        for i, polygon in zip(remaining, coarse, strict=True):
            outline = _outline_of(polygon)
            is_whole = len(outline.rings) == len(corners[i].rings)
            if is_whole and _differ(exact[i], _crossings(outline)) <= loss * _size(exact[i]):
                results[i] = outline
            else:
                failed.append(i)
        remaining, applied = failed, applied / 2
    return results


def _corners(ring: np.ndarray) -> np.ndarray:
    """The points (n, 2) of a ring at which it turns."""
    into = ring - np.roll(ring, 1, axis=0)
    out = np.roll(into, -1, axis=0)
    corners: np.ndarray = ring[into[:, 0] * out[:, 1] != into[:, 1] * out[:, 0]]
    return corners


def _outline_of(geometry: shapely.Geometry) -> Outline:
    """The outline of a polygon. What has fallen into pieces, or to nothing, has no rings."""
    if not isinstance(geometry, shapely.Polygon) or geometry.is_empty:
        return Outline([])
    return Outline([shapely.get_coordinates(ring)[:-1] for ring in (geometry.exterior, *geometry.interiors)])


def _crossings(outline: Outline) -> np.ndarray:
    """Where the rows of pixel centres cross an outline.

    Returns:
        int64 (n,), sorted: row · 2³² + column of the first pixel whose centre isn't left of a crossing. The pixels from
        each entry of even index to the next entry are inside.
    """
    x0, y0 = np.concatenate(outline.rings).T
    x1, y1 = np.concatenate([np.roll(ring, -1, axis=0) for ring in outline.rings]).T
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


def _differ(crossings: np.ndarray, others: np.ndarray) -> int:
    """The number of pixels that are inside of one of two outlines and outside of the other."""
    together = np.concatenate([crossings, others])
    together.sort()
    return _size(together)
