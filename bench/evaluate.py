"""Measures a running server's accuracy on images with COCO annotations.

python bench/evaluate.py --url http://127.0.0.1:8080/NAME/predict --annotations instances.json --images DIR
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tensormask_server.arguments import fraction, whole_number
from tensormask_server.client import Client, RequestError, Unreachable, WrongServer
from tensormask_server.images.encoded import read_image
from tensormask_server.images.errors import ImageError
from tensormask_server.printable import one_line, printable
from tensormask_server.same_options import OptionsChanged, check_same_options
from tensormask_server.tokens import TokenError, add_token_options, token_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a file
try:
    from tqdm import tqdm

    from bench.detections import read_detections
    from bench.scores import AveragePrecision, EvaluationError, Result, Scores, coco_results, evaluate, has_outlines
    from training.annotations import DataError, category_ids, check_images, read_annotations
except ModuleNotFoundError as error:
    sys.exit(f"evaluate.py: {error}; .venv/bin/pip install -c constraints.txt -e '.[train]' brings it")

ImageEntry = Mapping[str, Any]  # COCO's entry of an image
LINE_START = b'{"image_id": '  # of each line of a results file


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints box and mask AP.

    Returns:
        The exit status. 0: each image got a response. 1: some got none. 2, with one line on stderr: nothing was
        measured. 130: after Ctrl-C.
    """
    parsed = _parser().parse_args(arguments)
    try:
        annotations = read_annotations(parsed.annotations)
        images = annotations["images"]
        has_outlines(annotations)
        check_images(images, parsed.images)
        kept = ResultsFile(parsed.results, parsed.threshold)
        finished = kept.read()
        if not finished.keys() <= {entry["id"] for entry in images}:
            raise EvaluationError(f"{parsed.results} has other images than {parsed.annotations}")
        client, ids = Client(parsed.url, token_of(parsed)), category_ids(annotations)

        def results_of(entry: ImageEntry) -> list[Result]:
            image = _image(entry, parsed.images)
            # npz has the network's boxes and scores, which the format coco rounds
            response = client.request(image, "npz", score_threshold=parsed.threshold)
            detections = read_detections(response.body)
            masks = detections.image_masks
            if masks is not None and (masks.height, masks.width) != image.shape[:2]:
                sizes = f"{masks.height}×{masks.width} pixels on an image of {image.shape[0]}×{image.shape[1]}"
                raise WrongServer(f"a response with masks of {sizes}")
            return coco_results(entry["id"], detections, ids)

        errors = gather(images, results_of, finished, kept, parsed.concurrency)
        results = [result for of_image in finished.values() for result in of_image]
        print(table(evaluate(annotations, results)))
    except (DataError, EvaluationError, OptionsChanged, TokenError, Unreachable, OSError) as error:
        print(f"evaluate.py: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluate.py: stopped; with --results the same command goes on from here", file=sys.stderr)
        return 130
    if errors:
        count = f"{errors} of {len(images)} images"
        print(f"evaluate.py: {count} got no response, and count as images without detections", file=sys.stderr)
    return 1 if errors else 0


@dataclass(frozen=True)
class ResultsFile:
    """A file with a line of results for each image, so that another run doesn't have to request them again."""

    path: Path  # it may not exist yet
    threshold: float  # of the scores that were requested

    def read(self) -> dict[int, list[Result]]:
        """Reads the results of an earlier run. If a killed run has left the last line half-written, it is cut off.

        Returns:
            From an image's id to its results. It is empty if there is no file yet.

        Raises:
            EvaluationError: the file holds something else.
            OptionsChanged: the file is of a run with another threshold.
        """
        if not self.path.exists():
            return {}
        *lines, rest = self.path.read_bytes().split(b"\n")
        finished = {}
        for number, line in enumerate(lines, start=1):
            try:
                content = json.loads(line)
                threshold, results = content["threshold"], content["results"]
                finished[content["image_id"]] = [dict(result) for result in results]
            except (ValueError, TypeError, KeyError) as error:
                raise EvaluationError(
                    f"{self.path}, line {number}, holds no results; name another --results"
                ) from error
            check_same_options(self.path, {"--threshold": threshold}, {"--threshold": self.threshold}, "--results")
        if not rest.startswith(LINE_START[: len(rest)]):
            raise EvaluationError(f"{self.path} ends with something else than results; name another --results")
        if rest:
            os.truncate(self.path, self.path.stat().st_size - len(rest))
        return finished

    def line(self, image_id: int, results: Sequence[Result]) -> str:
        return json.dumps({"image_id": image_id, "threshold": self.threshold, "results": results}) + "\n"


