"""AP, time and memory of large images in tiles, with the demo's network: python -m bench.mosaic

A mosaic is one image that is put together from the demo's validation images. Its instances are those of its parts, so
its AP can be compared with that of the parts alone.
"""

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.images.encoded import read_image
from tensormask_server.prediction.image_masks import MaskCrop
from tensormask_server.prediction.tile_grid import number_of_tiles
from tensormask_server.responses.run_lengths import encode_mask
from tqdm import tqdm

from bench.accuracy import OPTIONS, SIDE, VALIDATION, compose_validation_images
from bench.memory import MEGABYTE, in_its_own_process, peak_memory
from bench.networks import demo_predictor
from bench.scores import MAX_DETECTIONS, Result, Scores, coco_results, evaluate
from bench.tables import Table
from training.annotations import category_ids, outline_of, read_annotations

ROWS, COLUMNS = 6, 8
MOST = 1000  # detections on a mosaic
IMAGES = ROWS * COLUMNS
# the first images in their order; then as many others, shuffled
MOSAICS = {
    "images 0 to 47": np.arange(IMAGES),
    "images 48 to 95, shuffled": IMAGES + np.random.default_rng(5).permutation(IMAGES),
}
# tile_size and tile_overlap; no tile of the first four ends at a seam of the mosaic
GRIDS = [(336, 0.6), (352, 0.6), (352, 0.5), (320, 0.5), (384, 0.2)]
GROWTH = [(1, 1), (2, 2), (3, 4), (6, 8)]  # rows and columns of mosaics of growing size


def main() -> None:
    for table in measure():
        table.show()


def measure() -> list[Table]:
    compose_validation_images()
    return [accuracy(), growth()]


def accuracy() -> Table:
    """A row for each mosaic as its parts alone, as one image, and in tiles."""
    table = Table(
        "mosaic",
        "Large images in tiles: mosaics of 48 validation images",
        ("what", "tiles", "mask AP", "mask AP50", "small", "medium", "large"),
        f"the demo's network on mosaics of {COLUMNS}×{ROWS} images, {COLUMNS * SIDE}×{ROWS * SIDE} pixels; "
        f"at most {MOST} detections on a mosaic, and {MAX_DETECTIONS} on an image alone",
    )
    predictor = demo_predictor()
    for name, numbers in MOSAICS.items():
        mosaic = mosaic_of(numbers, ROWS, COLUMNS)
        parts = [read_image(VALIDATION / "images" / f"{number:06d}.jpg") for number in numbers]
        alone = [predictor([part], OPTIONS)[0] for part in tqdm(parts, desc=name, unit="image")]
        results = [result for i, found in enumerate(alone) for result in coco_results(i, found, mosaic.category_ids)]
        table.rows.append((f"{name}, alone", 0, *_cells(evaluate(mosaic.annotations_of_parts, results))))
        for options in (None, *GRIDS):
            requested = _requested(options)
            tiles = number_of_tiles(ROWS * SIDE, COLUMNS * SIDE, requested, auto_size=0)
            what = f"tiles of {options[0]}, overlap {options[1]}" if options else "as one image"
            table.rows.append((f"{name}, {what}", tiles, *_cells(_scores(predictor, mosaic, requested))))
    return table


def growth() -> Table:
    """A row for each size of a mosaic: how time and memory grow with the number of tiles."""
    table = Table(
        "tiles",
        "Time and memory of tiles",
        ("pixels", "tiles", "seconds of a core", "ms a tile", "MB over the loaded model"),
        "the demo's network on mosaics of growing size, tiles of 384 with an overlap of 0.2, score threshold 0.5; the "
        "memory includes the image itself, 3 bytes a pixel",
    )
    for shape in GROWTH:
        tiles, seconds, megabytes = in_its_own_process(_time_and_memory, shape)
        pixels = f"{shape[1] * SIDE}×{shape[0] * SIDE}"
        table.rows.append((pixels, tiles, seconds, 1000 * seconds / max(tiles, 1), megabytes))
    return table


