"""Chooses the page's sample images of the demo's model by a rule, and writes them: python -m demo.samples

Three are chosen by the F1 of the network's detections, among the images 0 to 39 of seed 3 of the validation split, at
512 pixels. Of those with at least five instances, two have the highest and the lowest F1. One has the median F1 of
those with five to seven instances. The fourth is a photograph of a cat, as the network knows no photographs.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tensormask_server import Predictor, load_predictor

from demo.backgrounds import load_photographs
from demo.composition import Composition
from demo.dataset import EMOJI_CACHE, composed
from demo.emoji import CATEGORIES
from demo.steps import MODEL, ROOT, THRESHOLD

SEED, IMAGES, SIDE = 3, 40, 512
FEWEST = 5  # instances of an image that is chosen
MOST_OF_MEDIAN = 7  # as ordinary images have
LEAST_IOU = 0.5  # of a detection that is right
MEASURED, WRITTEN = 95, 80  # qualities of JPEG: those of the data set's files, and of the samples
PHOTOGRAPH = "chelsea"  # a cat, by Stéfan van der Walt, CC0; scikit-image ships it
NAMES = ("1-at-its-best.jpg", "2-as-usual.jpg", "3-at-its-worst.jpg", "4-a-photo.jpg")


def write_samples(folder: Path, emoji_cache: Path = EMOJI_CACHE) -> dict[str, int]:
    """Writes the four samples.

    Args:
        folder: is made where it isn't there.
        emoji_cache: of the drawings.

    Returns:
        From the name of each composed sample to the number of its image.
    """
    predictor = load_predictor(ROOT / MODEL / "config.yaml", ROOT / MODEL / "weights.pkl")
    images = [composed("val", SEED, index, (SIDE,), emoji_cache) for index in range(IMAGES)]
    scores = [f1(predictor, image) for image in images]
    chosen = chosen_images(scores, [len(image.masks) for image in images])
    folder.mkdir(parents=True, exist_ok=True)
    for name, index in zip(NAMES, chosen, strict=False):
        (folder / name).write_bytes(_jpeg(images[index].image, WRITTEN))
    [photograph] = load_photographs((PHOTOGRAPH,))
    (folder / NAMES[3]).write_bytes(_jpeg(np.asarray(photograph), WRITTEN))
    return dict(zip(NAMES, chosen, strict=False))


def chosen_images(scores: Sequence[float], counts: Sequence[int]) -> tuple[int, int, int]:
    """The images that show the network at its best, as usual and at its worst. Of equal ones it is the first.

    Args:
        scores: the F1 of each image.
        counts: the number of its instances.
    """
    by_score = sorted((index for index in range(len(scores)) if counts[index] >= FEWEST), key=lambda i: -scores[i])
    usual = [index for index in by_score if counts[index] <= MOST_OF_MEDIAN]
    return by_score[0], usual[len(usual) // 2], by_score[-1]


def f1(predictor: Predictor, image: Composition) -> float:
    """The F1 of the detections on an image, at the demo's threshold.

    A detection is right if its class is, and its mask has an IoU of LEAST_IOU with a mask that no better one has.
    """
    pixels = np.asarray(Image.open(io.BytesIO(_jpeg(image.image, MEASURED))).convert("RGB"))
    [detections] = predictor([pixels], THRESHOLD)
    free = set(range(len(image.masks)))
    for mask, number in zip(np.asarray(detections.masks), detections.classes.tolist(), strict=True):
        same = [each for each in free if image.category_ids[each] == CATEGORIES[number].id]
        ious = {each: _iou(mask, image.masks[each]) for each in same}
        best = max(ious, key=lambda each: ious[each], default=None)
        if best is not None and ious[best] >= LEAST_IOU:
            free.remove(best)
    right = len(image.masks) - len(free)
    return 2 * right / max(len(detections) + len(image.masks), 1)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return content.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Chooses and writes the page's sample images of the demo's model.")
    parser.add_argument("--out", type=Path, default=ROOT / MODEL / "samples", help="(default: %(default)s)")
    parser.add_argument("--emoji", type=Path, default=EMOJI_CACHE, metavar="FOLDER", help="of the drawings")
    parsed = parser.parse_args()
    for name, index in write_samples(parsed.out, parsed.emoji).items():
        print(f"{parsed.out / name}: image {index}")


if __name__ == "__main__":
    main()
