"""Trains the demo's network in a given time: python -m demo.timed_training --out DIR --minutes 8

It composes the images, trains, and writes the weights and a table. Of the last weights, their moving average, and the
mean of the last ones and the start's, those with the highest mask AP on images of the training's designs become
weights.pkl. demo/train_gpu.sh calls it on a machine with a GPU. It needs the drawings of demo/output/emoji, or npm to
fetch them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from tensormask_server.arguments import fraction, weight, whole_number
from tensormask_server.model_files.detectron2_yaml import load_merged_yaml
from tensormask_server.printable import printable

from bench.scores import Scores
from bench.tables import Table
from demo.candidates import best, score_candidates, write_candidates
from demo.dataset import EMOJI_CACHE, write_dataset
from demo.emoji import TRAINING_DESIGNS, VALIDATION_DESIGNS
from training.files import CONFIG, WEIGHTS
from training.report import METRICS, PERIOD

ROOT = Path(__file__).resolve().parent.parent
FIRST_STEPS = 3 * PERIOD  # of which the speed is measured; they belong to the training
START_SECONDS = 15  # for a process to import torch and to read the annotations
SCORE_SECONDS = 0.06  # for an image: its detections by each of the candidates, and its share of the scores
SHARED_MEMORY = Path("/dev/shm")  # through which the processes that read images hand batches over
BATCHES_AHEAD = 3  # of each process: two that are made, and one that is used
IMAGE_BYTES = 2_600_000  # of an image of 768 × 768 pixels with the bits of a dozen masks
SELECTION_SEED = 901  # of images that no training sees, of the designs that it sees


@dataclass(frozen=True)
class Spent:
    """What a part of the command took."""

    part: str
    seconds: float
    note: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Composes, trains, validates and writes. Returns the exit status, that of the training if it fails."""
    options = _parser().parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    if fault := _fault(options):
        print(f"timed_training: {fault}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        work = Path(folder)
        spent = [_composed(options, work)]
        status, of_training = _trained(options, work, end)
        if status:
            return status
        shutil.copy(work / "trained" / METRICS, options.out)
        start = time.monotonic()
        candidates = write_candidates(work / "trained", options.weights, options.out)
        scored = score_candidates(
            options.out / CONFIG, candidates, work / "selection", work / "val", _device(options), options.workers
        )
        number = f"{options.selection_images} and {options.validation_images} images"
        spent += [*of_training, Spent("scores", time.monotonic() - start, f"of {len(candidates)} weights on {number}")]
    chosen = best(scored)
    shutil.copy(options.out / f"{chosen.name}.pkl", options.out / WEIGHTS)
    table = Table("training", "The demo's network, trained in a given time", ("", "", ""), _machine(options))
    table.rows = [(each.part, f"{each.seconds:.0f} s", each.note) for each in spent]
    for each in scored:
        note = "written as weights.pkl" if each is chosen else ""
        table.rows.append((each.name, f"{_points(each.selection)}; {_points(each.validation)}", note))
    table.show()
    (options.out / "table.md").write_text(f"{table.title}. {table.note}\n\n{table.markdown()}\n", encoding="utf-8")
    return 0


def _fault(options: argparse.Namespace) -> str:
    """What the command can't begin with; "" if there is nothing."""
    designs = (*TRAINING_DESIGNS, *VALIDATION_DESIGNS)
    absent = sum(not each.drawn_in(options.emoji).exists() for each in designs)
    if absent and shutil.which("npm") is None:
        return (
            f"{printable(options.emoji)} lacks the drawings of {absent} of {len(designs)} designs, and there is no npm "
            "to fetch them; copy the folder demo/output/emoji from a machine that has composed images"
        )
    needed = BATCHES_AHEAD * options.workers * options.batch * IMAGE_BYTES
    if SHARED_MEMORY.exists() and (free := shutil.disk_usage(SHARED_MEMORY).free) < needed:
        return (
            f"{SHARED_MEMORY} has {free >> 20} MB free, and {options.workers} processes keep batches of {needed >> 20} "
            "MB there; give a lower number of --workers"
        )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"can't write to {printable(options.out)}: {error.strerror}"
    return ""


def _composed(options: argparse.Namespace, work: Path) -> Spent:
    start = time.monotonic()
    sizes = tuple(options.size)
    for name, split, count, seed in (
        ("train", "train", options.images, options.seed),
        ("selection", "train", options.selection_images, SELECTION_SEED),
        ("val", "val", options.validation_images, options.seed),
    ):
        write_dataset(work / name, split, count, sizes, seed, options.workers, options.emoji)
    number = f"{options.images}, {options.selection_images} and {options.validation_images} images"
    note = f"{number} in {options.workers} processes"
    return Spent("composing", time.monotonic() - start, note)


def _trained(options: argparse.Namespace, work: Path, end: float) -> tuple[int, list[Spent]]:
    """Trains a few steps to measure the speed, and goes on with as many steps as fit into the time.

    Args:
        end: of the time for everything, in seconds on the monotonic clock.

    Returns:
        The exit status of the training, and what it took.
    """
    start = time.monotonic()
    status = _training(options, work, options.first_steps, [])
    if status:
        return status, []
    first = time.monotonic()
    step = _seconds_per_step(_metrics(work / "trained"))
    for_scores = 1.5 * START_SECONDS + SCORE_SECONDS * (options.selection_images + options.validation_images)
    for_training = end - first - START_SECONDS - for_scores
    more = max(1, int(for_training / step))
    # a step may turn out slower; then the training ends in time, and its last learning rate is higher
    in_time: list[object] = ["--minutes", f"{max(for_training, step) / 60:.4f}"]
    status = _training(options, work, options.first_steps + more, in_time)
    done = _metrics(work / "trained")[-1]["iteration"]
    speed = f"{1000 * step:.0f} ms a step of {options.batch} images, {options.batch / step:.1f} images a second"
    return status, [
        Spent("first steps", first - start, f"{options.first_steps} steps: {speed}"),
        Spent("training", time.monotonic() - first, f"until step {done}"),
    ]


def _training(options: argparse.Namespace, work: Path, iterations: int, more: list[object]) -> int:
    """Runs `python -m training` until so many iterations are done, on all GPUs. Returns its exit status."""
    tree = load_merged_yaml(options.config)
    tree["SOLVER"] = {**tree.get("SOLVER", {}), "IMS_PER_BATCH": options.batch, "BASE_LR": options.rate}
    tree["SOLVER"] |= {"MAX_ITER": iterations, "CHECKPOINT_PERIOD": 500, "LR_SCHEDULER_NAME": "WarmupCosineLR"}
    tree["SOLVER"] |= {"WARMUP_ITERS": options.warmup}
    config = work / "config.yaml"
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    launch: list[object] = [sys.executable, "-P", "-m"]
    if options.gpus > 1:
        # without --local-addr it looks up the machine's name, which needs a name server
        launch += ["torch.distributed.run", "--standalone", "--local-addr", "localhost"]
        launch += ["--nproc-per-node", options.gpus, "-m"]
    command = [*launch, "training", "--config", config, "--data", work / "train", "--out", work / "trained"]
    command += ["--workers", max(1, options.workers // options.gpus - 1), "--precision", options.precision]
    command += ["--optimizer", "adamw", "--semantic-weight", 1, "--name-weight", 0.5, "--seed", options.seed]
    command += ["--average-decay", options.average_decay]
    for name in ("device", "weights"):
        command += [f"--{name}", value] if (value := getattr(options, name)) else []
    paths = [str(ROOT), str(ROOT / "handler"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run([str(word) for word in (*command, *more)], env=environment, check=False).returncode


def _metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]


def _seconds_per_step(lines: list[dict[str, Any]]) -> float:
    """From the last lines of metrics.jsonl, without the first steps, which are slower, where there are others."""
    last = lines[-1]
    first = lines[0] if len(lines) > 1 else {"iteration": 0, "seconds": 0.0}
    return max(float(last["seconds"] - first["seconds"]), 1e-3) / int(last["iteration"] - first["iteration"])


def _points(scores: Scores) -> str:
    """Mask AP or else box AP, and AP50, in percent."""
    ap = scores.boxes if scores.masks is None else scores.masks
    return f"{100 * ap.ap:.1f} (AP50 {100 * ap.ap50:.1f})"


def _device(options: argparse.Namespace) -> str:
    return options.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _machine(options: argparse.Namespace) -> str:
    on_gpu = torch.cuda.is_available() and options.device != "cpu"
    device = f"{options.gpus} × {torch.cuda.get_device_name()}" if on_gpu else "CPU"
    return f"{device}, torch {torch.__version__}, {options.precision}, {os.cpu_count()} cores"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo.timed_training", description="Composes images, trains the demo's network, and measures AP."
    )
    add: Callable[..., object] = parser.add_argument
    positive = whole_number(1)
    add("--out", type=Path, required=True, help="folder for the weights, the configuration, the metrics and a table")
    add("--minutes", type=weight, default=8.0, help="for everything (default: %(default)s)")
    add("--images", type=positive, default=12_000, help="to train on (default: %(default)s)")
    add("--validation-images", type=positive, default=300, help="(default: %(default)s)")
    add("--selection-images", type=positive, default=200, help="that choose the weights (default: %(default)s)")
    add("--size", type=positive, nargs="+", default=[384], help="of the images' sides, in pixels (default: 384)")
    add("--seed", type=whole_number(0), default=1, help="(default: %(default)s)")
    add("--workers", type=positive, default=os.cpu_count() or 1, help="processes (default: one for each core)")
    add("--gpus", type=positive, default=1, help="(default: %(default)s)")
    add("--device", help="cpu or cuda (default: cuda where there is a GPU)")
    add("--precision", choices=("float32", "bfloat16"), default="bfloat16", help="(default: %(default)s)")
    add("--config", type=Path, default=ROOT / "demo" / "model" / "config.yaml", help="(default: the demo's)")
    add("--weights", type=Path, help="to start from, such as demo/model/weights.pkl (default: random weights)")
    add("--batch", type=positive, default=16, help="images of a step (default: %(default)s)")
    add("--rate", type=weight, default=0.001, help="the highest learning rate (default: %(default)s)")
    add("--warmup", type=whole_number(0), default=150, help="steps of a lower learning rate (default: %(default)s)")
    add("--average-decay", type=fraction, default=0.999, help="of the weights' average (default: %(default)s)")
    add("--first-steps", type=positive, default=FIRST_STEPS, help="that measure the speed (default: %(default)s)")
    add("--emoji", type=Path, default=EMOJI_CACHE, metavar="FOLDER", help="of the drawings (default: demo's output)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
