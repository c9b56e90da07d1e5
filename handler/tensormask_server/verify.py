"""Compares two archives, or our network with detectron2's, on your own images.

python -m tensormask_server.verify --help
"""

import argparse
import sys
import tempfile
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from tensormask_server.extras import exit_without

NAME = "python -m tensormask_server.verify"
if __name__ == "__main__":  # before the imports that need the extra
    exit_without("predict", NAME)

# ruff: noqa: E402
import torch

from tensormask_server.arguments import fraction
from tensormask_server.classes import class_names
from tensormask_server.images.encoded import read_image
from tensormask_server.models.arguments import EXPECTED, add_model_arguments, is_complete, model_files
from tensormask_server.network.config import load_config
from tensormask_server.prediction.agreement import BOX_TOLERANCE, MIN_MASK_IOU, SCORE_TOLERANCE, Pair, pair_detections
from tensormask_server.prediction.archived import load_archived
from tensormask_server.prediction.detections import Detections, PredictionOptions
from tensormask_server.prediction.detectron2_engine import load_detectron2
from tensormask_server.prediction.devices import checked_device
from tensormask_server.prediction.engine import Engine
from tensormask_server.prediction.predictor import load_predictor
from tensormask_server.printable import one_line, printable

TOLERANCES = f"boxes within {BOX_TOLERANCE:g} pixels, scores within {SCORE_TOLERANCE:g}, masks of IoU {MIN_MASK_IOU:g}"


NAMES = ("native", "detectron2")


