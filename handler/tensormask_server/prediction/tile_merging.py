"""Merges the detections of an image's tiles, so that each instance is there once and with its whole mask.

An instance may be seen several times: by each tile that it lies in, and by the whole image. A tile sees it whole, or a
border that isn't the image's cuts it. Two sightings of one instance agree where both tiles could see it. So the masks
are compared only there.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from tensormask_server.prediction.detections import Detections
from tensormask_server.prediction.image_masks import ImageMasks, MaskCrop, check_pixels
from tensormask_server.prediction.tile_grid import Tile

BORDER = 0.02  # of a tile's side: a box that ends so near to its tile's border is cut by it; boxes are seldom exact
MIN_IOU = 0.5  # of two sightings that are whole
MIN_SHARE = 0.5  # of the smaller mask, where one of two sightings is cut
# Sightings are kept for so many times max_detections. Few instances are seen by more than four tiles.
KEPT = 8


@dataclass(frozen=True)
class _Sighting:
    """One detection of one tile, in pixels of the image."""

    tile: int  # the number of its tile
    place: Tile
    is_cut: bool  # by a border of its tile
    is_of_image: bool  # its tile is the whole image
    box: np.ndarray  # float32 (4,)
    score: float
    class_number: int
    mask: MaskCrop | None  # None if the network makes no masks
    shape: MaskCrop  # what is compared: the mask, or all of the box where there is no mask or it has no pixels
    area: int  # of the shape, in pixels

    @property
    def rank(self) -> int:
        """The best are 0: seen whole by a tile; then by the image, where it is smaller; then cut."""
        return 2 if self.is_cut else int(self.is_of_image)


@dataclass
class _Instance:
    """The sightings of one instance, best first. No tile sees it twice."""

    sightings: list[_Sighting]
    tiles: set[int] = field(default_factory=set)

    def add(self, sightings: Iterable[_Sighting]) -> None:
        for each in sightings:
            self.sightings.append(each)
            self.tiles.add(each.tile)


class TileMerger:
    """Collects the detections of an image's tiles, and merges them. Its memory doesn't grow with the image."""

    def __init__(self, height: int, width: int, max_detections: int):
        """
        Args:
            height, width: of the image, in pixels.
            max_detections: of the image.
        """
        self._height = height
        self._width = width
        self._max_detections = max_detections
        self._tiles: list[Tile] = []
        self._sightings: list[_Sighting] = []
        self._pixels = 0  # of the rectangles around their shapes
        self._has_masks = True

    def add(self, tile: Tile, detections: Detections) -> None:
        """Adds what the network detected on one tile.

        Args:
            tile: on the image. The whole image may be one of the tiles.
            detections: in pixels of the tile.

        Raises:
            LargeMasksError: the masks of all tiles span too many pixels.
        """
        self._has_masks = detections.image_masks is not None
        for i in range(len(detections)):
            self._sightings.append(self._sighting(tile, detections, i))
            self._pixels += self._sightings[-1].shape.pixels_spanned
            check_pixels(self._pixels)
        self._tiles.append(tile)
        if len(self._sightings) > 2 * KEPT * self._max_detections:
            # stable: the order of the tiles decides between equal scores
            self._sightings = sorted(self._sightings, key=_falling_score)[: KEPT * self._max_detections]
            self._pixels = sum(each.shape.pixels_spanned for each in self._sightings)

    def merged(self, check: Callable[[], None] = lambda: None) -> Detections:
        """The detections on the image, best score first, each instance once.

        Args:
            check: is called before each comparison of two masks, and may raise an error. Their number grows with the
                square of the instances that lie on one another.

        Raises:
            LargeMasksError: the masks that were joined span too many pixels.
        """
        instances = _grouped(sorted(self._sightings, key=lambda each: (each.rank, -each.score, each.tile)), check)
        credible = filter(self._is_credible, (_joined(each.sightings) for each in instances))
        kept = sorted(_limited(credible), key=_falling_score)[: self._max_detections]
        masks = [each.mask for each in kept if each.mask is not None]
        return Detections(
            boxes=np.array([each.box for each in kept], np.float32).reshape(-1, 4),
            scores=np.array([each.score for each in kept], np.float32),
            classes=np.array([each.class_number for each in kept], np.int64),
            image_masks=ImageMasks(self._height, self._width, masks) if self._has_masks else None,
        )

    def _sighting(self, tile: Tile, detections: Detections, i: int) -> _Sighting:
        box = detections.boxes[i] + np.array([tile.left, tile.top] * 2, np.float32)
        mask = None
        if detections.image_masks is not None:
            crop = detections.image_masks.crops[i]
            mask = replace(crop, top=crop.top + tile.top, left=crop.left + tile.left)
        shape = mask if mask is not None and mask.area else _filled(box)
        return _Sighting(
            tile=len(self._tiles),
            place=tile,
            is_cut=self._is_cut(box, tile),
            is_of_image=(tile.height, tile.width) == (self._height, self._width),
            box=box,
            score=float(detections.scores[i]),
            class_number=int(detections.classes[i]),
            mask=mask,
            shape=shape,
            area=shape.area,
        )

    def _is_cut(self, box: np.ndarray, tile: Tile) -> bool:
        """Whether a box reaches a border of the tile that isn't the image's, or beyond."""
        x0, y0, x1, y1 = box.tolist()
        border_x, border_y = BORDER * tile.width, BORDER * tile.height
        return bool(
            (tile.left > 0 and x0 <= tile.left + border_x)
            or (tile.top > 0 and y0 <= tile.top + border_y)
            or (tile.right < self._width and x1 >= tile.right - border_x)
            or (tile.bottom < self._height and y1 >= tile.bottom - border_y)
        )

    def _is_credible(self, joined: _Sighting) -> bool:
        """Whether a tile saw the instance whole, or no tile could. Where tiles could and didn't, they are right.

        A part of an instance, and the image at a smaller scale, are taken for something else more easily.
        """
        could = (tile for tile in self._tiles if (tile.height, tile.width) != (self._height, self._width))
        return joined.rank == 0 or all(self._is_cut(joined.box, tile) for tile in could)


def _limited(joined: Iterable[_Sighting]) -> Iterator[_Sighting]:
    """The same as they come, as long as their masks span at most `image_masks.MOST_PIXELS` together."""
    pixels = 0
    for each in joined:
        pixels += 0 if each.mask is None else each.mask.pixels_spanned
        check_pixels(pixels)
        yield each


def _grouped(sightings: list[_Sighting], check: Callable[[], None]) -> list[_Instance]:
    """Groups the sightings of each instance.

    Args:
        sightings: best first.
        check: as for `TileMerger.merged`.
    """
    boxes = np.array([each.box for each in sightings], np.float32).reshape(-1, 4)
    classes = np.array([each.class_number for each in sightings], np.int64)
    instances: list[_Instance] = []
    instance_of: list[_Instance] = []  # by the sighting's number
    for number, sighting in enumerate(sightings):
        check()
        x0, y0, x1, y1 = boxes[number]
        before = boxes[:number]
        near = (before[:, 0] < x1) & (before[:, 2] > x0) & (before[:, 1] < y1) & (before[:, 3] > y0)
        near &= classes[:number] == sighting.class_number
        overlaps: dict[int, tuple[float, _Instance]] = {}
        for other in np.flatnonzero(near).tolist():
            instance = instance_of[other]
            if sighting.tile not in instance.tiles:
                check()
                overlap = _overlap(sighting, sightings[other])
                if overlap > overlaps.get(id(instance), (0.0, instance))[0]:
                    overlaps[id(instance)] = overlap, instance
        # stable: the better instance comes first
        matches = [each for _, each in sorted(overlaps.values(), key=lambda pair: -pair[0])]
        if not matches:
            instances.append(_Instance([]))
            matches = instances[-1:]
        first, *others = matches
        first.add([sighting])
        instance_of.append(first)
        for other_instance in others:  # the sighting connects two pieces of one instance
            if first.tiles.isdisjoint(other_instance.tiles):
                first.add(other_instance.sightings)
                instances = [each for each in instances if each is not other_instance]
                instance_of = [first if each is other_instance else each for each in instance_of]
    return instances


def _overlap(a: _Sighting, b: _Sighting) -> float:
    """How well two sightings agree where both tiles could see the instance, 0…1.

    If both are whole, it is the IoU of their masks. If one is cut, it is the intersection over the smaller mask. If
    that is too little for one instance, it is 0.
    """
    intersection = _intersection(a.shape, b.shape)
    if not intersection:
        return 0.0
    # a cut sighting may go on outside of its tile, and the other one shows how: that part isn't compared
    area_a = _area_within(a.shape, b.place) if b.is_cut else a.area
    area_b = _area_within(b.shape, a.place) if a.is_cut else b.area
    if a.is_cut or b.is_cut:
        share = intersection / min(area_a, area_b)
        return share if share >= MIN_SHARE else 0.0
    iou = intersection / (area_a + area_b - intersection)
    return iou if iou >= MIN_IOU else 0.0


def _joined(sightings: list[_Sighting]) -> _Sighting:
    """One sighting of an instance: the best one that is whole, or all pieces together with the best score.

    Args:
        sightings: of one instance.
    """
    best = min(sightings, key=lambda each: (each.rank, -each.score, each.tile))
    if not best.is_cut or len(sightings) == 1:
        return best
    boxes = np.array([each.box for each in sightings])
    masks = [each.mask for each in sightings if each.mask is not None]
    return replace(
        best,
        box=np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]),
        mask=_union(masks) if masks else None,
    )


def _union(masks: list[MaskCrop]) -> MaskCrop:
    top, left = min(mask.top for mask in masks), min(mask.left for mask in masks)
    bottom = max(mask.top + mask.height for mask in masks)
    right = max(mask.left + mask.width for mask in masks)
    columns = np.zeros((right - left, bottom - top), bool)
    for mask in masks:
        x, y = mask.left - left, mask.top - top
        columns[x : x + mask.width, y : y + mask.height] |= mask.columns
    return MaskCrop.of_columns(top, left, columns)


def _intersection(a: MaskCrop, b: MaskCrop) -> int:
    """How many pixels two masks have in common."""
    common = _common(Tile(a.top, a.left, a.height, a.width), Tile(b.top, b.left, b.height, b.width))
    return 0 if common is None else int(np.count_nonzero(a.part(*common) & b.part(*common)))


def _area_within(mask: MaskCrop, tile: Tile) -> int:
    """How many of a mask's pixels are within a tile."""
    common = _common(Tile(mask.top, mask.left, mask.height, mask.width), tile)
    return 0 if common is None else int(np.count_nonzero(mask.part(*common)))


def _common(a: Tile, b: Tile) -> tuple[slice, slice] | None:
    """The rows and columns that two rectangles have in common; None if there are none."""
    rows = slice(max(a.top, b.top), min(a.bottom, b.bottom))
    columns = slice(max(a.left, b.left), min(a.right, b.right))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _filled(box: np.ndarray) -> MaskCrop:
    """A mask of all pixels that a box touches."""
    left, top = np.floor(box[:2]).astype(int).tolist()
    right, bottom = np.ceil(box[2:]).astype(int).tolist()
    return MaskCrop.of_columns(top, left, np.ones((max(right - left, 1), max(bottom - top, 1)), bool))


def _falling_score(sighting: _Sighting) -> float:
    return -sighting.score
