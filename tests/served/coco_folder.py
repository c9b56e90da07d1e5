"""A small folder in COCO's format, of which the small network finds some."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensormask_server import Predictor

from bench.scores import Scores, coco_results, evaluate
from reference.cases import Case
from tests.served.conftest import ROOT
from tests.waiting import PATIENCE
from training.annotations import category_ids

CATEGORIES = [88, 2, 90, 11, 40]  # of the small network's five classes: with gaps, and not in order
THRESHOLD = 0.05
ANNOTATED = 0.15  # detections with higher scores are the annotations


@dataclass(frozen=True)
class Folder:
    """Images, and annotations that the network finds some of."""

    path: Path
    in_process: Scores  # of the same network

    def command(self, url: str, *options: object) -> list[str]:
        words = [sys.executable, ROOT / "bench" / "evaluate.py", "--url", url, "--threshold", THRESHOLD]
        words += ["--annotations", self.path / "instances.json", "--images", self.path / "images", *options]
        return [str(word) for word in words]

    def run(self, url: str, *options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(url, *options), capture_output=True, text=True, timeout=PATIENCE)


def annotated_folder(path: Path, case: Case, predictor: Predictor, count: int) -> Folder:
    """Annotated are the network's own detections, a third of them moved and a third of another category."""
    (path / "images").mkdir()
    content: dict[str, Any] = {"categories": [{"id": number, "name": str(number)} for number in CATEGORIES]}
    content |= {"images": [], "annotations": []}
    results = []
    for i in range(count):
        image = np.ascontiguousarray(case.image[: 150 - 9 * i, : 200 - 7 * i])
        height, width = image.shape[:2]
        Image.fromarray(image).save(path / "images" / f"{i}.png")
        content["images"].append({"id": 100 + i, "file_name": f"{i}.png", "height": height, "width": width})
        [detections] = predictor([image], THRESHOLD)
        found = coco_results(100 + i, detections, category_ids(content))
        results += found
        for k, detection in enumerate(each for each in found if each["score"] > ANNOTATED):
            x, y, w, h = detection["bbox"]
            annotation = {**detection, "id": len(content["annotations"]) + 1, "area": w * h}
            if k % 3 == 1:
                annotation["bbox"] = [x + w / 5, y, w, h]
            if k % 3 == 2:
                annotation["category_id"] = CATEGORIES[k % 5]
            content["annotations"].append(annotation)
    (path / "instances.json").write_text(json.dumps(content))
    return Folder(path, evaluate(content, results))