@dataclass(frozen=True)
class Comparison:
    """Two engines' detections on one image."""

    detections: tuple[Detections, Detections]
    pairs: list[Pair]
    unpaired: tuple[list[int], list[int]]  # of each engine: the detections that lack a pair

    @property
    def is_same(self) -> bool:
        return not any(self.unpaired) and all(pair.is_same for pair in self.pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares the engines and prints the differences.

    Returns:
        The exit status. 0: both agree. 1: they differ. 2: they can't be compared, and stderr says why.
    """
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if (parsed.archive is None) != (parsed.against is None):
        parser.error("expected --archive A.mar together with --against B.mar")
    if parsed.archive is not None and any((parsed.config, parsed.weights, parsed.models)):
        parser.error("expected either two archives or a model")
    if parsed.archive is None and not is_complete(parsed):
        parser.error(f"{EXPECTED}; or --archive A.mar --against B.mar")
    try:
        return 0 if (_verified(parsed) if parsed.archive is None else _verified_archives(parsed)) else 1
    except ValueError as error:  # all errors of files and absent packages are ValueErrors
        print(f"verify: {one_line(error)}", file=sys.stderr)
    except Exception:  # an error of torch or detectron2, of which the whole traceback is needed
        traceback.print_exc()
    return 2


def _verified(parsed: argparse.Namespace) -> bool:
    images = [(printable(path), read_image(path)) for path in parsed.images]
    files = model_files(parsed)
    threshold = parsed.threshold
    if threshold is None:
        threshold = load_config(files.config).detection.score_threshold
    engines = (
        load_predictor(files.config, files.weights, parsed.device),
        load_detectron2(files.config, files.weights, parsed.device, min_score=threshold),
    )
    print(f"{' and '.join(NAMES)} on {parsed.device}, detections with scores above {threshold:g}")
    names = class_names(engines[0].config.head.num_classes, None)
    return verify(engines, images, threshold, NAMES, names)


def _verified_archives(parsed: argparse.Namespace) -> bool:
    images = [(printable(path), read_image(path)) for path in parsed.images]
    paths = (parsed.archive, parsed.against)
    with tempfile.TemporaryDirectory(prefix="tensormask-verify-") as folder:
        first, second = (
            load_archived(path, Path(folder, name), parsed.device) for path, name in zip(paths, "AB", strict=True)
        )
        if first.class_names != second.class_names:
            raise ValueError("the archives have different classes; expected two of the same network")
        for name, path, each in zip("AB", paths, (first, second), strict=True):
            print(f"{name}: {printable(path)}, engine {each.options.engine}, {each.options.precision}")
        threshold = first.options.score_threshold if parsed.threshold is None else parsed.threshold
        print(f"A and B on {parsed.device}, detections with scores above {threshold:g}")
        return verify((first.engine, second.engine), images, threshold, ("A", "B"), first.class_names)


def verify(
    engines: tuple[Engine, Engine],
    images: Iterable[tuple[str, np.ndarray]],
    score_threshold: float,
    labels: tuple[str, str],
    names: Sequence[str],
) -> bool:
    """Runs both engines on each image and prints their detections, pair by pair, with their differences.

    Args:
        engines: such as our network's and detectron2's.
        images: the name and the image, uint8 (H, W, 3), RGB.
        score_threshold: only detections with higher scores are compared.
        labels: what the engines are called.
        names: of the classes.

    Returns:
        Whether all detections agree within the tolerances.

    Raises:
        ValueError: neither engine has a detection on any image.
    """
    options = PredictionOptions(score_threshold=score_threshold)
    config = engines[0].config
    comparisons, seconds = [], []
    for number, (name, image) in enumerate(images):
        if number == 0:  # the first run is slower than the next ones
            for engine in engines:
                engine([image], options)
        runs = [_timed(engine, image, options) for engine in engines]
        compared = compare(runs[0][0], runs[1][0], score_threshold, config.detection.max_detections)
        comparisons.append(compared)
        seconds.append((runs[0][1], runs[1][1]))
        height, width = image.shape[:2]
        print(f"\n{name}, {height}×{width}: {_counts(compared, labels)}; {_times(labels, *seconds[-1])}")
        print("\n".join(table(compared, names, labels)))
    if not any(len(each) for compared in comparisons for each in compared.detections):
        raise ValueError(f"there are no detections with scores above {score_threshold:g}; lower --threshold")
    same = all(compared.is_same for compared in comparisons)
    verdict = f"{'the same' if same else 'NOT THE SAME'}: {TOLERANCES}"
    print("\n".join(["", *summary(comparisons, seconds, labels), verdict]))
    return same


def compare(ours: Detections, theirs: Detections, score_threshold: float, max_detections: int) -> Comparison:
    """Pairs the detections of two engines on the same image.

    A detection doesn't need a pair if its score is within the tolerance of the other engine's lowest possible score.
    That is the threshold, or the score of its last detection if it has `max_detections`.

    Args:
        ours, theirs: the detections of the two engines.
        score_threshold: of both engines.
        max_detections: of both engines.
    """
    pairs = pair_detections(ours, theirs)
    with_pair = ({pair.detection for pair in pairs}, {pair.reference for pair in pairs})
    both = (ours, theirs)
    unpaired: list[list[int]] = []
    for own, other, paired in zip(both, both[::-1], with_pair, strict=True):
        end = float(other.scores[-1]) if len(other) >= max_detections else score_threshold
        unpaired.append([i for i in range(len(own)) if i not in paired and own.scores[i] > end + SCORE_TOLERANCE])
    return Comparison(both, pairs, (unpaired[0], unpaired[1]))


# --- what is printed --------------------------------------------------------------------------------------------------


def table(compared: Comparison, names: Sequence[str], labels: tuple[str, str]) -> list[str]:
    """One line for each pair, and one for each detection that only one engine has."""
    lines = [f"  {'class':<20} {'score':>7} {'differs':>9} {'box, px':>9} {'mask IoU':>9}"]
    ours, _ = compared.detections
    for pair in compared.pairs:
        iou = "-" if pair.mask_iou is None else f"{pair.mask_iou:.5f}"
        differences = f"{pair.score_difference:>9.7f} {pair.box_difference:>9.5f} {iou:>9}"
        mark = "" if pair.is_same else "  NOT THE SAME"
        i = pair.detection
        lines.append(f"  {names[ours.classes[i]]:<20} {ours.scores[i]:>7.4f} {differences}{mark}")
    for engine, detections, unpaired in zip(labels, compared.detections, compared.unpaired, strict=True):
        for i in unpaired:
            box = " ".join(f"{side:.1f}" for side in detections.boxes[i])
            lines.append(
                f"  {names[detections.classes[i]]:<20} {detections.scores[i]:>7.4f} only by {engine}, box {box}"
            )
    return lines


def summary(
    comparisons: Sequence[Comparison], seconds: Sequence[tuple[float, float]], labels: tuple[str, str]
) -> list[str]:
    """The largest and the mean differences over all images, and the mean time of an image."""
    pairs = [pair for compared in comparisons for pair in compared.pairs]
    ious = [pair.mask_iou for pair in pairs if pair.mask_iou is not None]
    lines = [f"images: {len(comparisons)}, pairs: {len(pairs)}"]
    if pairs:
        boxes, scores = [pair.box_difference for pair in pairs], [pair.score_difference for pair in pairs]
        lines.append(f"boxes differ by at most {max(boxes):.5f} pixels, in the mean by {np.mean(boxes):.5f}")
        lines.append(f"scores differ by at most {max(scores):.7f}, in the mean by {np.mean(scores):.7f}")
    if ious:
        lines.append(f"masks have an IoU of at least {min(ious):.5f}, in the mean of {np.mean(ious):.5f}")
    lines.append(f"mean time of an image, without decoding: {_times(labels, *np.mean(seconds, axis=0))}")
    return lines


def _counts(compared: Comparison, labels: tuple[str, str]) -> str:
    counts = [f"{len(detections)} by {engine}" for engine, detections in zip(labels, compared.detections, strict=True)]
    return f"{', '.join(counts)}, {len(compared.pairs)} pairs"


def _times(labels: tuple[str, str], *seconds: float) -> str:
    return ", ".join(f"{1000 * each:.0f} ms {engine}" for engine, each in zip(labels, seconds, strict=True))


def _timed(engine: Engine, image: np.ndarray, options: PredictionOptions) -> tuple[Detections, float]:
    """The detections and the seconds that they took. A GPU has finished then, as they are in the host's memory."""
    started = perf_counter()
    [detections] = engine([image], options)
    return detections, perf_counter() - started


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Runs two archives on the same images, or our network and detectron2's, and shows how their "
        f"detections differ. Exit status 0: the same, {TOLERANCES}; 1: not the same; 2: detectron2 or a file can't be "
        "used.",
    )
    add = parser.add_argument
    add_model_arguments(parser)
    add("--archive", type=Path, metavar="A.mar", help="of archive.sh, in the place of a model's files")
    add("--against", type=Path, metavar="B.mar", help="the archive that it is compared with")
    add("images", type=Path, nargs="+", metavar="IMAGE")
    add(
        "-t",
        "--threshold",
        type=fraction,
        help="only detections with higher scores (default: the configuration's, or A's)",
    )
    usual = "cuda:0" if torch.cuda.is_available() else "cpu"
    add("--device", type=_device, default=usual, help="as torch names it, for both (here: %(default)s)")
    return parser


def _device(text: str) -> torch.device:
    try:
        return checked_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