def gather(
    images: Sequence[ImageEntry],
    results_of: Callable[[ImageEntry], list[Result]],
    finished: dict[int, list[Result]],
    kept: ResultsFile,
    concurrency: int,
) -> int:
    """Requests the results of the images that aren't finished. It adds each to `finished` and to the file.

    Args:
        images: of the annotations.
        results_of: requests the results of one image.
        finished: from an image's id to its results.
        kept: the file.
        concurrency: how many requests run at the same time.

    Returns:
        How many images got no response. stderr says why.
    """
    errors = 0
    with (
        kept.path.open("a", encoding="utf-8") as file,
        tqdm(total=len(images), initial=len(finished), unit="image") as progress,
        ThreadPoolExecutor(concurrency) as pool,
    ):
        futures = {pool.submit(results_of, entry): entry for entry in images if entry["id"] not in finished}
        try:
            for future in as_completed(futures):
                entry = futures[future]
                try:
                    results = future.result()
                except (RequestError, ImageError) as error:
                    errors += 1
                    progress.write(f"{printable(entry['file_name'])}: {one_line(error)}", file=sys.stderr)
                else:
                    file.write(kept.line(entry["id"], results))
                    file.flush()  # so that a kill loses no more than one line
                    finished[entry["id"]] = results
                progress.update()
        finally:
            pool.shutdown(cancel_futures=True)
    return errors


def table(scores: Scores) -> str:
    """The scores in percent, as in papers."""
    lines = ["".join(f"{name:>8}" for name in ("", "AP", "AP50", "AP75", "APs", "APm", "APl"))]
    lines.append(f"{'box':>8}{_percent(scores.boxes)}")
    if scores.masks is not None:
        lines.append(f"{'mask':>8}{_percent(scores.masks)}")
    return "\n".join(lines)


def _percent(scores: AveragePrecision) -> str:
    each = (scores.ap, scores.ap50, scores.ap75, scores.small, scores.medium, scores.large)
    return "".join(f"{'–' if math.isnan(score) else f'{100 * score:.2f}':>8}" for score in each)


def _image(entry: ImageEntry, folder: Path) -> np.ndarray:
    """Reads an image.

    Raises:
        ImageError: the image can't be read, or its size isn't the annotations'.
    """
    image = read_image(folder / entry["file_name"])
    height, width = image.shape[:2]
    if (height, width) != (entry["height"], entry["width"]):
        raise ImageError(f"has {height}×{width} pixels, and annotations for {entry['height']}×{entry['width']}")
    return image


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measures a running server's box and mask AP on COCO annotations.")
    add = parser.add_argument
    add("--url", type=_http, required=True, help="URL of the model: http://127.0.0.1:8080/NAME/predict")
    add("--annotations", type=Path, required=True, metavar="FILE.json", help="instances in COCO's format")
    add("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    add(
        "--results",
        type=Path,
        default=os.devnull,
        metavar="FILE.jsonl",
        help="keeps the results of one model here, so that another run can continue",
    )
    add(
        "--threshold",
        type=fraction,
        default=0.05,
        help="only detections with higher scores (default: %(default)s, as in detectron2)",
    )
    add("--concurrency", type=whole_number(1), default=4, help="requests at the same time (default: %(default)s)")
    add_token_options(parser)
    return parser


def _http(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{url} doesn't start with http:// or https://")
    return url


if __name__ == "__main__":
    sys.exit(main())
