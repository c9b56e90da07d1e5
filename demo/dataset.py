"""Writes a data set of composed images in COCO's format: python demo/dataset.py --split train --count 9 --out DIR"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a file
INSTALL = ".venv/bin/pip install -c constraints.txt -e '.[train]' brings it"
try:
    from pycocotools import mask as rle
    from tqdm import tqdm

    from demo.backgrounds import TRAINING_PHOTOGRAPHS, VALIDATION_PHOTOGRAPHS, load_photographs
    from demo.composition import Composition, Emoji, compose
    from demo.emoji import CATEGORIES, TRAINING_DESIGNS, VALIDATION_DESIGNS, load_emoji
except ModuleNotFoundError as error:
    sys.exit(f"dataset.py: {error}; {INSTALL}")

SPLITS = {
    "train": (TRAINING_DESIGNS, TRAINING_PHOTOGRAPHS),
    "val": (VALIDATION_DESIGNS, VALIDATION_PHOTOGRAPHS),
}
EMOJI_CACHE = Path(__file__).resolve().parent / "output" / "emoji"


def composed(split: str, seed: int, index: int, sizes: tuple[int, ...], emoji_cache: Path = EMOJI_CACHE) -> Composition:
    """Composes an image of a split. It depends only on the arguments, and not on earlier images.

    Args:
        split: one of SPLITS.
        seed: of the data set.
        index: of the image.
        sizes: sides of square images in pixels. One of them is chosen at random.
        emoji_cache: the folder of the drawings.
    """
    emoji, photographs = _sources(split, emoji_cache)
    rng = np.random.default_rng([list(SPLITS).index(split), seed, index])
    return compose(rng, int(rng.choice(sizes)), emoji, photographs)


def write_dataset(
    out: Path,
    split: str,
    count: int,
    sizes: tuple[int, ...],
    seed: int,
    workers: int = 1,
    emoji_cache: Path = EMOJI_CACHE,
) -> None:
    """Writes images/000000.jpg … and instances.json, with the visible masks as compressed RLE."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    _sources(split, emoji_cache)  # drawn once here, before the workers start
    write = partial(_write_image, out, split, seed, sizes, emoji_cache)
    with ProcessPoolExecutor(workers) as pool:
        written = list(tqdm(pool.map(write, range(count), chunksize=16), total=count, desc=split, unit="image"))
    annotations = [annotation for _, of_image in written for annotation in of_image]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    content = {
        "info": {"description": f"emoji composed by demo/dataset.py, split {split}, seed {seed}"},
        "licenses": [
            {"id": number, "name": f"{design.package} {design.version}: {design.licence}"}
            for number, design in enumerate(SPLITS[split][0], start=1)
        ],
        "categories": [{"id": category.id, "name": category.name} for category in CATEGORIES],
        "images": [entry for entry, _ in written],
        "annotations": annotations,
    }
    (out / "instances.json").write_text(json.dumps(content))


def _write_image(
    out: Path, split: str, seed: int, sizes: tuple[int, ...], emoji_cache: Path, index: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """COCO's entries of the index-th image and of its instances, still without their ids."""
    composition = composed(split, seed, index, sizes, emoji_cache)
    name = f"{index:06d}.jpg"
    Image.fromarray(composition.image).save(out / "images" / name, quality=95)
    height, width = composition.image.shape[:2]
    entry = {"id": index, "file_name": name, "width": width, "height": height}
    encoded = rle.encode(np.asfortranarray(composition.masks.transpose(1, 2, 0).astype(np.uint8)))
    annotations = [
        {
            "image_id": index,
            "category_id": category_id,
            "segmentation": {"size": mask["size"], "counts": mask["counts"].decode()},
            "area": int(rle.area(mask)),
            "bbox": rle.toBbox(mask).tolist(),
            "iscrowd": 0,
        }
        for category_id, mask in zip(composition.category_ids, encoded, strict=True)
    ]
    return entry, annotations


@cache
def _sources(split: str, emoji_cache: Path) -> tuple[dict[int, list[Emoji]], list[Image.Image]]:
    designs, photographs = SPLITS[split]
    drawn = load_emoji(designs, emoji_cache)
    emoji = {category_id: [Emoji(pixels) for pixels in drawings] for category_id, drawings in drawn.items()}
    return emoji, load_photographs(photographs)


def main() -> None:
    parser = argparse.ArgumentParser(description="Composes images of emoji with instance masks, in COCO's format.")
    parser.add_argument("--split", choices=SPLITS, required=True, help="val has a design that train doesn't have")
    parser.add_argument("--count", type=int, required=True, help="number of images")
    parser.add_argument(
        "--size", type=int, nargs="+", default=[256], help="side in pixels; of several, one is chosen for each image"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes; the images don't depend on their number")
    parser.add_argument(
        "--emoji",
        type=Path,
        default=EMOJI_CACHE,
        metavar="FOLDER",
        help="of the drawings, which are fetched by npm once",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for images/ and instances.json")
    args = parser.parse_args()
    try:
        write_dataset(args.out, args.split, args.count, tuple(args.size), args.seed, args.workers, args.emoji)
    except ModuleNotFoundError as error:  # of what only draws
        sys.exit(f"dataset.py: {error}; {INSTALL}")


if __name__ == "__main__":
    main()
