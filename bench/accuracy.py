"""What the demo's network finds on its validation images in each precision: python -m bench.accuracy

It runs in this process; bench/evaluate.py measures a server.
The images are those of demo/README.md, composed on the first call.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tensormask_server import Detections, PredictionOptions, Predictor
from tensormask_server.arguments import whole_number
from tensormask_server.images.encoded import read_image
from tensormask_server.network.strategies import Everywhere
from tensormask_server.prediction.cpu import emulates
from tensormask_server.prediction.precision import DTYPES
from tqdm import tqdm

from bench.agreement import agreement, together
from bench.networks import ROOT, demo_network, demo_predictor
from bench.openvino import PRECISIONS, with_openvino
from bench.results import RESULTS, publish
from bench.scores import coco_results, evaluate
from bench.tables import Table
from demo.dataset import write_dataset
from training.annotations import category_ids, read_annotations

VALIDATION = ROOT / "demo" / "output" / "val"
IMAGES, SIDE, SEED = 300, 384, 1  # of the validation split
# what int8 is calibrated with: images of the training's designs
CALIBRATION = ROOT / "demo" / "output" / "calibration"
CALIBRATION_IMAGES, CALIBRATION_SEED = 100, 7
OPTIONS = PredictionOptions(score_threshold=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the AP of the demo's network in each precision.")
    parser.add_argument("--images", type=whole_number(1), default=IMAGES, help="(default: %(default)s)")
    parser.add_argument("--calibrate", type=whole_number(1), default=CALIBRATION_IMAGES, help="(default: %(default)s)")
    parser.add_argument("--results", type=Path, metavar="FOLDER", default=RESULTS, help="(default: %(default)s)")
    parsed = parser.parse_args()
    publish(measure(parsed.images, parsed.calibrate), parsed.results)


def measure(count: int = IMAGES, calibrate: int = CALIBRATION_IMAGES) -> Iterator[Table]:
    """A row for each precision that the CPU computes in by itself: the table after each row.

    Args:
        count: of validation images.
        calibrate: the number of images for the ranges of int8.
    """
    compose_validation_images()
    calibration = calibration_images()[:calibrate]
    annotations = read_annotations(VALIDATION / "instances.json")
    images = annotations["images"][:count]
    kept = {image["id"] for image in images}
    instances = [each for each in annotations["annotations"] if each["image_id"] in kept]
    annotations = {**annotations, "images": images, "annotations": instances}
    ids = category_ids(annotations)
    table = Table(
        "accuracy",
        "Accuracy on the demo's validation images",
        ("what", "mask AP", "mask AP50", "box AP", "detections paired", "mask IoU"),
        f"the demo's network on {len(images)} images of a design that the training never saw; paired: of the first "
        f"row's detections above 0.3; ranges of int8 from {len(calibration)} images of the training's designs",
    )
    exact: list[Detections] = []
    for name, make in ways(calibration).items():
        predictor = make()
        found = [
            predictor([read_image(VALIDATION / "images" / image["file_name"])], OPTIONS)[0]
            for image in tqdm(images, desc=name, unit="image")
        ]
        exact = exact or found
        results = [
            result
            for image, detections in zip(images, found, strict=True)
            for result in coco_results(image["id"], detections, ids)
        ]
        scores = evaluate(annotations, results)
        assert scores.masks is not None
        alike = together([agreement(*pair) for pair in zip(found, exact, strict=True)])
        shares = (f"{100 * value:.2f}" for value in (scores.masks.ap, scores.masks.ap50, scores.boxes.ap))
        table.rows.append((name, *shares, f"{alike.paired} of {alike.expected}", f"{alike.mask_iou:.4f}"))
        yield table


def compose_validation_images() -> None:
    """Writes the images of demo/README.md to VALIDATION, if they aren't there."""
    _compose(VALIDATION, "val", IMAGES, SEED)


def calibration_images() -> list[Path]:
    """The images by which int8 is calibrated. They are composed if they aren't there."""
    _compose(CALIBRATION, "train", CALIBRATION_IMAGES, CALIBRATION_SEED)
    return sorted((CALIBRATION / "images").iterdir())


def _compose(folder: Path, split: str, count: int, seed: int) -> None:
    if not (folder / "instances.json").exists():
        if shutil.which("npm") is None:
            sys.exit("there is no npm, which fetches the drawings that the demo's images are composed of")
        write_dataset(folder, split, count, (SIDE,), seed)


def ways(calibration: Sequence[Path]) -> dict[str, Callable[[], Predictor]]:
    """What makes the predictor of each row."""
    halves = (name for name, dtype in DTYPES.items() if name != "float32" and not emulates(dtype))
    return {
        "float32, everywhere": everywhere,
        "float32, the default": demo_predictor,
        **{name: partial(demo_predictor, name) for name in halves},
        **{
            f"--engine openvino, {precision}": partial(with_openvino, demo_network(), precision, calibration)
            for precision in PRECISIONS
        },
    }


def everywhere() -> Predictor:
    predictor = demo_predictor(winograd=False, fused=False)
    predictor.network.strategy = Everywhere()
    return predictor


if __name__ == "__main__":
    main()