@dataclass(frozen=True)
class Mosaic:
    """An image that is put together from others of one size, and what is on it."""

    pixels: np.ndarray  # uint8 (H, W, 3), RGB
    annotations: dict[str, Any]  # in COCO's format, of the one image with the id 0
    annotations_of_parts: dict[str, Any]  # of the parts, with the ids 0, 1 … in the mosaic's order
    category_ids: list[int]  # by class number


def mosaic_of(numbers: np.ndarray, rows: int, columns: int) -> Mosaic:
    """Puts validation images together, row by row.

    Args:
        numbers: of the images.
    """
    content = read_annotations(VALIDATION / "instances.json")
    pixels = np.empty((rows * SIDE, columns * SIDE, 3), np.uint8)
    on_mosaic, on_parts = [], []
    sizes = {image["id"]: image for image in content["images"]}
    for place, number in enumerate(numbers.tolist()):
        top, left = (SIDE * each for each in divmod(place, columns))
        pixels[top : top + SIDE, left : left + SIDE] = read_image(VALIDATION / "images" / f"{number:06d}.jpg")
        for annotation in content["annotations"]:
            if annotation["image_id"] == number:
                on_parts.append({**annotation, "image_id": place})
                x, y, width, height = annotation["bbox"]
                mask = MaskCrop.of_mask(_mask(outline_of(annotation, sizes[number])))
                moved = MaskCrop(mask.top + top, mask.left + left, mask.height, mask.width, mask.bits)
                outline = encode_mask(moved, *pixels.shape[:2])
                box = [x + left, y + top, width, height]
                on_mosaic.append({**annotation, "image_id": 0, "bbox": box, "segmentation": outline})
    one = {"id": 0, "height": rows * SIDE, "width": columns * SIDE}
    parts = [{"id": place, "height": SIDE, "width": SIDE} for place in range(len(numbers))]
    return Mosaic(
        pixels,
        {**content, "images": [one], "annotations": on_mosaic},
        {**content, "images": parts, "annotations": on_parts},
        category_ids(content),
    )


def _mask(outline: Any) -> np.ndarray:
    decoded: np.ndarray = rle.decode(outline)
    return decoded.astype(bool)


def _requested(grid: tuple[int, float] | None) -> PredictionOptions:
    if grid is None:
        return PredictionOptions(OPTIONS.score_threshold, max_detections=MOST)
    return PredictionOptions(OPTIONS.score_threshold, max_detections=MOST, tile_size=grid[0], tile_overlap=grid[1])


def _scores(predictor: Predictor, mosaic: Mosaic, options: PredictionOptions) -> Scores:
    [found] = predictor([mosaic.pixels], options)
    assert found.image_masks is not None
    results: list[Result] = [
        {
            "image_id": 0,
            "category_id": mosaic.category_ids[number],
            "score": score,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            # from the crop: all masks of a mosaic as arrays would take gigabytes
            "segmentation": encode_mask(crop, *mosaic.pixels.shape[:2]),
        }
        for number, score, (x0, y0, x1, y1), crop in zip(
            found.classes.tolist(), found.scores.tolist(), found.boxes.tolist(), found.image_masks, strict=True
        )
    ]
    return evaluate(mosaic.annotations, results, MOST)


def _cells(scores: Scores) -> tuple[str, ...]:
    assert scores.masks is not None
    masks = scores.masks
    return tuple(f"{100 * each:.1f}" for each in (masks.ap, masks.ap50, masks.small, masks.medium, masks.large))


def _time_and_memory(shape: tuple[int, int]) -> tuple[int, float, float]:
    predictor = demo_predictor()
    pixels = mosaic_of(np.arange(shape[0] * shape[1]), *shape).pixels
    options = PredictionOptions(0.5, tile_size=384)
    predictor([pixels[:SIDE, :SIDE]], options)
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = peak_memory() - pixels.nbytes
    started = time.process_time()
    predictor([pixels], options)
    seconds = time.process_time() - started
    tiles = number_of_tiles(shape[0] * SIDE, shape[1] * SIDE, options, auto_size=0)
    return tiles, seconds, (peak_memory() - before) / MEGABYTE


if __name__ == "__main__":
    main()
