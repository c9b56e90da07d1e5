"""Box and mask AP on images that a training doesn't learn from, measured while it goes on."""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.printable import printable
from tensormask_server.regular_files import MOST_TEXT, read_text, write_whole
from tensormask_server.responses.drawing import draw_detections
from tqdm import tqdm

from bench.scores import EvaluationError, Result, Scores, coco_results, evaluate, has_outlines
from training.annotations import DataError, category_ids, read_annotations
from training.files import write_weights
from training.image_files import check_image_files, read_listed_image
from training.network import named_weights

OPTIONS = PredictionOptions(score_threshold=0.05)  # as detectron2 evaluates
BEST_WEIGHTS, BEST_SCORE = "best.pkl", "best.json"
MOST_DRAWN = 4  # images, the first of the folder with annotations
DRAWN = PredictionOptions(score_threshold=0.3)
LONGEST_DRAWN = 640  # pixels, of a drawn image's longer side


@dataclass(frozen=True)
class Validated:
    """What a network detects on the images of a folder."""

    scores: Scores
    drawn: dict[str, np.ndarray]  # by file name: uint8 (H, W, 3), RGB, with masks, boxes, names and scores


class Validation:
    """A folder in COCO's format on which networks are scored."""

    def __init__(self, folder: Path, training_categories: Sequence[int]):
        """
        Args:
            folder: with images/ and instances.json.
            training_categories: COCO's category of each class that is trained.

        Raises:
            DataError: the folder can't be used, or has other categories.
        """
        path = folder / "instances.json"
        self._folder = folder
        self._annotations = read_annotations(path)
        if category_ids(self._annotations) != list(training_categories):
            raise DataError(
                f"{printable(path)} has the categories {category_ids(self._annotations)}, and the training has "
                f"{list(training_categories)}; expected the same ids"
            )
        try:
            has_outlines(self._annotations)
        except EvaluationError as error:
            raise DataError(f"{printable(path)}: {error}") from error
        check_image_files(self._annotations["images"], folder / "images")
        names = {category["id"]: category.get("name") for category in self._annotations["categories"]}
        self._class_names = [str(names[each] or each) for each in training_categories]
        annotated = {annotation["image_id"] for annotation in self._annotations["annotations"]}
        self._to_draw = [entry for entry in self._annotations["images"] if entry["id"] in annotated][:MOST_DRAWN]

    def __call__(self, network: TensorMask, device: torch.device) -> Validated:
        """Scores a network, which stays as it is, and draws what it detects on some images.

        Args:
            network: in training mode.
            device: where the images are computed.
        """
        predictor = Predictor(copy.deepcopy(network), device, torch.float32)
        ids = category_ids(self._annotations)
        results: list[Result] = []
        for entry in tqdm(self._annotations["images"], "validating", leave=False, unit="image"):
            [detections] = predictor([self._image(entry)], OPTIONS)
            results += coco_results(entry["id"], detections, ids)
        drawn = {str(entry["file_name"]): self._drawn(entry, predictor) for entry in self._to_draw}
        return Validated(evaluate(self._annotations, results), drawn)

    def _drawn(self, entry: dict[str, Any], predictor: Predictor) -> np.ndarray:
        image = self._image(entry)
        [detections] = predictor([image], DRAWN)
        drawn = Image.fromarray(draw_detections(image, detections, self._class_names))
        drawn.thumbnail((LONGEST_DRAWN, LONGEST_DRAWN))
        return np.array(drawn)

    def _image(self, entry: dict[str, Any]) -> np.ndarray:
        return read_listed_image(entry, self._folder / "images")


def keep_best(out: Path, network: TensorMask, scores: Scores, done: int) -> bool:
    """Writes best.pkl if no earlier weights of the folder have a higher AP, of masks or else of boxes.

    Args:
        out: the folder of the training.
        network: whose weights are kept.
        scores: of the network.
        done: its iterations.

    Returns:
        Whether the weights were written.
    """
    ap = (scores.boxes if scores.masks is None else scores.masks).ap
    if math.isnan(ap) or ap < _best_so_far(out):
        return False
    write_weights(out / BEST_WEIGHTS, {name: tensor.numpy() for name, tensor in named_weights(network).items()})
    content = json.dumps({"iteration": done, "AP": round(100 * ap, 4)})
    write_whole(out / BEST_SCORE, lambda file: file.write(content.encode()))
    return True


def _best_so_far(out: Path) -> float:
    """0…1; less than any AP if there is none."""
    try:
        return float(json.loads(read_text(out / BEST_SCORE, MOST_TEXT))["AP"]) / 100
    except (OSError, ValueError, KeyError, TypeError):
        return -1.0
