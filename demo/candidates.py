"""The weights that a training could end with: scored on images, each candidate in a process of its own."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from tensormask_server.model_files.checkpoint import load_checkpoint
from tensormask_server.network.loading import build_network

from bench.scores import AveragePrecision, Scores
from training.annotations import category_ids, read_annotations
from training.average import average
from training.files import AVERAGE, CONFIG, WEIGHTS, write_weights
from training.settings import load_training_config
from training.validation import Validation

LAST, MOVING, MEAN = "last", "average", "mean"


@dataclass(frozen=True)
class Scored:
    """A candidate, and its scores on images to choose by and on images of another design."""

    name: str
    selection: Scores
    validation: Scores


def write_candidates(trained: Path, start: Path | None, out: Path) -> list[Path]:
    """Writes the last weights, their moving average, and the mean of the last ones and those of the start.

    Args:
        trained: folder of the training.
        start: weights that the training started from; None: random ones.
        out: folder for the files.
    """
    paths = [out / f"{LAST}.pkl"]
    shutil.copy(trained / WEIGHTS, paths[0])
    if (trained / AVERAGE).exists():
        paths.append(out / f"{MOVING}.pkl")
        shutil.copy(trained / AVERAGE, paths[-1])
    if start is not None:
        paths.append(out / f"{MEAN}.pkl")
        weights = average([trained / WEIGHTS, start])
        write_weights(paths[-1], {name: tensor.numpy() for name, tensor in weights.items()})
    shutil.copy(trained / CONFIG, out)
    return paths


def score_candidates(
    config: Path, weights: Sequence[Path], selection: Path, validation: Path, device: str, threads: int
) -> list[Scored]:
    """Scores all candidates side by side.

    Args:
        config: of all of them.
        selection, validation: folders in COCO's format.
        device: by torch's name.
        threads: of all processes together.
    """
    of_each = max(1, threads // len(weights))
    # a process that is forked can't use the GPU
    with ProcessPoolExecutor(len(weights), get_context("spawn")) as pool:
        started = [
            (path, [pool.submit(_scores, config, path, folder, device, of_each) for folder in (selection, validation)])
            for path in weights
        ]
        return [Scored(path.stem, *(each.result() for each in futures)) for path, futures in started]


def best(scored: Sequence[Scored]) -> Scored:
    """The candidate with the highest AP on the images to choose by, of masks or else of boxes."""
    return max(scored, key=lambda each: _rank(each.selection))


def _rank(scores: Scores) -> float:
    ap = _counting(scores).ap
    return ap if ap == ap else -1.0  # not a number: there is nothing to detect


def _counting(scores: Scores) -> AveragePrecision:
    return scores.boxes if scores.masks is None else scores.masks


def _scores(config: Path, weights: Path, folder: Path, device: str, threads: int) -> Scores:
    torch.set_num_threads(threads)
    network = build_network(load_training_config(config).network, load_checkpoint(weights))
    there = torch.device(device)
    ids = category_ids(read_annotations(folder / "instances.json"))
    return Validation(folder, ids)(network.to(there), there).scores
